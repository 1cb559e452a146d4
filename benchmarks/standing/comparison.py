"""Compares the fastest of our runs with the fastest rival of a goal."""

from __future__ import annotations

from typing import NamedTuple

from swin_timing.interleaved import Timings

from benchmarks.cases.contestants import ON_GPU
from benchmarks.standing.goals import Goal


class Comparison(NamedTuple):
    """Holds the names of our fastest run and of the fastest rival, their ratio, and what it reaches."""

    ours: str
    theirs: str
    ratio: float
    quartiles: tuple[float, float]
    reached: str


def compare(goal: Goal, timings: Timings) -> Comparison | None:
    """Returns what a measurement says of a goal; None where none of ours or none of the rivals ran."""
    ours = find_fastest(timings, [name for name in timings.times if is_ours(name)])
    theirs = find_fastest(
        timings, [name for name in timings.times if name.replace(ON_GPU, "") in goal.against]
    )
    if theirs is None or ours is None:
        return None
    ratio = timings.ratio(theirs, ours)
    return Comparison(ours, theirs, ratio, timings.ratio_range(theirs, ours), goal.find_reached(ratio))


def is_ours(name: str) -> bool:
    """Returns whether a run's name is one of ours."""
    return name.startswith(("swin_torch", "fused"))


def find_fastest(timings: Timings, names: list[str]) -> str | None:
    """Returns the name with the least time, None if there are no names."""
    return min(names, key=timings.best, default=None)
