"""Gives an adapter every size as a pair, so that it need not tell an integer from a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

from swin_reference.config import SwinConfig
from swin_reference.sizes import pair

from swin_properties.adapters.contract import CONTRACT, list_parameters


def pairs(adapter: Any) -> Any:
    """Returns an adapter whose callables are given every size as ``(height, width)``.

    The sizes of ``config`` are pairs as well.  Everything else is the adapter's own.

    >>> from types import SimpleNamespace
    >>> mine = SimpleNamespace(window_partition=lambda x, window_size: window_size)
    >>> pairs(mine).window_partition(None, 7)
    (7, 7)
    """
    return _GivenPairs(adapter)


class _GivenPairs:
    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._adapter, name)
        if name in ("with_precision", "with_convention"):
            return lambda word: _GivenPairs(value(word))
        if name not in CONTRACT and name not in ("vjp", "prepare", "declines"):
            return value

        @wraps(value)
        def call(*args: Any, **kwargs: Any) -> Any:
            return value(*_convert(name, args), **{key: _as_pair(key, x) for key, x in kwargs.items()})

        return call


def _convert(name: str, args: Sequence[Any]) -> list[Any]:
    """Returns the arguments of a callable with pairs for sizes.

    Those of ``vjp`` are the name of a callable, a cotangent and its arguments; those of ``prepare`` and
    ``declines`` a name and its arguments.
    """
    if name == "vjp":
        called, cotangent, *rest = args
        return [called, cotangent, *_convert(called, rest)]
    if name not in CONTRACT:
        called, *rest = args
        return [called, *_convert(called, rest)]
    names = [parameter.name for parameter in list_parameters(name)]
    return [*map(_as_pair, names, args), *args[len(names) :]]


def _as_pair(name: str, value: Any) -> Any:
    """Returns an argument with its sizes as pairs."""
    if name.endswith("_size"):
        return pair(value)
    if isinstance(value, SwinConfig):
        return replace(
            value,
            image_size=pair(value.image_size),
            patch_size=pair(value.patch_size),
            window_size=value.windows if len(set(value.windows)) > 1 else value.windows[0],
        )
    return value
