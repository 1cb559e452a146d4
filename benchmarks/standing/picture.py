"""Draws the standing: how many times as fast as the fastest rival our fastest run is, on one axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.pages import drawing
from benchmarks.standing.comparison import is_ours
from benchmarks.standing.kept import Row, Standing

OURS, OUR_LINE, THEIRS, INK, FAINT = "#0969da", "#a9cdf5", "#8c959f", "#1f2328", "#656d76"
MUST, AIM = "#bf8700", "#1a7f37"

NAMES = {"manual": "attention written out", "sdpa": "PyTorch's fused attention", "flex": "FlexAttention"}
"""What the rivals of the operator are called in the picture."""

TICKS = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)

WIDTH, ROW, ABOVE, BELOW = 10.0, 0.44, 1.02, 0.72
"""Inches: the picture's width, the height of a row, and what is above and below all rows."""

LEFT, RIGHT = 0.345, 0.80
"""Where the axis begins and ends, as shares of the width."""


def draw(standing: Standing) -> Figure:
    """Returns the picture: a row for each goal of each measurement."""
    height = ROW * len(standing.rows) + ABOVE + BELOW
    figure = drawing.make_figure(WIDTH, height, layout=None)
    axes = figure.add_axes((LEFT, BELOW / height, RIGHT - LEFT, 1 - (ABOVE + BELOW) / height))
    set_axes(axes, standing.rows)
    for number, row in enumerate(standing.rows):
        draw_row(axes, number, row)
    machine = standing.machine
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] != 1)}"
    where = f"{machine['gpu'] or machine['processor']}, {threads}, {standing.date}"
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    title = f"swin_torch beside the fastest rival: {where}"
    explanation = "1x: as fast as the fastest rival.  2x: half its time.  The scale is logarithmic."
    figure.text(0.012, 1 - 0.36 / height, title, fontsize=13, weight="bold", color=INK)
    figure.text(0.012, 1 - 0.62 / height, explanation, fontsize=9, color=INK)
    figure.text(0.012, 1 - 0.82 / height, versions, fontsize=9, color=FAINT)
    legend = figure.legend(
        handles=list(make_handles()),
        loc="lower left",
        bbox_to_anchor=(0.0, 0.0),
        ncols=7,
        fontsize=8.5,
        frameon=False,
        handletextpad=0.4,
        columnspacing=1.5,
    )
    for label in legend.get_texts():
        label.set_color(INK)
    return figure


def set_axes(axes: Axes, rows: tuple[Row, ...]) -> None:
    """Sets the shared axis, from the slowest rival to the largest aim or ratio."""
    found = [point for row in rows for point in (*find_others(row, True), *find_others(row, False))]
    least = min([0.95, *found, *(row.quartiles[0] for row in rows)])
    most = max([1.1, *(max(row.aim, row.ratio, row.quartiles[1]) for row in rows)])
    axes.set_xscale("log")
    axes.set_xlim(least * 0.95, most * 1.06)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    ticks = [tick for tick in TICKS if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks], fontsize=9, color=INK)
    axes.minorticks_off()
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0)
    axes.spines[:].set_visible(False)
    axes.grid(axis="x", color="#d0d7de", lw=0.6)
    axes.set_axisbelow(True)
    axes.axvline(1.0, color=INK, lw=1.2, zorder=1)


def draw_row(axes: Axes, y: int, row: Row) -> None:
    """Draws a goal: its name on the left, the runs and steps on the axis, the figures on the right."""
    if y % 2 == 0:
        span = {"xmin": -LEFT / (RIGHT - LEFT), "xmax": (1 - LEFT) / (RIGHT - LEFT)}
        axes.axhspan(y - 0.5, y + 0.5, **span, color="#f6f8fa", zorder=0, clip_on=False)
    axes.plot([1.0, row.ratio], [y, y], color=OUR_LINE, lw=6, solid_capstyle="butt", zorder=2)
    axes.plot(row.quartiles, [y, y], color=OURS, lw=1.6, zorder=5)
    for ours, colour in ((False, THEIRS), (True, OURS)):
        others = find_others(row, ours)
        axes.plot(others, [y] * len(others), "o", ms=5, mfc="white", mec=colour, mew=1.3, zorder=6)
    axes.plot([1.0], [y], "o", ms=7, color=THEIRS, mec="white", mew=0.8, zorder=7)
    axes.plot([row.ratio], [y], "o", ms=9, color=OURS, mec="white", mew=0.8, zorder=8)
    for step, colour in ((row.must, MUST), (row.aim, AIM)):
        axes.plot([step, step], [y - 0.33, y + 0.33], color=colour, lw=2.2, solid_capstyle="butt", zorder=4)
    rival = NAMES.get(row.theirs, row.theirs.removeprefix("peer:"))
    disturbed = ", machine disturbed" if row.disturbed else ""
    what, precision, batch = row.what.rsplit(", ", 2)
    write(axes, -0.73, y - 0.17, what + disturbed, INK)
    write(axes, -0.73, y + 0.2, f"{precision}, {batch}; fastest rival: {rival}", FAINT)
    write(axes, 1.02, y, f"{row.ratio:.2f}x", INK, fontsize=10.5, weight="bold")
    write(axes, 1.145, y - 0.17, f"ours {1e3 * row.seconds[row.ours]:.1f} ms", OURS)
    write(axes, 1.145, y + 0.2, f"rival {1e3 * row.seconds[row.theirs]:.1f} ms", FAINT)


def find_others(row: Row, ours: bool) -> list[float]:
    """Returns how fast the runs that are not compared are, ours or the goal's other rivals."""
    names = [name for name in row.seconds if (is_ours(name) if ours else name in row.against)]
    others = [name for name in names if name not in (row.ours, row.theirs)]
    return [row.seconds[row.theirs] / row.seconds[name] for name in others]


def write(axes: Axes, x: float, y: float, text: str, colour: str, **style: Any) -> None:
    """Writes text beside the axis: ``x`` is a share of the axis, ``y`` a row."""
    style = {"fontsize": 8.5, **style}
    axes.text(x, y, text, transform=axes.get_yaxis_transform(), va="center", color=colour, **style)


def make_handles() -> Iterator[Line2D]:
    """Yields the entries of the legend."""
    yield Line2D([], [], marker="o", ms=9, color=OURS, lw=1.6, label="ours (line: middle half of the rounds)")
    yield Line2D([], [], marker="o", ms=5, mfc="white", mec=OURS, mew=1.3, lw=0, label="ours, other ways")
    yield Line2D([], [], marker="o", ms=7, color=THEIRS, lw=0, label="fastest rival")
    yield Line2D([], [], marker="o", ms=5, mfc="white", mec=THEIRS, mew=1.3, lw=0, label="other rivals")
    for colour, label in ((MUST, "must"), (AIM, "aim")):
        yield Line2D([], [], marker="|", ms=11, mew=2.2, color=colour, lw=0, label=label)
