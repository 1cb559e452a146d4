"""python -m benchmarks.standing [cpu, or names of measurements]: `make standing`."""

from __future__ import annotations

import sys

from benchmarks.standing import counts, measuring, page
from benchmarks.standing.goals import read


def main(names: list[str]) -> int:
    """Measures all, writes the table into the page and draws the picture; 2 for a name that is none.

    Given names of measurements, or the word "cpu" for all that a CPU can make, it prints theirs and writes
    nothing.
    """
    try:
        measurements, goals, limits = read()
        of_cpu = [name for name, measurement in measurements.items() if measurement.device == "cpu"]
        asked = of_cpu if names == ["cpu"] else names or list(measurements)
        found = measuring.measure(measurements, asked)
        if names:
            goals = [goal for goal in goals if set(goal.measurements) & set(asked)]
            print(page.text(measurements, goals, found, []))
        else:
            print(page.kept(measurements, goals, found, counts.rows(limits)))
    except ValueError as error:
        print(f"standing: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
