"""Draws the trend of every case over the runs that were kept, benchmarks/pictures/history.svg.

Only runs on the same processor can be compared: those on the newest run's processor are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.history import results
from benchmarks.history.results import Run
from benchmarks.pages import drawing

COLUMNS = 5


def collect_trends(runs: Sequence[Run]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Returns each contestant's milliseconds with the number of the run, by case and step.

    >>> run = Run("", "", "", "", {"test_inference[mlp-stage1-batch1-peer:timm]": 0.002}, {})
    >>> collect_trends([run])
    {'mlp-stage1-batch1 inference': {'peer:timm': [(0, 2.0)]}}
    """
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for number, run in enumerate(runs):
        for name, seconds in run.seconds.items():
            case, contestant, step = parse_name(name)
            by_name = found.setdefault(f"{case} {step}", {})
            by_name.setdefault(contestant, []).append((number, 1e3 * seconds))
    return found


def parse_name(name: str) -> tuple[str, str, str]:
    """Returns the case, the contestant and the step that a test's name holds.

    >>> parse_name("test_training[mlp-stage1-batch1-swin_torch:plain]")
    ('mlp-stage1-batch1', 'swin_torch:plain', 'training')
    """
    step, _, rest = name.removesuffix("]").partition("[")
    case, _, contestant = rest.rpartition("-")
    return case, contestant, step.removeprefix("test_")


def choose_comparable(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs on the newest run's processor, in order of time.

    Errors: ``ValueError`` if there are no runs.
    """
    if not runs:
        raise ValueError(f"a history has runs, {results.FOLDER} has none: keep one with `make bench-save`")
    ordered = sorted(runs, key=lambda run: run.date)
    return [run for run in ordered if run.processor == ordered[-1].processor]


def draw(runs: Sequence[Run]) -> Any:
    """Returns the picture: a small one for each case, with a line over the runs for each contestant."""
    found = collect_trends(runs)
    rows = -(-len(found) // COLUMNS)
    figure = drawing.make_figure(3.2 * COLUMNS, 1.9 * rows + 1)
    labels = [run.commit[:7] for run in runs]
    for number, (case, lines) in enumerate(found.items()):
        axes = figure.add_subplot(rows, COLUMNS, number + 1)
        for contestant, points in lines.items():
            x, y = zip(*points, strict=True)
            axes.plot(x, y, marker=".", lw=1, color=drawing.find_colour(contestant), label=contestant)
        axes.set_title(case, fontsize=7)
        axes.set_ylim(bottom=0)
        axes.set_xlim(-0.5, len(runs) - 0.5)
        axes.set_xticks(range(len(runs)), labels, fontsize=5, rotation=30)
        axes.tick_params(axis="y", labelsize=6)
        drawing.simplify(axes)
    named = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    figure.legend(list(named.values()), list(named), loc="outside upper center", ncols=len(named), fontsize=8)
    figure.supylabel("ms, the least of a run", fontsize=8)
    return figure
