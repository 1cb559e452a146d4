"""python -m benchmarks.history: `make history`."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.history import results, trends
from benchmarks.pages import drawing


def main(folder: Path = results.FOLDER) -> int:
    """Draws the picture; returns 2 if a file is not one of these results or there are none."""
    try:
        runs = trends.choose_comparable([results.read(path) for path in sorted(folder.glob(results.NAMES))])
    except ValueError as error:
        print(f"history: {error}", file=sys.stderr)
        return 2
    print(f"{len(runs)} runs on {runs[-1].processor}: {drawing.keep(trends.draw(runs), 'history')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
