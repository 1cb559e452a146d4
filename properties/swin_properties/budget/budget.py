"""The error budget: how far from the exact result an honest implementation may end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from swin_properties.budget.precision import Precision

RUNS = 6
"""Perturbed runs of the oracle behind one budget."""

MORE_RUNS = 60
"""Perturbed runs that decide what six runs find near the limit: a rare tie of the softmax needs many.

Their roundings are at their bound, not uniform below it: numbers that are all alike round alike.
"""

RHO_LIMIT = 1.0
RHO_MAX_LIMIT = 8.0
NEAR = 4.0
"""How many times the limit is so near to it that more runs decide."""
LARGEST_SHARE = 1 / 20
"""Share of the budget above which a token is judged alone: a sum of few large errors is not steady."""

SMALLEST_OUTPUT = 1000
"""Elements an output must have for six runs to give a steady budget; batches are raised to reach it."""


@dataclass(frozen=True)
class Deviation:
    """How far two results that should be equal are apart, in units of the budget.

    ``rho`` = ||y^ - y|| / ||beta||, at most 1, without the few tokens that would decide it (`find_steady`).
    ``rho_max`` = max |y^ - y| / max(beta, rms beta), at most 8, over all elements.  ``worst`` is the index of
    the worst element, ``got`` and ``expected`` are its values.
    """

    rho: float
    rho_max: float
    worst: tuple[int, ...]
    got: float
    expected: float

    @property
    def holds(self) -> bool:
        """Tells whether an honest implementation may deviate so far."""
        return self.rho <= RHO_LIMIT and self.rho_max <= RHO_MAX_LIMIT

    @property
    def near(self) -> bool:
        """Tells whether it is so little too far that six runs cannot decide."""
        return not self.holds and self.rho <= NEAR * RHO_LIMIT and self.rho_max <= NEAR * RHO_MAX_LIMIT


EQUAL = Deviation(0.0, 0.0, (), 0.0, 0.0)
"""The deviation of two results that are equal."""

UNEQUAL = Deviation(np.inf, np.inf, (), np.nan, np.nan)
"""The deviation of two results that cannot be compared, as their shapes differ."""


def budget(residuals: list[Any], exact: Any, precision: Precision) -> Any:
    """Returns beta of each element: beta^2 = mean of the residuals squared + (u |y|)^2 + eta^2.

    ``residuals`` are what the perturbed runs differ from the exact one by, ``exact`` is y.

    >>> from swin_properties.budget.precision import PRECISIONS
    >>> beta = budget([np.array([3e-9, np.nan])], np.array([0.0, np.inf]), PRECISIONS["float32"])
    >>> bool(abs(beta[0] / 3e-9 - 1) < 1e-9), bool(np.isfinite(beta).all())
    (True, True)
    """
    with np.errstate(invalid="ignore", over="ignore"):
        square = sum(np.square(r) for r in residuals) / len(residuals) + (precision.unit * np.abs(exact)) ** 2
    square = np.where(np.isfinite(square), square, 0.0)
    return np.sqrt(square + precision.smallest**2 + np.finfo(np.float64).tiny)


def deviation(got: Any, expected: Any, beta: Any) -> Deviation:
    """Compares two results element by element; equal non-finite values are equal, others infinitely far.

    >>> deviation(np.array([1.0, 2.5]), np.array([1.0, 2.0]), np.array([1.0, 1.0])).rho_max
    0.5
    """
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where(got == expected, 0.0, np.abs(got - expected))
    apart = np.where(np.isnan(apart), np.inf, apart)
    if not apart.size:
        return EQUAL
    floor = np.sqrt(np.mean(np.square(beta)))
    relative = apart / np.maximum(beta, floor)
    worst = np.unravel_index(int(np.argmax(relative)), relative.shape)
    rho = np.inf
    if np.isfinite(apart).all():
        kept = find_steady(np.hypot(beta, apart))
        rho = float(np.linalg.norm(apart[kept]) / np.linalg.norm(beta[kept]))
    return Deviation(
        rho,
        float(relative[worst]),
        tuple(int(i) for i in worst),
        float(got[worst]),
        float(expected[worst]),
    )


def find_steady(size: Any) -> Any:
    """Tells which elements rho sums over: all but those of tokens that carry over 1/20 of ||size||^2 each.

    Near a tie of the softmax, or where two channels alone make a variance, an error is amplified a
    hundredfold, in all channels of the token at once.  Whether six runs see it, or the one that is judged,
    is chance, and one such token would decide rho.  It has to pass rho_max instead, which is no laxer: what
    is wrong in fewer than 20 of 1000 tokens moves rho above 1 only from 7 budgets on.

    >>> size = np.ones((100, 2))
    >>> size[7] = 5.0
    >>> int(find_steady(size).sum())
    198
    """
    square = np.square(size)
    if square.ndim > 1:
        square = square.sum(axis=-1, keepdims=True)
    kept = np.ones(square.shape, bool)
    while True:
        lighter = kept & (square <= LARGEST_SHARE * square[kept].sum())
        if lighter.sum() == kept.sum() or lighter.sum() < 1 / LARGEST_SHARE:
            return np.broadcast_to(kept, np.shape(size))
        kept = lighter
