"""Checkpoints: the names of the weights, and reading and writing files of them.  No mathematics."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

RECOMPUTED = ("relative_position_index", "attn_mask", "relative_coords_table")
"""Buffers of official checkpoints that sizes alone determine; they are no parameters."""


def flatten(params: Any, prefix: str = "") -> dict[str, Any]:
    """A nested dict as a flat one, with the official checkpoint's names: levels joined by dots.

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
    """The inverse of `flatten`: names split at the dots, numbered levels as lists.

    Errors: ``ValueError`` for numbered levels with a gap, or a name that is both a leaf and a level.

    >>> unflatten({"layers.0.norm.weight": 1})
    {'layers': [{'norm': {'weight': 1}}]}
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


def _lists(node: Any) -> Any:
    """Turns levels whose names are all numbers into lists."""
    if not isinstance(node, dict):
        return node
    children = {name: _lists(child) for name, child in node.items()}
    if not children or not all(name.isdigit() for name in children):
        return children
    if sorted(map(int, children)) != list(range(len(children))):
        raise ValueError(
            f"numbered levels count from 0 without a gap, got {', '.join(children)}: a level is missing"
        )
    return [children[str(number)] for number in range(len(children))]


def matched(flat: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    """The nested parameters of a flat checkpoint, once every name, shape and value fits.

    ``shapes`` are the nested expected shapes (`parameter_shapes`).  Recomputed buffers are left out.

    Errors: ``ValueError`` naming every missing, extra, misshaped and non-finite key.

    >>> matched({"a.weight": np.ones(2)}, {"a": {"weight": (2,)}})
    {'a': {'weight': array([1., 1.])}}
    >>> matched({"b": np.ones(2)}, {"a": (2,)})
    Traceback (most recent call last):
    ...
    ValueError: a checkpoint holds exactly the model's parameters: missing a; extra b
    """
    expected = flatten(shapes)
    given = {name: np.asarray(x) for name, x in flat.items() if name.split(".")[-1] not in RECOMPUTED}
    shared = [name for name in given if name in expected]
    misshaped = [name for name in shared if given[name].shape != tuple(expected[name])]
    faults = {
        "missing": [name for name in expected if name not in given],
        "extra": [name for name in given if name not in expected],
        "misshaped": [f"{name} {given[name].shape}, not {tuple(expected[name])}" for name in misshaped],
        "not numbers": [name for name in shared if not _is_real(given[name])],
        "non-finite": [
            name for name in shared if _is_real(given[name]) and not np.isfinite(given[name]).all()
        ],
    }
    found = [f"{fault} {', '.join(names)}" for fault, names in faults.items() if names]
    if found:
        raise ValueError(f"a checkpoint holds exactly the model's parameters: {'; '.join(found)}")
    return unflatten({name: given[name] for name in expected})


def _is_real(x: Any) -> bool:
    return bool(np.issubdtype(x.dtype, np.number) and not np.issubdtype(x.dtype, np.complexfloating))


def load(path: str | Path) -> dict[str, Any]:
    """The flat weights of a file: ``.npz`` by NumPy, ``.pth`` or ``.pt`` by torch, weights only.

    A wrapping ``model`` or ``state_dict`` key is opened.  Code in a pickle is refused, never run.

    Errors: ``ValueError`` in one sentence for a file that is missing, foreign, truncated or unsafe.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"a checkpoint is an existing file, got {path}: check the path")
    if path.suffix == ".npz":
        flat: Any = _load_npz(path)
    elif path.suffix in (".pth", ".pt"):
        flat = _load_torch(path)
    else:
        raise ValueError(f"a checkpoint is .npz, .pth or .pt, got {path.name}: convert it to one of these")
    for wrapper in ("model", "state_dict"):
        if isinstance(flat, Mapping) and isinstance(flat.get(wrapper), Mapping):
            flat = flat[wrapper]
    if not isinstance(flat, Mapping) or not all(hasattr(x, "shape") for x in flat.values()):
        raise ValueError(f"a checkpoint maps names to arrays, {path.name} holds something else")
    return {name: np.asarray(x) for name, x in flat.items()}


def save(path: str | Path, params: Any) -> None:
    """Writes nested parameters as a flat ``.npz`` under their official names.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "tiny.npz"
    >>> save(path, {"head": {"bias": np.zeros(2)}}); load(path)
    {'head.bias': array([0., 0.])}
    """
    np.savez(path, **flatten(params))


def _load_npz(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise ValueError(f"{path.name} does not read as an .npz archive of arrays: {error}") from None


def _load_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise ValueError(f"reading {path.name} needs torch: install it, or convert to .npz") from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path.name} does not read as a file of weights alone: {reason}") from None

    def numpy(node: Any) -> Any:
        if isinstance(node, torch.Tensor):
            wide = node.float() if node.dtype == torch.bfloat16 else node
            return wide.detach().numpy()
        return {name: numpy(child) for name, child in node.items()} if isinstance(node, dict) else node

    return numpy(loaded)
