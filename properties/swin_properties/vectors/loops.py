"""The two loops by which a vector accepts a reply: a C program has them too (`examples/vectors.c`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from swin_properties.budget.budget import LARGEST_SHARE, RHO_MAX_LIMIT


@dataclass(frozen=True)
class Verdict:
    """``rho`` = ||y - e|| / ||beta||, at most 1; ``rho_max`` = max |y - e| / max(beta, rms beta), up to 8."""

    rho: float
    rho_max: float

    @property
    def holds(self) -> bool:
        """Whether the reply is accepted."""
        return self.rho <= 1.0 and self.rho_max <= RHO_MAX_LIMIT


BROKEN = Verdict(np.inf, np.inf)
"""The verdict on a reply that cannot be compared."""


def compare(got: Any, expected: Any, beta: Any) -> Verdict:
    """Compares a result with a vector's.

    >>> compare(np.array([1.0, 2.5]), np.array([1.0, 2.0]), np.array([1.0, 1.0])).rho_max
    0.5
    """
    if np.shape(got) != np.shape(expected) or not np.isfinite(got).all():
        return BROKEN
    apart = np.abs(np.asarray(got, np.float64) - expected)
    rms = float(np.sqrt(np.mean(np.square(beta))))
    total, errors = float(np.sum(np.square(beta))), float(np.sum(np.square(apart)))
    rho = float(np.sqrt(errors / total)) if errors else 0.0
    return Verdict(rho, float(np.max(apart / np.maximum(beta, rms))) if errors else 0.0)


def is_steady(beta: Any) -> bool:
    """Tells whether no token carries over 1/20 of the budget: then the two loops decide as `check` does."""
    square = np.square(beta)
    tokens = square.sum(axis=-1) if square.ndim > 1 else square
    return bool(np.all(tokens <= LARGEST_SHARE * square.sum()))
