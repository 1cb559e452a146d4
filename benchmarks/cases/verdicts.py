"""Whether a contestant computes Swin: its output on a small case of the component, within the budget."""

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
from benchmarks.cases.contestants import adapter


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
    residuals = _residuals(small, precision)
    return within_budget(_call(small), swin, swin_reference, PRECISIONS[precision], residuals)


@cache
def _residuals(small: Case, precision: str) -> Residuals:
    return perturb(_call(small), swin_reference, PRECISIONS[precision])


def _call(small: Case) -> Call:
    """Returns what asks a Swin, and the exact one beside it, for the result of a small case."""
    arguments = wide(small.arguments)

    def call(swin: Any) -> tuple[Any, Any]:
        got, exact = (getattr(one, small.component)(*arguments) for one in (swin, swin.expected))
        if small.component == "shifted_window_mask":  # any negative number may hide a token
            return got < 0, exact < 0
        return got, exact

    return call


def exact_and_budget(component: str, arguments: tuple[Any, ...], precision: str) -> tuple[Any, Any]:
    """The oracle's result, and how far from it an honest implementation may end, by element."""

    def call(swin: Any) -> tuple[Any, Any]:
        return getattr(swin, component)(*arguments), getattr(swin.expected, component)(*arguments)

    rounding = PRECISIONS[precision]
    residuals = perturb(call, swin_reference, rounding)
    (found,) = within_budget(call, swin_reference, swin_reference, rounding, residuals).pairs
    return found.expected, found.beta


def wide(value: Any) -> Any:
    """The same with arrays of float64, as the oracle takes them."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    if isinstance(value, dict):
        return {name: wide(child) for name, child in value.items()}
    return type(value)(wide(child) for child in value) if isinstance(value, (list, tuple)) else value
