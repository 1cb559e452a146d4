"""The gradient tier: an implementation's `vjp` against the oracle's derivative, which needs no backward code.

For a direction v and a cotangent u, u.(J v) = v.(J^T u).  The left side comes from the oracle by complex
step, J v = Im f(x + i h v) / h, exact to rounding; the right side from the implementation.  (Squire &
Trapp, SIAM Review 1998.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import swin_reference

from swin_properties.adapters.arguments import draw_direction, list_arrays, list_parts, rebuild_arguments
from swin_properties.adapters.implementation import Implementation, vjp
from swin_properties.budget.budget import RUNS, find_steady
from swin_properties.budget.precision import PRECISIONS, Precision
from swin_properties.budget.rounding import Rounding
from swin_properties.cases.case import Case
from swin_properties.laws.law import Derivative

STEP = 1e-30
"""h: its square is nothing beside 1 in float64, so the complex step has no truncation error."""

COTANGENTS = 16
"""Cotangents of a case: with 4 directions a part, and as many perturbed runs a direction, 64 scalars.

Cotangents cost the oracle nothing, and each is a backward pass of its own: they are what a steady rho
needs, also for a parameter of one number, which has but one direction.
"""


@dataclass(frozen=True)
class OracleSide:
    """The oracle's side of one part: directions, the numbers u.(J v), and the budget of one of them."""

    part: str
    ways: list[dict[str, Any]]
    scalars: Any
    beta: float


@dataclass(frozen=True)
class Slopes:
    """The numbers v.(J^T u) and u.(J v) of one part, (directions, cotangents), and the budget of one."""

    part: str
    got: Any
    expected: Any
    beta: float

    @property
    def rho(self) -> float:
        """Returns ||got - expected|| / ||beta|| over all scalars of the part; above 1 the law is broken."""
        apart = np.linalg.norm(self.got - self.expected) / np.sqrt(self.got.size)
        return float(apart / self.beta) if np.isfinite(apart) else np.inf


def measure_slopes(
    implementation: Implementation, derivative: Derivative, case: Case, bound: bool = False
) -> list[Slopes]:
    """Computes both sides of u.(J v) = v.(J^T u), and the budget, for every part of the arguments.

    ``bound``: the budget's roundings are as large as they can be (`Rounding`), which decides near the limit.
    """
    return compare_slopes(
        implementation,
        derivative,
        *compute_expected(derivative, case, implementation.precision, bound, implementation.oracle),
    )


def compute_expected(
    derivative: Derivative,
    case: Case,
    precision: Precision,
    bound: bool = False,
    oracle: Any = swin_reference,
) -> tuple[Any, list[OracleSide]]:
    """Returns the cotangents u, and for each part u.(J v) with its budget.

    They do not depend on the implementation.
    """
    rng = case.rng(7)
    at = list_arrays(derivative.name, derivative.args)
    kept = find_steady_outputs(
        derivative, draw_direction(at, list_parts(at)[-1][1], rng), precision, rng, oracle
    )
    cotangents = rng.integers(-127, 128, (COTANGENTS, *kept.shape)) / 64.0 * kept
    found = []
    for part, where in list_parts(at):
        if derivative.only and part not in derivative.only:
            continue
        ways = [draw_direction(at, where, rng) for _ in range(derivative.directions)]
        exact = np.array(
            [_dot_cotangents(cotangents, differentiate(derivative, way, oracle=oracle)) for way in ways]
        )
        residuals = [
            _dot_cotangents(
                cotangents, differentiate(derivative, way, Rounding(precision, rng, bound), oracle)
            )
            - line
            for way, line in zip(ways, exact, strict=True)
            for _ in range(derivative.directions)
        ]
        scalars = exact if derivative.expected is None else np.full(exact.shape, derivative.expected)
        found.append(
            OracleSide(part, ways, scalars, _beta(residuals, exact, ways, cotangents[0].size, precision))
        )
    return cotangents, found


def find_steady_outputs(
    derivative: Derivative,
    way: Any,
    precision: Precision,
    rng: np.random.Generator,
    oracle: Any = swin_reference,
) -> Any:
    """Tells where cotangents may differ from 0: not on few tokens whose errors outweigh all others."""
    exact = differentiate(derivative, way, oracle=oracle)
    residuals = [
        differentiate(derivative, way, Rounding(precision, rng), oracle) - exact for _ in range(RUNS)
    ]
    return find_steady(np.sqrt(np.mean(np.square(residuals), axis=0)))


def compare_slopes(
    implementation: Implementation, derivative: Derivative, cotangents: Any, sides: list[OracleSide]
) -> list[Slopes]:
    """Computes the implementation's v.(J^T u), and returns it beside the oracle's u.(J v)."""
    gradients = [
        vjp(implementation, derivative.name, u, *derivative.args, **derivative.kwargs) for u in cotangents
    ]
    return [
        Slopes(
            side.part,
            np.array([[_dot(way, gradient) for gradient in gradients] for way in side.ways]),
            side.scalars,
            side.beta,
        )
        for side in sides
    ]


def _beta(residuals: list[Any], exact: Any, ways: list[Any], outputs: int, precision: Precision) -> float:
    """beta^2 = mean of the residuals squared + mean (u y)^2 + eta^2 mean |v|^2, and what the oracle errs by.

    The second term is one rounding of each element of J^T u: over directions, (v.g)^2 is |g|^2 in the mean.
    The oracle's side has float64's rounding e: its own residuals, e / u times these, and two dots of n terms.
    """
    lengths = [sum(float(np.sum(np.square(v))) for v in way.values()) for way in ways]
    numbers = outputs + sum(v.size for v in ways[0].values())
    oracle = PRECISIONS["float64"].unit
    square = (1.0 + (oracle / precision.unit) ** 2) * np.mean(np.square(residuals))
    square += (precision.unit**2 + numbers * oracle**2) * np.mean(np.square(exact))
    return float(np.sqrt(square + precision.smallest**2 * np.mean(lengths) + np.finfo(np.float64).tiny))


def differentiate(
    derivative: Derivative,
    way: Mapping[str, Any],
    rounding: Rounding | None = None,
    oracle: Any = swin_reference,
) -> Any:
    """Returns the oracle's derivative along a direction, Im f(x + i h v) / h.

    With ``rounding`` it is that of a perturbed run.

    >>> derivative = Derivative("layer_norm", (np.ones(2), {"weight": np.ones(2), "bias": np.zeros(2)}))
    >>> differentiate(derivative, {"bias": np.array([1.0, 2.0])})
    array([1., 2.])
    """

    def moved(label: str, value: Any) -> Any:
        value = value + 1j * STEP * way[label] if label in way else value
        return value if rounding is None else rounding.array(value)

    args = rebuild_arguments(derivative.name, derivative.args, moved)
    kwargs = {
        name: moved(name, x) if isinstance(x, np.ndarray) else x for name, x in derivative.kwargs.items()
    }
    result = np.asarray(getattr(oracle, derivative.name)(*args, **kwargs))
    return result.imag / STEP


def _dot_cotangents(cotangents: Any, derivative: Any) -> Any:
    """Returns u.(J v) for every cotangent u."""
    return cotangents.reshape(len(cotangents), -1) @ derivative.ravel()


def _dot(way: Mapping[str, Any], gradient: Mapping[str, Any]) -> float:
    """Returns v.(J^T u) over all arrays in which v is not 0."""
    return sum(float(np.vdot(v, gradient[label])) for label, v in way.items())
