"""Measures all that is claimed on a GPU: python3 -m benchmarks.gpu --out DIR [--minutes N]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from swin_properties.reports import files

from benchmarks.gpu import page, schedule

MINUTES = 8.0


def main(words: list[str] | None = None) -> int:
    """Measures all that is claimed on a GPU, and writes each part's file into a folder.

    Without a GPU it makes the same runs with interpreted kernels at small sizes, and the times mean nothing.
    Exit code: 0; 1 where a law is broken or a goal's must is missed; 2 for words that are wrong; 3 where a
    part did not finish.
    """
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.gpu", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder for the parts' files")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="all that it may take: at most 8")
    given = parser.parse_args(words)
    if not 0 < given.minutes <= MINUTES:
        print(f"gpu: it takes up to {MINUTES:g} minutes, got {given.minutes:g}: give fewer", file=sys.stderr)
        return 2
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        files.check_paths([str(given.out / f"{part}.json") for part in schedule.SHARES])
    except (OSError, ValueError) as error:
        print(f"gpu: --out is a folder that can be written: {error}", file=sys.stderr)
        return 2
    for part in schedule.SHARES:  # removes the results of an earlier run
        (given.out / f"{part}.json").unlink(missing_ok=True)
    (given.out / "tuned.json").unlink(missing_ok=True)
    unfinished = schedule.run(given.out, given.minutes)
    missed = page.list_missed(given.out)
    print(page.make_text([given.out]), end="")
    for line in missed:
        print(line, file=sys.stderr)
    return 1 if missed else 3 if unfinished else 0


if __name__ == "__main__":
    sys.exit(main())
