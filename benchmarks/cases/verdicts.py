"""Judges whether a contestant computes Swin: its output on a small case must be within the budget."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import swin_reference
from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.budget.within import Call, Outcome, Residuals, perturb, within_budget

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
        outcome = compare_with_oracle(Implementation(found, PRECISIONS[precision]), small, precision)
    except Declined as reason:
        return f"{name} does not take these sizes: {reason}"
    except BadAnswer as reason:
        return f"{name} computes nothing here: {reason}"
    if outcome.holds:
        return ""
    apart = outcome.pairs[0].deviation
    return (
        f"{name} computes another function: its {small.component} is {apart.rho:.3g} budgets from the "
        f"oracle's, {apart.rho_max:.3g} at the worst element"
    )


def compare_with_oracle(swin: Any, small: Case, precision: str) -> Outcome:
    """Compares the result of a Swin for a small case with the oracle's, within the error budget."""
    residuals = _find_residuals(small, precision)
    return within_budget(_make_call(small), swin, swin_reference, PRECISIONS[precision], residuals)


@cache
def _find_residuals(small: Case, precision: str) -> Residuals:
    return perturb(_make_call(small), swin_reference, PRECISIONS[precision])


def _make_call(small: Case) -> Call:
    """Returns what asks a Swin, and the exact one beside it, for the result of a small case."""
    arguments = widen(small.arguments)

    def call(swin: Any) -> tuple[Any, Any]:
        got, exact = (getattr(one, small.component)(*arguments) for one in (swin, swin.expected))
        if small.component == "shifted_window_mask":  # any negative number may hide a token
            return got < 0, exact < 0
        return got, exact

    return call


def compute_exact_and_budget(component: str, arguments: tuple[Any, ...], precision: str) -> tuple[Any, Any]:
    """Returns the oracle's result, and how far from it a correct implementation may be, by element."""

    def call(swin: Any) -> tuple[Any, Any]:
        return getattr(swin, component)(*arguments), getattr(swin.expected, component)(*arguments)

    rounding = PRECISIONS[precision]
    residuals = perturb(call, swin_reference, rounding)
    (found,) = within_budget(call, swin_reference, swin_reference, rounding, residuals).pairs
    return found.expected, found.beta


def widen(value: Any) -> Any:
    """Returns the same value with arrays of float64, as the oracle takes them."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    if isinstance(value, dict):
        return {name: widen(child) for name, child in value.items()}
    return type(value)(widen(child) for child in value) if isinstance(value, (list, tuple)) else value
