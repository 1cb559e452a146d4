"""The official names of the weights, nested and flat, and the check that a model has them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from swin_reference.outside import refusal

RECOMPUTED = ("relative_position_index", "attn_mask", "relative_coords_table")
"""The last parts of the names of buffers: arrays that sizes alone determine, and no parameters."""


def flatten(params: Any, prefix: str = "") -> dict[str, Any]:
    """Returns a nested dict as a flat one; a name joins the levels with dots, as in official checkpoints.

    >>> flatten({"layers": [{"norm": {"weight": 1}}]})
    {'layers.0.norm.weight': 1}
    """
    if isinstance(params, Mapping):
        items = [(str(name), child) for name, child in params.items()]
    elif isinstance(params, list):
        items = [(str(number), child) for number, child in enumerate(params)]
    else:
        return {prefix: params}
    flat: dict[str, Any] = {}
    for name, child in items:
        flat |= flatten(child, f"{prefix}.{name}" if prefix else name)
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a flat dict as a nested one, numbered levels as lists: the inverse of `flatten`.

    Errors: ``ValueError`` if a numbered level is missing, or a name is both a weight and a level.

    >>> unflatten({"layers.0.norm.weight": 1})
    {'layers': [{'norm': {'weight': 1}}]}
    >>> unflatten({"cpb_mlp.0.weight": 1, "cpb_mlp.2.weight": 2})
    {'cpb_mlp': {'0': {'weight': 1}, '2': {'weight': 2}}}
    """
    root: dict[str, Any] = {}
    for name, leaf in flat.items():
        *levels, last = name.split(".")
        node = root
        for level in levels:
            node = node.setdefault(level, {})
            if not isinstance(node, dict):
                raise ValueError(f"a name is a weight or a level, {name!r} makes it both: rename one")
        if last in node:
            raise ValueError(f"a name is a weight or a level, {name!r} makes it both: rename one")
        node[last] = leaf
    nested: dict[str, Any] = _lists(root)
    return nested


def _lists(node: Any, level: str = "") -> Any:
    """Returns a nested dict with lists in place of the levels whose names are all numbers.

    The position bias of Swin V2 keeps its numbers, alone too: between its layers ``0`` and ``2`` is one
    without weights.
    """
    if not isinstance(node, dict):
        return node
    children = {name: _lists(child, name) for name, child in node.items()}
    if not children or not all(name.isdigit() for name in children) or level in ("", "cpb_mlp"):
        return children
    if sorted(map(int, children)) != list(range(len(children))):
        raise ValueError(
            f"numbered levels count from 0 without a gap, got {', '.join(children)}: a level is missing"
        )
    return [children[str(number)] for number in range(len(children))]


def matched(flat: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the weights in the order of ``shapes``, after checking every name, shape and value.

    ``shapes`` are the expected shapes, flat or nested, as `swin_reference.parameter_shapes` returns them.

    Errors: ``ValueError`` that names the weights that are missing, extra, misshaped, not finite or no
    floating-point numbers: of many the first, and all in its note.

    >>> matched({"a.weight": np.ones(2)}, {"a": {"weight": (2,)}})
    {'a.weight': array([1., 1.])}
    >>> matched({"b": np.ones(2)}, {"a": (2,)})
    Traceback (most recent call last):
    ...
    ValueError: a checkpoint holds exactly the model's parameters: missing a; extra b
    """
    expected = flatten(shapes)
    given = {name: np.asarray(x) for name, x in flat.items()}
    shared = [name for name in given if name in expected]
    misshaped = [name for name in shared if given[name].shape != tuple(expected[name])]
    faults = {
        "missing": [name for name in expected if name not in given],
        "extra": [name for name in given if name not in expected],
        "misshaped": [f"{name} {given[name].shape}, not {tuple(expected[name])}" for name in misshaped],
        "no floating-point numbers": [name for name in shared if not _is_real(given[name])],
        "non-finite": [
            name for name in shared if _is_real(given[name]) and not np.isfinite(given[name]).all()
        ],
    }
    if any(faults.values()):
        said, more = (
            "a checkpoint holds exactly the model's parameters: "
            + "; ".join(f"{fault} {_list_names(names, most)}" for fault, names in faults.items() if names)
            for most in (2, len(flat) + len(expected))
        )
        raise refusal(said, more if more != said else "")
    return {name: given[name] for name in expected}


def _list_names(names: list[str], most: int) -> str:
    listed = ", ".join(names[:most])
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed


def _is_real(x: Any) -> bool:
    return bool(np.issubdtype(x.dtype, np.floating))
