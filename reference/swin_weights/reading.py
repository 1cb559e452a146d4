"""Reading files of weights: NumPy's, torch's, safetensors, and transformers' directories."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from swin_reference.outside import one_sentence, open_file, read_json, refusal

from swin_weights.archives import read_npz
from swin_weights.pickles import as_array, read_torch

WRAPPERS = ("model", "state_dict", "module", "model_ema", "state_dict_ema")
"""The keys under which training files keep the weights; the first one found is used."""

PREFIXES = ("module.", "_orig_mod.", "backbone.")
"""The prefixes that parallel training, compilation and detectors put before every name."""

TORCH = (".pth", ".pt", ".bin", ".ckpt", ".tar")


DEEPEST = 8
"""The most wrappers around each other."""

MOST_NAMES = 20_000
"""The most weights of a checkpoint."""

LONGEST_SIDE = 2**24
"""The most numbers along one side of a weight."""


def read(path: Path) -> tuple[Any, dict[str, Any], list[str]]:
    """Reads a file or directory: arrays, as the file nests them, the values of a ``config.json``, and notes.

    A file has no ``config.json``: its values are empty.

    Errors: ``ValueError`` in one sentence for a file that is missing, truncated, unsafe or of another kind.
    """
    if os.path.isdir(path):  # Path.is_dir raises an error for some paths
        return _read_directory(path)
    held, notes = _read_file(path)
    return held, {}, notes


def _read_file(path: Path) -> tuple[Any, list[str]]:
    with open_file(path, "a checkpoint") as file:
        if path.suffix == ".npz":
            with one_sentence(f"{path.name} does not read as an .npz archive of arrays"):
                return read_npz(file), []
        if path.suffix == ".safetensors":
            with one_sentence(f"{path.name} does not read as a safetensors file"):
                return _read_safetensors(path), []
        if path.suffix in TORCH:
            with one_sentence(f"{path.name} does not read as a file of weights alone"):
                return read_torch(path, file)
    raise refusal(
        f"a checkpoint is .npz, .safetensors, {', '.join(TORCH)} or a directory of transformers', got "
        f"{path.name}: convert it to one of these"
    )


def unwrap(held: Any, source: str) -> tuple[dict[str, Any], list[str]]:
    """Returns the weights without the dicts and prefixes around them, and notes on what was left out.

    Errors: ``ValueError`` if what is inside does not map names to arrays.

    >>> unwrap({"model": {"module.head.bias": np.zeros(1)}, "epoch": 3}, "x.pth")
    ({'head.bias': array([0.])}, [])
    >>> unwrap({"backbone.norm.bias": np.zeros(1), "neck.bias": np.zeros(1)}, "x.pth")[1]
    ['1 weights outside backbone. are left out: neck.*']
    """
    notes = []
    for _ in range(DEEPEST):
        if not isinstance(held, Mapping):
            break
        wrappers = [key for key in WRAPPERS if isinstance(held.get(key), Mapping)]
        if not wrappers:
            break
        if wrappers[1:]:
            notes.append(f"{wrappers[0]} is read, {', '.join(wrappers[1:])} left out")
        held = held[wrappers[0]]
    if not isinstance(held, Mapping) or not held:
        raise ValueError(f"a checkpoint maps names to arrays, {source} holds something else: check the file")
    if len(held) > MOST_NAMES:
        raise ValueError(f"a checkpoint has at most {MOST_NAMES} weights, {source} has {len(held)}")
    strange = [
        _tell(name) for name, x in held.items() if not isinstance(name, str) or not hasattr(x, "shape")
    ]
    if strange:
        raise ValueError(
            f"a checkpoint maps names to arrays, {source} holds something else under {', '.join(strange)}: "
            "save the model's state_dict alone"
        )
    flat = {name: _as_weight(name, x) for name, x in held.items()}
    while prefix := next((p for p in PREFIXES if any(name.startswith(p) for name in flat)), None):
        outside = [name for name in flat if not name.startswith(prefix)]
        if outside:
            groups = sorted({f"{name.partition('.')[0]}.*" for name in outside})
            notes.append(f"{len(outside)} weights outside {prefix} are left out: {', '.join(groups)}")
        flat = {name.removeprefix(prefix): x for name, x in flat.items() if name.startswith(prefix)}
    return flat, notes


def _tell(name: Any) -> str:
    return name if isinstance(name, str) else f"a key that is a {type(name).__name__}"


def _as_weight(name: str, x: Any) -> Any:
    with one_sentence(name):
        array = np.asarray(as_array(x))
        if array.size == 0 or max(array.shape, default=1) > LONGEST_SIDE:
            raise ValueError(f"no weight of a Swin has the shape {array.shape}")
    return array


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import safe_open
    except ImportError:
        raise ValueError(f"reading {path.name} needs safetensors: install it, or give .npz") from None
    with safe_open(path, framework="numpy") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        if "BF16" not in kinds.values():
            return {name: file.get_tensor(name) for name in kinds}
    return _read_bfloat16(path)


def _read_bfloat16(path: Path) -> dict[str, Any]:
    """Reads tensors of torch: NumPy has no bfloat16."""
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ValueError("its bfloat16 needs torch: install it, or convert the file to float32") from None
    return load_file(path)


def _read_directory(path: Path) -> tuple[Any, dict[str, Any], list[str]]:
    if not (path / "config.json").exists():
        raise refusal(f"a directory of transformers' holds config.json, {path} has none: check the path")
    described = _read_json(path / "config.json")
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = path / f"{name}.index.json"
        if (path / name).exists():
            held, notes = _read_file(path / name)
            return held, described, notes
        if index.exists():
            return _read_shards(index), described, []
    raise refusal(
        f"a directory of transformers' holds model.safetensors or pytorch_model.bin, {path} has neither: "
        "check the path"
    )


def _read_shards(index: Path) -> dict[str, Any]:
    """Reads the files that an index names, each once; each holds the weights that the index says."""
    names = _read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or len(names) > MOST_NAMES:
        raise refusal(f"{index.name} has a weight_map from names to files, {index} has none: check the file")
    for shard in names.values():
        if not isinstance(shard, str) or shard in (".", "..") or not re.fullmatch(r"[\w.-]{1,255}", shard):
            raise refusal(f"{index.name} names files beside it, got {shard!r}: use the files that were saved")
    held: dict[str, Any] = {}
    for shard in sorted(set(names.values())):
        found, _ = _read_file(index.with_name(shard))
        said = {name for name, file in names.items() if file == shard}
        if not isinstance(found, Mapping) or found.keys() != said:
            raise refusal(
                f"a shard holds the weights that {index.name} says, {shard} holds others: use the files that "
                "were saved together"
            )
        held |= found
    return held


def _read_json(path: Path) -> dict[str, Any]:
    values = read_json(path, f"{path.name} of a directory of transformers'")
    if not isinstance(values, dict):
        raise refusal(f"{path.name} holds a JSON mapping, {path} holds another value: check the file")
    return values
