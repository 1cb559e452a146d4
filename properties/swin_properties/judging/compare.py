"""Asking one law on one case: compare within its tier, and say what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import swin_reference

from swin_properties.adapters.answers import BadAnswer, Declined, Kind, Refused
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.budget import NEAR, RHO_LIMIT
from swin_properties.budget.within import Outcome, Pairs, Residuals, list_pairs, within_budget
from swin_properties.cases.case import Case, GridCase
from swin_properties.judging.gradients import measure_slopes
from swin_properties.laws.law import Law


@dataclass(frozen=True)
class Evidence:
    """The two arrays that a law found apart; ``beta`` is the budget of each element, None if exact."""

    got: Any
    expected: Any
    beta: Any = None


@dataclass(frozen=True)
class CaseResult:
    """What one law showed on one case: the largest rho, and what was seen, with evidence, if it is broken.

    ``kind``: how it is broken.  ``traceback``: of the exception that the implementation raised.
    """

    rho: float | None = None
    seen: str | None = None
    evidence: Evidence | None = None
    kind: Kind = "wrong"
    traceback: str = ""


def evaluate(
    law: Law, implementation: Implementation, case: Case, residuals: Residuals | None = None
) -> CaseResult:
    """Asks a law on one case.

    ``residuals`` are those of the perturbed runs, where they are known (`swin_properties.budget.within`).

    An answer to a case that the convention rejects breaks only the component's law ``/oracle``: to the other
    laws it is a case that is not taken.

    Errors: `Declined` for a case that the implementation or its convention does not take.
    """
    implementation.fresh()
    component = law.name.partition("/")[0]
    try:
        if law.tier == "gradient":
            return _compare_gradients(law, implementation, case)
        if law.tier == "exact":
            return _compare_exactly(list_pairs(law.ask(implementation, case)), case, component)
        oracle = implementation.oracle if law.compares_with == "oracle" else implementation.truth
        call = partial(law.ask, case=case)
        outcome = within_budget(call, implementation, oracle, implementation.precision, residuals)
        return describe_outcome(outcome, case, component)
    except Refused as refused:
        if law.name != (teller := f"{component}/oracle"):  # one law of a callable says so, not all
            raise Declined(f"{refused} (the law {teller} says so)") from refused
        return CaseResult(seen=str(refused), kind=refused.kind)
    except BadAnswer as bad:
        return CaseResult(seen=str(bad), kind=bad.kind, traceback=bad.traceback)
    except swin_reference.Rejected as rejected:  # by the case itself, or by the oracle
        raise Declined(str(rejected)) from rejected


def describe_outcome(outcome: Outcome, case: Case, component: str = "") -> CaseResult:
    """Says what a comparison within the budget found."""
    if one := outcome.misshapen:
        return CaseResult(seen=_describe_shapes(one.got, one.expected))
    if (one := outcome.broken) is None:
        return CaseResult(outcome.rho)
    d, where = one.deviation, describe_place(case, one.deviation.worst, np.shape(one.got), component)
    seen = (
        f"rho {d.rho:.3g}, limit 1; worst element at {where}: got {d.got:.6g}, expected {d.expected:.6g}, "
        f"{d.rho_max:.3g} times its budget, limit 8"
    )
    return CaseResult(outcome.rho, seen, Evidence(one.got, one.expected, one.beta))


def _compare_exactly(pairs: Pairs, case: Case, component: str) -> CaseResult:
    for got, expected in pairs:
        if np.shape(got) != np.shape(expected):
            return CaseResult(seen=_describe_shapes(got, expected))
    for got, expected in pairs:
        differs = np.asarray(got) != np.asarray(expected)
        if np.any(differs):
            where = tuple(int(i) for i in np.argwhere(differs)[0])
            place = describe_place(case, where, differs.shape, component)
            values = (f"{np.asarray(array)[where].item():.6g}" for array in (got, expected))
            seen = "{} of {} elements differ, first at {}: got {}, expected {}".format(
                int(np.sum(differs)), differs.size, place, *values
            )
            return CaseResult(seen=seen, evidence=Evidence(got, expected))
    return CaseResult()


def _describe_shapes(got: Any, expected: Any) -> str:
    return f"got shape {np.shape(got)}, expected {np.shape(expected)}"


def _compare_gradients(law: Law, implementation: Implementation, case: Case) -> CaseResult:
    derivative = law.ask(implementation, case)
    implementation.raw(
        derivative.name, *derivative.args, **derivative.kwargs
    )  # declines before the oracle's long sums
    worst = max(measure_slopes(implementation, derivative, case), key=lambda one: one.rho)
    if RHO_LIMIT < worst.rho <= NEAR * RHO_LIMIT:
        worst = max(measure_slopes(implementation, derivative, case, bound=True), key=lambda one: one.rho)
    if worst.rho <= RHO_LIMIT:
        return CaseResult(worst.rho)
    where = tuple(
        int(i) for i in np.unravel_index(np.abs(worst.got - worst.expected).argmax(), worst.got.shape)
    )
    seen = (
        f"the gradient of {derivative.name} by {worst.part} is wrong: rho {worst.rho:.3g}, limit 1; worst "
        f"v.(J^T u), of direction and cotangent {where}: got {worst.got[where]:.6g}, "
        f"expected {worst.expected[where]:.6g}"
    )
    beta = np.full(worst.got.shape, worst.beta)
    return CaseResult(worst.rho, seen, Evidence(worst.got, worst.expected, beta))


WITHOUT_WINDOWS = ("layer_norm", "mlp", "patch_embed", "patch_merging")
"""The callables that have no windows."""


def describe_place(case: Case, where: tuple[int, ...], shape: tuple[int, ...], component: str = "") -> str:
    """Returns an element's index in words: for a token of a grid also its true window and its region.

    ``component`` is the callable that was asked.  The region tells from which side of the image the roll
    brings the token: the rest, the first rows, the first columns, or both.

    >>> describe_place(GridCase(grid=(2, 4), window=(2, 2), shift=(1, 1)), (0, 0, 3, 0), (1, 2, 4, 1))
    '(0, 0, 3, 0) (token (0, 3), true window (-1, 1), region: first rows)'
    """
    if (
        not isinstance(case, GridCase)
        or shape[1:3] != case.grid
        or len(where) < 3
        or component in WITHOUT_WINDOWS
    ):
        return str(where)
    token, shift = where[1:3], case.shift
    window = tuple((t - s) // m for t, s, m in zip(token, shift, case.window, strict=True))
    sides = [side for side, t, s in zip(("rows", "columns"), token, shift, strict=True) if t < s]
    region = f"first {' and '.join(sides)}" if sides else "not carried around"
    return f"{where} (token {token}, true window {window}, region: {region})"
