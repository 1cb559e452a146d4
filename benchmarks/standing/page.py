"""What `make standing` writes and draws of its measurements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from swin_timing.interleaved import Paired

from benchmarks.cases.contestants import ON_GPU
from benchmarks.machine import description
from benchmarks.pages import markdown
from benchmarks.standing import products
from benchmarks.standing.goals import HEADS, Goal, Measurement
from benchmarks.standing.measuring import missing


def kept(
    measurements: dict[str, Measurement],
    goals: list[Goal],
    found: dict[str, Paired],
    counted: list[list[str]],
) -> Path:
    """Writes the table into the page, and the picture beside it."""
    markdown.put("standing", text(measurements, goals, found, counted))
    from benchmarks.pages import drawing

    named = {str(measurements[name]): paired for name, paired in found.items()}
    return drawing.keep(drawn(named), "standing")


def text(
    measurements: dict[str, Measurement],
    goals: list[Goal],
    found: dict[str, Paired],
    counted: list[list[str]],
) -> str:
    """The table, what was counted below what was timed, and the machine it was made on."""
    table = markdown.table(HEADS, [*rows(goals, measurements, found), *counted])
    named = {str(measurements[name]): paired for name, paired in found.items()}
    return "\n\n".join([table, *_limits(named), f"{description.sentence()}.{_disturbance(found)}"])


def _limits(named: dict[str, Paired]) -> Iterator[str]:
    """What the products of the linear layers leave to win, the measurement's machine being what it is."""
    for title, paired in named.items():
        if products.BY.keys() <= paired.times.keys():
            rivals = [name for name in paired.times if not is_ours(name) and name not in products.BY]
            takes = " and ".join(f"{1e3 * paired.best(name):.1f} ms ({name})" for name in products.BY)
            theirs, ours = fastest(paired, rivals), fastest(paired, list(products.BY))
            limit = (
                ""
                if theirs is None or ours is None
                else f": by the quicker no ratio to {theirs} passes {paired.ratio(theirs, ours):.2f}x"
            )
            yield f"{title}: the linear layers take {takes}{limit}."


def _disturbance(found: dict[str, Paired]) -> str:
    spreads = ", ".join(f"{paired.disturbance:.0%}" for paired in found.values())
    return f" Spread of the anchor by measurement: {spreads}." if found else ""


def rows(goals: list[Goal], names: dict[str, Measurement], found: dict[str, Paired]) -> list[list[str]]:
    """A row for each goal and measurement: the fastest of ours and theirs, their ratio, what it reaches."""
    lines = []
    for goal in goals:
        for name in goal.measurements:
            steps = f"{goal.must:g} / {goal.aim:g} / {goal.moonshot:g}"
            if name not in found:
                lack = missing(names[name]) or "not asked for"
                lines.append([str(names[name]), "", ", ".join(goal.against), "", steps, lack])
                continue
            lines.append([str(names[name]), *_row(goal, found[name], steps)])
    return lines


def _row(goal: Goal, paired: Paired, steps: str) -> list[str]:
    found = compared(goal, paired)
    if found is None:
        return ["", ", ".join(goal.against), "", steps, "none of them ran"]
    reached = found.reached
    if paired.disturbed:
        reached = f"inconclusive (anchor's spread {paired.disturbance:.0%}); as it is: {reached}"
    times = (f"{name} {1e3 * paired.best(name):.1f}" for name in (found.ours, found.theirs))
    low, high = found.quartiles
    return [*times, f"{found.ratio:.2f}x ({low:.2f} to {high:.2f})", steps, reached]


class Comparison(NamedTuple):
    """The fastest of ours beside the fastest of a goal's rivals: their ratio, and what it reaches."""

    ours: str
    theirs: str
    ratio: float
    quartiles: tuple[float, float]
    reached: str


def compared(goal: Goal, paired: Paired) -> Comparison | None:
    """Returns what a measurement says of a goal; None where ours or all rivals did not run."""
    ours = fastest(paired, [name for name in paired.times if is_ours(name)])
    theirs = fastest(paired, [name for name in paired.times if name.replace(ON_GPU, "") in goal.against])
    if theirs is None or ours is None:
        return None
    ratio = paired.ratio(theirs, ours)
    return Comparison(ours, theirs, ratio, paired.ratio_range(theirs, ours), goal.reached(ratio))


def is_ours(name: str) -> bool:
    """Whether a run's name is one of ours."""
    return name.startswith(("swin_torch", "fused"))


def fastest(paired: Paired, names: list[str]) -> str | None:
    """The name with the least time, None of none."""
    return min(names, key=paired.best, default=None)


def drawn(named: dict[str, Paired]) -> Any:
    """A part a measurement: the least time of each, ours coloured, the quartiles of its rounds as a line."""
    from benchmarks.pages import drawing

    figure = drawing.figure(9, 0.6 + sum(0.5 + 0.24 * len(paired.times) for paired in named.values()))
    heights = [1 + 0.5 * len(paired.times) for paired in named.values()]
    for axes, (title, paired) in zip(
        figure.subplots(len(named), 1, squeeze=False, height_ratios=heights)[:, 0], named.items(), strict=True
    ):
        names = sorted(paired.times, key=paired.best, reverse=True)
        best = [1e3 * paired.best(name) for name in names]
        axes.barh(
            names, best, color=["#d62728" if is_ours(name) else "#b0b0b0" for name in names], height=0.7
        )
        for place, name in enumerate(names):
            axes.plot([1e3 * q for q in quartiles(paired.times[name])], [place, place], color="black", lw=1)
            axes.text(0, place, f" {best[place]:.1f}", va="center", fontsize=7)
        disturbed = (
            f" (machine disturbed: anchor's spread {paired.disturbance:.0%})" if paired.disturbed else ""
        )
        axes.set_title(f"{title}{disturbed}", fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("ms: bar, the least of the rounds; line, the quartiles", fontsize=8)
    return figure


def quartiles(times: tuple[float, ...]) -> tuple[float, float]:
    """The first and the third.

    >>> quartiles((1.0, 2.0, 3.0, 4.0, 5.0))
    (2.0, 4.0)
    """
    low, high = np.quantile(times, (0.25, 0.75))
    return float(low), float(high)
