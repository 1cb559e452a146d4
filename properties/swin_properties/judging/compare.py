"""Asking one law on one case: compare within its tier, and say what was seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import swin_reference

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.implementation import Implementation, Perturbed
from swin_properties.budget.budget import (
    MORE_RUNS,
    NEAR,
    RHO_LIMIT,
    RUNS,
    Deviation,
    budget,
    deviation,
    perturbed_residuals,
)
from swin_properties.budget.precision import Precision
from swin_properties.cases.case import Case, GridCase
from swin_properties.judging.gradients import slopes
from swin_properties.laws.law import Law, Pairs


@dataclass(frozen=True)
class Evidence:
    """The two arrays that a law found apart; ``beta`` is the budget of each element, None if exact."""

    got: Any
    expected: Any
    beta: Any = None


@dataclass(frozen=True)
class Outcome:
    """What one case of one law showed: the worst rho, and if the law is broken, what was seen, with evidence.

    ``near``: it is broken by so little that more perturbed runs must decide.
    """

    rho: float | None = None
    seen: str | None = None
    evidence: Evidence | None = None
    near: bool = False


def evaluate(law: Law, judged: Implementation, case: Case) -> Outcome:
    """Asks a law on one case.

    Errors: `Declined` for a case that the implementation or its convention does not take.
    """
    judged.fresh()
    judged.expected.record()
    try:
        return _evaluated(law, judged, case)
    except swin_reference.Rejected as rejected:  # by the case itself, or by the oracle
        raise Declined(str(rejected)) from rejected


def _evaluated(law: Law, judged: Implementation, case: Case) -> Outcome:
    if law.tier == "gradient":
        return _gradient(law, judged, case)
    try:
        pairs = law.pairs(judged, case)
    except BadAnswer as bad:
        return Outcome(seen=str(bad))
    for got, expected in pairs:
        if np.shape(got) != np.shape(expected):
            return Outcome(seen=f"got shape {np.shape(got)}, expected {np.shape(expected)}")
    if law.tier == "exact":
        return _exact(case, pairs)
    if all(np.array_equal(got, expected) for got, expected in pairs):
        return Outcome(0.0)  # whatever the budget: no perturbed run is needed
    outcome = judged_within(judged.precision, case, pairs, expected_residuals(law, judged, case))
    return decided(law, judged, case, pairs) if outcome.near else outcome


def _exact(case: Case, pairs: Pairs) -> Outcome:
    for got, expected in pairs:
        differs = np.asarray(got) != np.asarray(expected)
        if np.any(differs):
            where = tuple(int(i) for i in np.argwhere(differs)[0])
            values = (f"{np.asarray(array)[where].item():.6g}" for array in (got, expected))
            seen = "{} of {} elements differ, first at {}: got {}, expected {}".format(
                int(np.sum(differs)), differs.size, place(case, where, differs.shape), *values
            )
            return Outcome(seen=seen, evidence=Evidence(got, expected))
    return Outcome()


def decided(law: Law, judged: Implementation, case: Case, pairs: Pairs) -> Outcome:
    """The outcome of a case near the limit, on many more perturbed runs, whose roundings are at their bound.

    ``pairs`` are what has just been asked of ``judged``.
    """
    residuals = expected_residuals(law, judged, case, MORE_RUNS, bound=True)
    return replace(judged_within(judged.precision, case, pairs, residuals), near=False)


def expected_residuals(
    law: Law, judged: Implementation, case: Case, runs: int = RUNS, bound: bool = False
) -> list[list[Any]]:
    """What perturbed runs of the law differ by, pair by pair; ``judged`` was just asked the same case."""

    def perturbed(number: int) -> Pairs:
        judged.expected.replay()
        functions = judged.oracle if law.expects else judged.truth
        return law.pairs(Perturbed(judged.precision, judged.expected, number, bound, functions), case)

    return perturbed_residuals(perturbed, runs)


def judged_within(precision: Precision, case: Case, pairs: Pairs, residuals: list[list[Any]]) -> Outcome:
    """Compares pairs within the budget that residuals make."""
    outcome, near = Outcome(0.0), True
    for (got, expected), errors in zip(pairs, residuals, strict=True):
        beta = budget(errors, expected, precision)
        apart = deviation(got, expected, beta)
        outcome = replace(outcome, rho=max(outcome.rho or 0.0, apart.rho))
        near &= apart.holds or apart.near
        if not apart.holds and outcome.seen is None:
            seen = _described(apart, place(case, apart.worst, np.shape(got)))
            outcome = replace(outcome, seen=seen, evidence=Evidence(got, expected, beta))
    return replace(outcome, near=near and outcome.seen is not None)


def _gradient(law: Law, judged: Implementation, case: Case) -> Outcome:
    asked = law.body(judged, case)
    try:
        judged.raw(asked.name, *asked.args, **asked.kwargs)  # declines come before the oracle's long sums
        worst = max(slopes(judged, asked, case), key=lambda one: one.rho)
        if RHO_LIMIT < worst.rho <= NEAR * RHO_LIMIT:
            worst = max(slopes(judged, asked, case, bound=True), key=lambda one: one.rho)
    except BadAnswer as bad:
        return Outcome(seen=str(bad))
    if worst.rho <= RHO_LIMIT:
        return Outcome(worst.rho)
    where = tuple(
        int(i) for i in np.unravel_index(np.abs(worst.got - worst.expected).argmax(), worst.got.shape)
    )
    seen = (
        f"the gradient of {asked.name} by {worst.part} is wrong: rho {worst.rho:.3g}, limit 1; worst "
        f"v.(J^T u), of direction and cotangent {where}: got {worst.got[where]:.6g}, "
        f"expected {worst.expected[where]:.6g}"
    )
    return Outcome(worst.rho, seen, Evidence(worst.got, worst.expected, np.full(worst.got.shape, worst.beta)))


def _described(d: Deviation, where: str) -> str:
    return (
        f"rho {d.rho:.3g}, limit 1; worst element at {where}: got {d.got:.6g}, expected {d.expected:.6g}, "
        f"{d.rho_max:.3g} times its budget, limit 8"
    )


def place(case: Case, where: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """An element's index in words: for a token of a grid also its true window and its region.

    The region tells from which side of the image the roll brings the token: the rest, the first rows,
    the first columns, or both.

    >>> place(GridCase(grid=(2, 4), window=(2, 2), shift=(1, 1)), (0, 0, 3, 0), (1, 2, 4, 1))
    '(0, 0, 3, 0) (token (0, 3), true window (-1, 1), region: first rows)'
    """
    if not isinstance(case, GridCase) or shape[1:3] != case.grid or len(where) < 3:
        return str(where)
    token, shift = where[1:3], case.shift
    window = tuple((t - s) // m for t, s, m in zip(token, shift, case.window, strict=True))
    sides = [side for side, t, s in zip(("rows", "columns"), token, shift, strict=True) if t < s]
    region = f"first {' and '.join(sides)}" if sides else "not carried around"
    return f"{where} (token {token}, true window {window}, region: {region})"
