"""python -m benchmarks.standing.first_minute [ROUNDS]: `make first-minute`."""

from __future__ import annotations

import sys

from benchmarks.machine.description import make_sentence
from benchmarks.pages import markdown
from benchmarks.standing.first_minute.measuring import (
    ROUNDS,
    find_contestants,
    make_text,
    measure_starts,
    take_least,
)


def main(words: list[str]) -> int:
    """Measures, prints the table and writes it to the page.

    Returns 2 if a contestant does not start, or for another word than a number of rounds.
    """
    try:
        rounds = read_rounds(words)
        judged, refused = find_contestants()
        least = take_least(measure_starts(judged, rounds))
        text = make_text(least, refused, make_sentence())
        markdown.put("first-minute", text)
    except ValueError as error:
        print(f"first minute: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


def read_rounds(words: list[str]) -> int:
    """Returns how often each contestant is started.

    Errors: ``ValueError`` for anything but one number from 1.

    >>> read_rounds([]), read_rounds(["2"])
    (5, 2)
    """
    if not words:
        return ROUNDS
    if len(words) > 1 or not words[0].isdecimal() or int(words[0]) < 1:
        raise ValueError(
            f"ROUNDS is one number from 1, got {' '.join(words)}: give one, or none for {ROUNDS}"
        )
    return int(words[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
