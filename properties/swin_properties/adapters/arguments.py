"""The arrays among a callable's arguments: by name, in parts, and with something done to each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from swin_weights import flatten, unflatten

from swin_properties.adapters.contract import list_parameters
from swin_properties.adapters.layouts import find_larger, find_offset

ALL = "all arguments at once"
"""The part that stands for all arguments together."""

Select = tuple[str, slice]


def copy_as(x: Any, dtype: Any) -> Any:
    """Returns a copy of an array in another type, in the same order in memory.

    An array inside a larger flat one is copied with all of that, and lies in it at the same place.

    >>> copy_as(np.arange(4.0)[:0:-1], np.float32).base
    array([0., 1., 2., 3.], dtype=float32)
    """
    if (larger := find_larger(x)) is None:
        return np.array(x, dtype=dtype, order="K")
    memory = np.array(larger, dtype=dtype)
    strides = [stride // x.itemsize * memory.itemsize for stride in x.strides]
    return np.ndarray(x.shape, memory.dtype, memory, find_offset(x) * memory.itemsize, strides)


def list_arrays(name: str, args: tuple[Any, ...]) -> dict[str, Any]:
    """Returns the arrays among a callable's positional arguments, by name.

    Parameters have their names of the official checkpoint.

    >>> list(list_arrays("mlp", (np.ones(1), {"fc1": {"weight": np.ones((1, 1))}})))
    ['x', 'fc1.weight']
    """
    found: dict[str, Any] = {}
    for label, value in label_arguments(name, args):
        found |= flatten(value) if isinstance(value, Mapping) else {label: value}
    return {label: value for label, value in found.items() if isinstance(value, np.ndarray)}


def walk_arrays(value: Any) -> Iterator[Any]:
    """Yields all arrays in nested arguments or results."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from walk_arrays(child)


def label_arguments(name: str, args: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Yields a callable's positional arguments, each with the name of its parameter."""
    yield from zip((parameter.name for parameter in list_parameters(name)), args, strict=False)


def rebuild_arguments(name: str, args: tuple[Any, ...], change: Callable[[str, Any], Any]) -> list[Any]:
    """Returns the arguments with every array changed, by its name.

    >>> rebuild_arguments("cyclic_shift", (np.ones(2), 1), lambda name, x: 2 * x)
    [array([2., 2.]), 1]
    """
    rebuilt = []
    for label, value in label_arguments(name, args):
        if isinstance(value, Mapping):
            rebuilt.append(unflatten({leaf: change(leaf, x) for leaf, x in flatten(value).items()}))
        else:
            rebuilt.append(change(label, value) if isinstance(value, np.ndarray) else value)
    return rebuilt


def list_parts(at: Mapping[str, Any]) -> list[tuple[str, list[Select]]]:
    """Returns what is compared alone: every array, the bias of q, k and v each, and all at once.

    >>> [name for name, _ in list_parts({"qkv.bias": np.ones(3)})]
    ['qkv.bias (query)', 'qkv.bias (key)', 'qkv.bias (value)', 'all arguments at once']
    """
    found: list[tuple[str, list[Select]]] = []
    for label, x in at.items():
        if label.endswith("qkv.bias"):
            third = len(x) // 3
            for number, which in enumerate(("query", "key", "value")):
                found.append((f"{label} ({which})", [(label, slice(number * third, (number + 1) * third))]))
        else:
            found.append((label, [(label, slice(None))]))
    return [*found, (ALL, [(label, slice(None)) for label in at])]


def draw_direction(at: Mapping[str, Any], where: list[Select], rng: np.random.Generator) -> dict[str, Any]:
    """Returns a random direction: normal in the selected rows of the arrays, zero elsewhere."""
    way = {}
    for label, rows in where:
        way[label] = np.zeros(at[label].shape)
        way[label][rows] = rng.standard_normal(way[label][rows].shape)
    return way
