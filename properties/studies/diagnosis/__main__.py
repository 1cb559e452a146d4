"""``python -m studies.diagnosis``: judges planted bugs and pairs, and counts what is told rightly."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from math import inf
from multiprocessing import get_context
from pathlib import Path

from studies.diagnosis.count import count_all
from studies.diagnosis.judge import (
    SETTINGS,
    Told,
    Work,
    draw_bugs,
    draw_pairs,
    judge_one,
    list_bugs_to_judge,
)
from studies.diagnosis.page import write_page

PAIRS = 60


def list_work(number: int, pairs: int, seed: int) -> list[Work]:
    """Returns what is judged: a sample of the bugs in each setting, then pairs with all components."""
    bugs = draw_bugs(number, seed)
    alone: list[Work] = [
        ((bug,), setting) for setting in SETTINGS for bug in list_bugs_to_judge(bugs, setting)
    ]
    whole = next(iter(SETTINGS))
    paired: list[Work] = [(pair, whole) for pair in draw_pairs(pairs, seed)]
    return (
        [work for work in alone if work[1] == whole] + paired + [work for work in alone if work[1] != whole]
    )


def judge_each(work: Sequence[Work], seed: int, jobs: int) -> Iterator[Told]:
    """Yields what was told, in any order, from one process or several."""
    ask = partial(judge_one, seed=seed)
    if jobs == 1:
        yield from map(ask, work)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(ask, work)


def read_kept(path: Path | None) -> dict[Work, Told]:
    """Returns what an earlier run that was cut left in its file, a line for each piece of work."""
    kept = {}
    for line in path.read_text().splitlines() if path and path.exists() else []:
        told = Told(**{name: _freeze(value) for name, value in json.loads(line).items()})
        kept[told.bugs, told.setting] = told
    return kept


def _freeze(value: str | list[str]) -> str | tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else value


def main() -> None:
    """Judges, prints progress, and prints the counts or writes the page."""
    parser = argparse.ArgumentParser(prog="python -m studies.diagnosis", description=__doc__)
    parser.add_argument("--number", type=int, default=10**6, help="how many bugs, drawn by the seed; all")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"how many pairs of bugs; {PAIRS}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes; 1")
    parser.add_argument("--keep", type=Path, help="keep each result in this file, and go on from it")
    parser.add_argument("--write", type=Path, help="write the page to this file")
    parser.add_argument(
        "--seconds",
        type=float,
        default=inf,
        help="judge no more after so long, with 0 only count what is kept; no limit",
    )
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    work = list_work(options.number, options.pairs, options.seed)
    results = {one: told for one, told in read_kept(options.keep).items() if one in work}
    left = [one for one in work if one not in results and options.seconds > 0]
    with closing(judge_each(left, options.seed, options.jobs)) as judged:
        for told in judged:
            results[told.bugs, told.setting] = told
            if options.keep:
                with options.keep.open("a") as file:
                    file.write(json.dumps(asdict(told)) + "\n")
            print(
                f"{len(results)} of {len(work)}: {' and '.join(told.bugs)}, {told.setting}",
                file=sys.stderr,
                flush=True,
            )
            if time.monotonic() > end:
                break
    ordered = [results[one] for one in work if one in results]
    for setting, counts in count_all(ordered).items():
        for one in counts:
            print(f"{setting}; {one.question}: {one.share}")
            for text in one.failures:
                print(f"    {text}")
    if options.write:
        options.write.write_text(write_page(ordered, len(work), options.seed))


if __name__ == "__main__":
    main()
