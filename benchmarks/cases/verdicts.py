"""Judges whether a contestant computes Swin: its output on a small case must be within the budget."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import swin_reference
from swin_properties.adapters.answers import Declined, Fall
from swin_properties.adapters.implementation import Expected, Implementation, Perturbed
from swin_properties.budget.budget import Deviation, budget, deviation, perturbed_residuals
from swin_properties.budget.precision import PRECISIONS

from benchmarks.cases.case import Case
from benchmarks.cases.contestants import load_adapter


@cache
def explain_fault(contestant: str, small: Case) -> str:
    """Returns why a contestant is not Swin and must not be timed, in one sentence; empty if it is Swin.

    The oracle is Swin by definition.

    >>> explain_fault("swin_torch", Case("mlp", "small"))
    ''
    """
    if contestant == "oracle":
        return ""
    try:
        found = load_adapter(contestant)
    except ValueError as reason:
        return str(reason)
    return explain_adapter_fault(found, contestant, small)


def explain_adapter_fault(found: Any, name: str, small: Case, precision: str = "float32") -> str:
    """Returns the same for an adapter in its precision; ``name`` is what the sentence calls it."""
    try:
        judged = Implementation(found, PRECISIONS[precision])
        got = getattr(judged, small.component)(*widen(small.arguments))
    except Declined as reason:
        return f"{name} does not take these sizes: {reason}"
    except Fall as reason:
        return f"{name} computes nothing here: {reason}"
    apart = compare_with_oracle(got, small, precision)
    if apart.holds:
        return ""
    return (
        f"{name} computes another function: its {small.component} is {apart.rho:.3g} budgets from the "
        f"oracle's, {apart.rho_max:.3g} at the worst element"
    )


def compare_with_oracle(got: Any, small: Case, precision: str) -> Deviation:
    """Returns how far a result is from the oracle's on a small case."""
    exact, beta = _expected(small, precision)
    if small.component == "shifted_window_mask":  # any negative number hides a token
        got, exact, beta = got < 0, exact < 0, np.ones(exact.shape)
    return deviation(got, exact, beta)


@cache
def _expected(small: Case, precision: str) -> tuple[Any, Any]:
    return exact_and_budget(small.component, widen(small.arguments), precision)


def exact_and_budget(component: str, arguments: tuple[Any, ...], precision: str) -> tuple[Any, Any]:
    """The oracle's result, and how far from it an honest implementation may end, by element."""
    exact = getattr(swin_reference, component)(*arguments)

    def perturbed(number: int) -> list[tuple[Any, Any]]:
        run = Perturbed(PRECISIONS[precision], Expected(swin_reference), number)
        return [(getattr(run, component)(*arguments), exact)]

    with np.errstate(invalid="ignore"):  # -inf is -inf, however it is rounded
        (residuals,) = perturbed_residuals(perturbed)
    return exact, budget(residuals, exact, PRECISIONS[precision])


def widen(value: Any) -> Any:
    """Returns the same value with arrays of float64, as the oracle takes them."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    if isinstance(value, dict):
        return {name: widen(child) for name, child in value.items()}
    return type(value)(widen(child) for child in value) if isinstance(value, (list, tuple)) else value
