"""A backward pass for the oracle by complex steps, and copies of the oracle with functions changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import swin_reference

from swin_properties.adapters.arguments import list_arrays, rebuild_arguments
from swin_properties.adapters.contract import CONTRACT
from swin_properties.bugs.oracle_copy import callables, copy_modules
from swin_properties.judging.gradients import STEP

Change = Callable[[Callable[..., Any]], Callable[..., Any]]
"""A function of the oracle -> what stands in its place."""


def change_oracle(changes: Mapping[str, Change]) -> SimpleNamespace:
    """Returns a copy of the oracle with functions changed: ``name`` in every module, ``module.name`` in one.

    >>> change_oracle({"gelu": lambda gelu: lambda x: 0 * x}).mlp(np.ones(1), {
    ...     "fc1": {"weight": np.eye(1)}, "fc2": {"weight": np.eye(1)}})
    array([0.])
    """
    modules = copy_modules()
    for name, change in changes.items():
        module, _, function = name.rpartition(".")
        places = [modules[module]] if module else list(modules.values())
        original = next(getattr(place, function) for place in places if hasattr(place, function))
        changed = change(original)
        for place in places:
            if getattr(place, function, None) is original:
                setattr(place, function, changed)
    return callables(modules)


def complex_step_vjp(functions: Any) -> Callable[..., tuple[Any, ...]]:
    """Returns a vjp of a copy of the oracle: J one column at a time, Im f(x + i h e) / h.

    >>> vjp = complex_step_vjp(swin_reference)
    >>> vjp("cyclic_shift", np.array([[[[1.0], [2.0]]]]), np.zeros((1, 1, 2, 1)), (0, 1))[0].ravel()
    array([2., 1.])
    """
    remembered: dict[Any, dict[str, Any]] = {}

    def jacobian(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns J for each array, (numbers of the array, numbers of the result); keeps the last one."""
        sizes = [value for value in args if not isinstance(value, (np.ndarray, Mapping))]
        at = list_arrays(name, args)
        arrays = {**at, **{key: x for key, x in kwargs.items() if isinstance(x, np.ndarray)}}
        kept = {key: value for key, value in kwargs.items() if key not in arrays}
        point = (
            name,
            repr(sizes),
            repr(kept),
            *((key, x.astype(float).tobytes()) for key, x in arrays.items()),
        )
        if point not in remembered:
            remembered.clear()
            remembered[point] = {label: np.array(list(columns(name, args, kwargs, label))) for label in at}
        return remembered[point]

    def columns(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], label: str) -> Any:
        for number in range(list_arrays(name, args)[label].size):

            def moved(leaf: str, x: Any, number: int = number) -> Any:
                x = x.astype(np.complex128 if leaf == label else np.float64)
                if leaf == label:
                    x.reshape(-1)[number] += 1j * STEP
                return x

            result = getattr(functions, name)(*rebuild_arguments(name, args, moved), **kwargs)
            yield np.asarray(result).imag.ravel() / STEP

    def vjp(name: str, cotangent: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        columns_of = jacobian(name, args, kwargs)
        dtype = cotangent.dtype

        def gradient(leaf: str, x: Any) -> Any:
            return (columns_of[leaf] @ cotangent.ravel().astype(float)).reshape(x.shape).astype(dtype)

        gradients = rebuild_arguments(name, args, gradient)
        return tuple(x if isinstance(x, (np.ndarray, Mapping)) else None for x in gradients)

    return vjp


def with_vjp(name: str, vjp: Callable[..., Any], precision: str) -> SimpleNamespace:
    """Returns the oracle's forward functions and a vjp, as an implementation."""
    forward = {function: getattr(swin_reference, function) for function in CONTRACT}
    return SimpleNamespace(
        **forward,
        vjp=vjp,
        name=name,
        precision=precision,
        with_precision=lambda other: with_vjp(name, vjp, other),
    )
