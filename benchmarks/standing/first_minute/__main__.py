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
    """Measures, prints the table and writes it to the page; returns 2 if a contestant does not start."""
    try:
        judged, refused = find_contestants()
        least = take_least(measure_starts(judged, int(words[0]) if words else ROUNDS))
        text = make_text(least, refused, make_sentence())
        markdown.put("first-minute", text)
    except ValueError as error:
        print(f"first minute: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
