"""Shows where swin_torch stands beside its peers: `make standing`.

python -m benchmarks.standing           measures all, keeps it, writes the page and draws the picture
python -m benchmarks.standing cpu       prints what a CPU can measure, and writes nothing
python -m benchmarks.standing NAME ...  prints these measurements, and writes nothing
python -m benchmarks.standing redraw    draws the picture again from what was kept
"""

from __future__ import annotations

import sys

from benchmarks.pages import drawing, markdown
from benchmarks.standing import counts, kept, measuring, page, picture
from benchmarks.standing.goals import read


def main(words: list[str]) -> int:
    """Does what the words ask for; returns 2 for an unknown name or a file that does not read."""
    try:
        if words != ["redraw"]:
            measurements, goals, limits = read()
            of_cpu = [name for name, measurement in measurements.items() if measurement.device == "cpu"]
            asked = of_cpu if words == ["cpu"] else words or list(measurements)
            found = measuring.measure(measurements, asked)
            if words:
                goals = [goal for goal in goals if set(goal.measurements) & set(asked)]
                print(page.make_text(measurements, goals, found, []))
                return 0
            kept.write(kept.collect(measurements, goals, found))
            rows = counts.make_rows(limits)
            markdown.put("standing", page.make_text(measurements, goals, found, rows))
        print(drawing.keep(picture.draw(kept.read()), "standing"))
    except ValueError as error:
        print(f"standing: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
