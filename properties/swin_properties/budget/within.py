"""Compares an implementation with an exact result, within what its rounding errors allow.

This is the one place where an exact result, perturbed runs of the oracle, the budget and the comparison are
put together.  It asks many more perturbed runs where six cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from swin_properties.budget.budget import EQUAL, MORE_RUNS, RUNS, UNEQUAL, Deviation, budget, deviation
from swin_properties.budget.precision import Precision
from swin_properties.budget.rounding import Rounding

Pairs = list[tuple[Any, Any]]
"""Arrays (got, expected) that must agree."""

Call = Callable[[Any], Any]
"""Takes a Swin and gives a pair (got, expected), or several.  The exact results are in its ``expected``."""

Residuals = list[list[Any]]
"""For each pair, what each perturbed run differs by."""


@dataclass(frozen=True)
class Comparison:
    """One pair, the budget of each element, and how far apart the two are.

    ``beta`` is None where no budget was needed: the two are equal, or have different shapes.
    """

    got: Any
    expected: Any
    beta: Any
    deviation: Deviation


@dataclass(frozen=True)
class Outcome:
    """What a budgeted comparison found, pair by pair; ``near``: six runs could not tell, many more did."""

    pairs: tuple[Comparison, ...]
    near: bool = False

    @property
    def misshapen(self) -> Comparison | None:
        """The first pair whose two arrays have different shapes."""
        return next((one for one in self.pairs if np.shape(one.got) != np.shape(one.expected)), None)

    @property
    def rho(self) -> float | None:
        """The largest rho of all pairs; None where two shapes differ."""
        return None if self.misshapen else max((one.deviation.rho for one in self.pairs), default=0.0)

    @property
    def broken(self) -> Comparison | None:
        """The first pair that does not agree."""
        return next((one for one in self.pairs if not one.deviation.holds), None)

    @property
    def holds(self) -> bool:
        """Whether every pair agrees within its budget."""
        return self.broken is None


def within_budget(
    call: Call, implementation: Any, oracle: Any, precision: Precision, residuals: Residuals | None = None
) -> Outcome:
    """Compares what ``call`` gets from an implementation with the exact result, within the error budget.

    ``call`` is asked of the implementation, then of perturbed runs of ``oracle``.  Its exact results are
    those of ``implementation.expected``, of the oracle where the implementation has none; each is computed
    once.  ``residuals`` are those of the perturbed runs, where they are known (`perturb`).

    Where the pairs disagree by so little that few runs cannot tell, many more runs decide, whose roundings
    are at their bound.

    >>> import swin_reference
    >>> from types import SimpleNamespace
    >>> from swin_properties.budget.precision import PRECISIONS
    >>> x, params = np.sin(np.arange(3e3)).reshape(-1, 3), {"weight": np.ones(3), "bias": np.zeros(3)}
    >>> def call(swin):
    ...     return swin.layer_norm(x, params), swin.expected.layer_norm(x, params)
    >>> for eps in (1e-5, 1e-6):
    ...     swin = SimpleNamespace(layer_norm=lambda x, params: swin_reference.layer_norm(x, params, eps))
    ...     print(within_budget(call, swin, swin_reference, PRECISIONS["float32"]).holds)
    True
    False
    """
    expected = Recorded(getattr(implementation, "expected", oracle))
    pairs = list_pairs(call(WithExpected(implementation, expected)))
    same_shapes = [np.shape(got) == np.shape(exact) for got, exact in pairs]
    equal = residuals is None and all(np.array_equal(got, exact) for got, exact in pairs)
    if equal or not all(same_shapes):
        apart = [EQUAL if same else UNEQUAL for same in same_shapes]
        return Outcome(tuple(Comparison(*pair, None, one) for pair, one in zip(pairs, apart, strict=True)))
    # A perturbed run errs from the oracle's own exact result: where another gives what is expected, a
    # difference between the two is no rounding error.
    own = expected if expected.functions is oracle else Recorded(oracle)
    if residuals is None:
        residuals = _perturb(call, oracle, precision, own, RUNS, bound=False)
    outcome = compare_pairs(pairs, residuals, precision)
    if outcome.holds or not all(one.deviation.holds or one.deviation.near for one in outcome.pairs):
        return outcome
    residuals = _perturb(call, oracle, precision, own, MORE_RUNS, bound=True)
    return replace(compare_pairs(pairs, residuals, precision), near=True)


def perturb(call: Call, oracle: Any, precision: Precision) -> Residuals:
    """Returns what perturbed runs of the oracle differ by from its exact results.

    They do not depend on the implementation: whoever compares many computes them once.
    """
    return _perturb(call, oracle, precision, Recorded(oracle), RUNS, bound=False)


def compare_pairs(pairs: Pairs, residuals: Residuals, precision: Precision) -> Outcome:
    """Compares pairs of arrays within the budgets that the residuals of perturbed runs make."""
    found = []
    for (got, expected), errors in zip(pairs, residuals, strict=True):
        beta = budget(errors, expected, precision)
        found.append(Comparison(got, expected, beta, deviation(got, expected, beta)))
    return Outcome(tuple(found))


def list_pairs(found: Any) -> Pairs:
    """Returns what a call gave, one pair or several, as a list of pairs."""
    return [found] if isinstance(found, tuple) else list(found)


class WithExpected:
    """A Swin with the exact results beside it, as ``expected``: what a call is given."""

    def __init__(self, swin: Any, expected: Any) -> None:
        self.swin = swin
        self.expected = expected

    def __getattr__(self, name: str) -> Any:
        return getattr(self.swin, name)


class Recorded:
    """Functions whose results are kept in the order of the calls, and given again after `replay`."""

    def __init__(self, functions: Any) -> None:
        self.functions = functions
        self.results: list[Any] = []
        self.replayed: Iterator[Any] = iter(())

    def replay(self) -> None:
        """Makes the next calls give what is kept, from the first on; later calls are computed and kept."""
        self.replayed = iter(tuple(self.results))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self.functions, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            for result in self.replayed:
                return result
            self.results.append(function(*args, **kwargs))
            return self.results[-1]

        return call


class Perturbed:
    """The oracle as an implementation whose every operation rounds at random, once."""

    def __init__(self, oracle: Any, rounding: Rounding) -> None:
        self.oracle = oracle
        self.rounding = rounding
        self.precision = rounding.precision

    def raw(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Returns the positional arguments as the oracle got them, after the call, and its very result."""
        given, kwargs = _rounding(args, self.rounding), _rounding(kwargs, self.rounding)
        return given, getattr(self.oracle, name)(*given, **kwargs)

    def shares_memory(self, given: Any, result: Any) -> list[bool]:
        """Tells for each array of the arguments whether a result shares memory with it."""
        parts = [np.asarray(one) for one in (result if isinstance(result, list) else [result])]
        return [any(np.shares_memory(x, part) for part in parts) for x in _list_arrays(given)]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        getattr(self.oracle, name)  # what the oracle has not, this has not

        def call(*args: Any, **kwargs: Any) -> Any:
            _, result = self.raw(name, *args, **kwargs)
            if isinstance(result, list):
                return [np.array(np.asarray(map_), np.float64) for map_ in result]
            return np.array(np.asarray(result))

        return call


def _perturb(
    call: Call, oracle: Any, precision: Precision, expected: Recorded, runs: int, bound: bool
) -> Residuals:
    """Runs ``call`` on the oracle with ``runs`` seeds of roundings; exact results are computed once."""
    results = []
    for number in range(runs):
        expected.replay()
        rounding = Rounding(precision, np.random.default_rng([number, 6]), bound)
        results.append(list_pairs(call(WithExpected(Perturbed(oracle, rounding), expected))))
    with np.errstate(invalid="ignore"):  # -inf is -inf, however it is rounded
        return [
            [np.asarray(got, np.float64) - np.asarray(exact, np.float64) for got, exact in runs_of_pair]
            for runs_of_pair in zip(*results, strict=True)
        ]


def _rounding(value: Any, rounding: Rounding) -> Any:
    """Arguments whose arrays round from now on, at any level."""
    if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
        return rounding.array(value)
    if isinstance(value, Mapping):
        return {name: _rounding(child, rounding) for name, child in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_rounding(child, rounding) for child in value)
    return value


def _list_arrays(value: Any) -> list[Any]:
    """Returns the arrays of arguments, at any level."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [x for child in value for x in _list_arrays(child)]
    return [np.asarray(value)] if isinstance(value, np.ndarray) else []
