"""The types shared by the oracle's signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Float, Inexact, Int, Real, Shaped
else:
    try:
        from jaxtyping import Float, Inexact, Int, Real, Shaped
    except ModuleNotFoundError:  # annotations are read by the tests and by type checkers alone
        Float = Inexact = Int = Real = Shaped = Any

__all__ = ["Float", "Inexact", "Int", "Params", "Real", "Shaped"]

Params = Mapping[str, Any]
"""Parameters: a nested dict with the official checkpoint's names; numbered levels are lists."""
