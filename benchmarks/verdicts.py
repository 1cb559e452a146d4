"""Whether a contestant computes Swin: its output on a small case of the component, within the budget."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import swin_reference
from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.implementation import Expected, Implementation, Perturbed
from swin_properties.budget.budget import Deviation, budget, deviation, perturbed_residuals
from swin_properties.budget.precision import PRECISIONS

from benchmarks.cases import Case
from benchmarks.contestants import adapter


@cache
def fault(contestant: str, small: Case) -> str:
    """Why a contestant is not to be timed as if it were Swin, in one sentence; empty where it is Swin.

    The oracle is what the others are compared with.

    >>> fault("swin_torch", Case("mlp", "small"))
    ''
    """
    if contestant == "oracle":
        return ""
    try:
        found = adapter(contestant)
    except ValueError as reason:
        return str(reason)
    return fault_of(found, contestant, small)


def fault_of(found: Any, name: str, small: Case, precision: str = "float32") -> str:
    """The same of an adapter in its precision, by what it is called."""
    try:
        judged = Implementation(found, PRECISIONS[precision])
        got = getattr(judged, small.component)(*wide(small.arguments))
    except Declined as reason:
        return f"{name} does not take these sizes: {reason}"
    except BadAnswer as reason:
        return f"{name} computes nothing here: {reason}"
    apart = judged_by_the_oracle(got, small, precision)
    if apart.holds:
        return ""
    return (
        f"{name} computes another function: its {small.component} is {apart.rho:.3g} budgets from the "
        f"oracle's, {apart.rho_max:.3g} at the worst element"
    )


def judged_by_the_oracle(got: Any, small: Case, precision: str) -> Deviation:
    """How far a result for a small case is from the oracle's."""
    exact, beta = _expected(small, precision)
    if small.component == "shifted_window_mask":  # any negative number may stand where a token may not attend
        got, exact, beta = got < 0, exact < 0, np.ones(exact.shape)
    return deviation(got, exact, beta)


@cache
def _expected(small: Case, precision: str) -> tuple[Any, Any]:
    return exact_and_budget(small.component, wide(small.arguments), precision)


def exact_and_budget(component: str, arguments: tuple[Any, ...], precision: str) -> tuple[Any, Any]:
    """The oracle's result, and how far from it an honest implementation may end, by element."""
    exact = getattr(swin_reference, component)(*arguments)

    def perturbed(number: int) -> list[tuple[Any, Any]]:
        run = Perturbed(PRECISIONS[precision], Expected(swin_reference), number)
        return [(getattr(run, component)(*arguments), exact)]

    with np.errstate(invalid="ignore"):  # -inf is -inf, however it is rounded
        (residuals,) = perturbed_residuals(perturbed)
    return exact, budget(residuals, exact, PRECISIONS[precision])


def wide(value: Any) -> Any:
    """The same with arrays of float64, as the oracle takes them."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    if isinstance(value, dict):
        return {name: wide(child) for name, child in value.items()}
    return type(value)(wide(child) for child in value) if isinstance(value, (list, tuple)) else value
