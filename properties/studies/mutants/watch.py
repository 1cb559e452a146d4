"""The oracle, watched: whenever it calls an edited function, the mutants are called with the same arguments.

A mutant's own calls of other functions are answered by the results that the oracle's calls had, where the
arguments are the same.  So many mutants cost little more than the oracle alone.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import swin_reference
from studies.mutants.edits import define
from studies.mutants.mutant import Mutant, bind_convention, module_of
from swin_properties.adapters.implementation import Implementation, apply_convention
from swin_properties.budget.precision import PRECISIONS
from swin_properties.budget.within import Pairs, Residuals, compare_pairs, perturb
from swin_properties.bugs import oracle_copy
from swin_reference.config import Convention

FLOAT64 = PRECISIONS["float64"]
"""The precision in which mutants are judged: no other shows smaller differences."""

LONGEST = 20
"""Seconds after which a mutant that still computes one result counts as one that does not end."""


class Asked(NamedTuple):
    """A call of a function: its name, its arguments and its result, or the error that it raised."""

    name: str
    args: Any
    kwargs: Any
    result: Any
    error: Exception | None = None


class Watched:
    """The oracle as the laws ask it, ``swin``; ``apart`` has the calls whose results the mutants change."""

    def __init__(self, mutants: Iterable[Mutant], sources: Mapping[str, str], convention: Convention) -> None:
        self.oracle = apply_convention(convention, swin_reference)
        self.mutants = {
            mutant: Implementation(
                bind_convention(mutant.callables, convention), FLOAT64, convention, "as asked"
            )
            for mutant in mutants
        }
        self.suspects: set[Mutant] = set()
        self.apart: dict[Mutant, list[Asked]] = {}
        modules, clean = oracle_copy.copy_modules(), oracle_copy.copy_modules()
        watched = {}
        for path in dict.fromkeys(mutant.edit.path for mutant in self.mutants):
            module = module_of(path)
            watched[path] = self._watch(path, sources[module], modules[module], clean[module])
        callables = bind_convention(vars(oracle_copy.replace(modules, watched)), convention)
        asked = {name: self._ask(name, function) for name, function in vars(callables).items()}
        self.swin = Implementation(SimpleNamespace(**asked), FLOAT64, convention, "as asked")
        self.swin.expected = self.oracle

    def drop(self, mutant: Mutant) -> None:
        """Calls a mutant no more."""
        del self.mutants[mutant]

    def _watch(self, path: str, source: str, module: ModuleType, clean: ModuleType) -> Any:
        """Returns the function of a path, which notes its mutants that give another result."""
        calls: list[Asked] = []
        others = [name for name, value in vars(module).items() if isinstance(value, FunctionType)]
        original = define(
            path, source, vars(module) | {name: _record(module, name, calls) for name in others}
        )
        replaying = vars(clean) | {name: _replay(vars(clean)[name], name, calls) for name in others}
        edited = {m: m.define(dict(replaying)) for m in self.mutants if m.edit.path == path}

        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.clear()
            asked = _call(path, original, args, kwargs)
            for mutant, function in edited.items():
                if mutant in self.mutants and mutant not in self.suspects:
                    reached = mutant.reached
                    if not _gives(function, asked):
                        self.suspects.add(mutant)
                    if asked.error:  # an input that is not accepted
                        mutant.reached = reached
            if asked.error:
                raise asked.error
            return asked.result

        return call

    def _ask(self, name: str, function: Any) -> Any:
        """Returns a callable that notes the mutants that change its result."""

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.suspects.clear()
            asked = _call(name, function, args, kwargs)
            for mutant in self.suspects:
                if not _gives(getattr(self.mutants[mutant].adapter, name), asked):
                    self.apart.setdefault(mutant, []).append(asked)
            if asked.error:
                raise asked.error
            return asked.result

        return call

    def measure(self, mutant: Mutant) -> float:
        """Returns the largest rho of the results that a mutant changed."""
        return max(self._measure_one(mutant, asked) for asked in self.apart[mutant])

    def _measure_one(self, mutant: Mutant, asked: Asked) -> float:
        got = _call(asked.name, getattr(self.mutants[mutant].adapter, asked.name), asked.args, asked.kwargs)
        if asked.error or got.error:
            return np.inf
        try:
            pairs = _pair(got.result, asked.result)
            if any(np.shape(one) != np.shape(other) for one, other in pairs):
                return np.inf
            return compare_pairs(pairs, self._perturb(asked), FLOAT64).rho or 0.0
        except (TypeError, ValueError):  # results of other kinds
            return np.inf

    def _perturb(self, asked: Asked) -> Residuals:
        def call(swin: Any) -> Pairs:
            return _pair(getattr(swin, asked.name)(*asked.args, **asked.kwargs), asked.result)

        return perturb(call, self.oracle, FLOAT64)


def is_same(one: Any, other: Any) -> bool:
    """Tells whether two results are equal bit by bit, of one type and one shape at any level.

    >>> is_same((1, np.zeros(2)), (1, np.zeros(2))), is_same(np.zeros(2), -np.zeros(2)), is_same(1, 1.0)
    (True, False, False)
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(other, np.ndarray):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and one.tobytes() == other.tobytes()
    if isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(other, dict):
        return list(one) == list(other) and all(is_same(one[key], other[key]) for key in other)
    return bool(one == other)


@contextmanager
def limit_time(seconds: float) -> Iterator[None]:
    """Raises a ``TimeoutError`` in what takes longer than so many seconds."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"it takes over {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _call(name: str, function: Any, args: Any, kwargs: Any) -> Asked:
    try:
        return Asked(name, args, kwargs, function(*args, **kwargs))
    except Exception as error:
        return Asked(name, args, kwargs, None, error)


def _gives(function: Any, asked: Asked) -> bool:
    """Tells whether a function gives the same result, or an error of the same type."""
    with limit_time(LONGEST):
        got = _call(asked.name, function, asked.args, asked.kwargs)
    if asked.error or got.error:
        return type(got.error) is type(asked.error)
    return is_same(got.result, asked.result)


def _record(module: ModuleType, name: str, calls: list[Asked]) -> Any:
    """Returns a module's function of a name, as it is when it is called, which notes its calls."""

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(Asked(name, args, kwargs, getattr(module, name)(*args, **kwargs)))
        return calls[-1].result

    return call


def _replay(function: Any, name: str, calls: list[Asked]) -> Any:
    """Returns a function that gives what was noted for the same arguments, else computes."""

    def call(*args: Any, **kwargs: Any) -> Any:
        for asked in calls:
            if asked.name == name and is_same(args, asked.args) and is_same(kwargs, asked.kwargs):
                return asked.result
        return function(*args, **kwargs)

    return call


def _pair(got: Any, expected: Any) -> Pairs:
    """Returns the pairs of arrays of two results, of which some callables give several."""
    if isinstance(expected, list):
        return list(zip(got, expected, strict=True))
    return [(got, expected)]
