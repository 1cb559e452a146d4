"""python -m benchmarks.history: `make history`."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.history import results, trends
from benchmarks.pages import drawing


def main(folder: Path = results.FOLDER) -> int:
    """Draws the picture; 2 where a file is none of ours or there is none."""
    try:
        runs = trends.comparable([results.read(path) for path in sorted(folder.glob(results.NAMES))])
    except ValueError as error:
        print(f"history: {error}", file=sys.stderr)
        return 2
    print(f"{len(runs)} runs on {runs[-1].processor}: {drawing.keep(trends.drawn(runs), 'history')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
