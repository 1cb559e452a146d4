"""Writes the table of `make standing` into benchmarks/README.md."""

from __future__ import annotations

from collections.abc import Iterator

from swin_timing.interleaved import Timings

from benchmarks.machine import description
from benchmarks.pages import markdown
from benchmarks.standing import products
from benchmarks.standing.comparison import compare, find_fastest, is_ours
from benchmarks.standing.goals import HEADS, Goal, Measurement
from benchmarks.standing.measuring import explain_lack


def make_text(
    measurements: dict[str, Measurement],
    goals: list[Goal],
    found: dict[str, Timings],
    counted: list[list[str]],
) -> str:
    """Returns the table, with the counted rows below the timed ones, and a sentence about the machine."""
    table = markdown.make_table(HEADS, [*make_rows(goals, measurements, found), *counted])
    named = {str(measurements[name]): timings for name, timings in found.items()}
    return "\n\n".join(
        [table, *_describe_limits(named), f"{description.make_sentence()}.{_tell_spread(found)}"]
    )


def _describe_limits(named: dict[str, Timings]) -> Iterator[str]:
    """Yields, for each network, the largest ratio that the products of its linear layers allow."""
    for title, timings in named.items():
        if products.BY.keys() <= timings.times.keys():
            rivals = [name for name in timings.times if not is_ours(name) and name not in products.BY]
            takes = " and ".join(f"{1e3 * timings.best(name):.1f} ms ({name})" for name in products.BY)
            theirs, ours = find_fastest(timings, rivals), find_fastest(timings, list(products.BY))
            limit = ""
            if theirs is not None and ours is not None:
                most = f"{timings.ratio(theirs, ours):.2f}x"
                limit = f": by the faster of these, no ratio to {theirs} can exceed {most}"
            yield f"{title}: the linear layers take {takes}{limit}."


def _tell_spread(found: dict[str, Timings]) -> str:
    spreads = ", ".join(f"{timings.disturbance:.0%}" for timings in found.values())
    return f" Spread of the anchor by measurement: {spreads}." if found else ""


def make_rows(goals: list[Goal], names: dict[str, Measurement], found: dict[str, Timings]) -> list[list[str]]:
    """Returns a row for each goal of each measurement: our fastest, the fastest rival, their ratio."""
    lines = []
    for goal in goals:
        for name in goal.measurements:
            steps = f"{goal.must:g} / {goal.aim:g} / {goal.moonshot:g}"
            if name not in found:
                lack = explain_lack(names[name]) or "not asked for"
                lines.append([str(names[name]), "", ", ".join(goal.against), "", steps, lack])
                continue
            lines.append([str(names[name]), *_make_row(goal, found[name], steps)])
    return lines


def _make_row(goal: Goal, timings: Timings, steps: str) -> list[str]:
    found = compare(goal, timings)
    if found is None:
        return ["", ", ".join(goal.against), "", steps, "none of them ran"]
    reached = found.reached
    if timings.disturbed:
        reached = f"inconclusive (anchor's spread {timings.disturbance:.0%}); as it is: {reached}"
    times = (f"{name} {1e3 * timings.best(name):.1f}" for name in (found.ours, found.theirs))
    low, high = found.quartiles
    return [*times, f"{found.ratio:.2f}x ({low:.2f} to {high:.2f})", steps, reached]
