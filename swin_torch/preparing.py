"""Callables made ready to be timed: what comes before the work, the copies and the loading, is done once."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch

from swin_torch.conversion import backward, cleared, gradient
from swin_torch.loading import owned

MODULES = "_attention", "_blocks", "_loaded"
"""An adapter's ways to a module that holds given parameters."""


def prepared(adapter: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
    """A callable of an adapter, its arguments tensors already, as a function of none: only the work is left.

    What it gives are tensors, once the device is done.  ``vjp`` is a forward and a backward; all else runs
    without gradients.
    """
    own = copy(adapter)
    own._loaded = owned  # a module that no later call gives other parameters
    for way in MODULES:
        setattr(own, way, _once(getattr(own, way)))

    def work() -> Any:
        if name == "vjp":
            result = pulled_back(own, *args, **kwargs)
        else:
            with torch.no_grad():
                result = _on_tensors(own, name)(own, *args, **kwargs)
        if torch.device(own.device).type == "cuda":
            torch.cuda.synchronize(own.device)
        return result

    work()  # loads the module
    return work


def pulled_back(adapter: Any, name: str, cotangent: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """The gradient of <cotangent, callable ``name`` of the arguments>, tensors, for each positional one."""
    cleared(args)
    backward(_on_tensors(adapter, name)(adapter, *args, **kwargs), cotangent)
    return tuple(gradient(leaf) for leaf in args)


def _on_tensors(adapter: Any, name: str) -> Callable[..., Any]:
    """The method as it is written, for tensors."""
    method: Callable[..., Any] = getattr(type(adapter), name).__wrapped__
    return method


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one that is called once and from then on gives that result."""
    results: list[Any] = []

    def again(*args: Any, **kwargs: Any) -> Any:
        if not results:
            results.append(function(*args, **kwargs))
        return results[0]

    return again
