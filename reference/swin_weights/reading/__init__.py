"""Reading files of weights: NumPy's, torch's, safetensors, and transformers' directories."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swin_reference.outside import one_sentence, open_file, read_json, refusal

from swin_weights.reading.archives import read_npz
from swin_weights.reading.foreign import refuse_file, refuse_folder
from swin_weights.reading.pickles import read_torch

TORCH = (".pth", ".pt", ".bin", ".ckpt", ".tar")

MOST_NAMES = 20_000
"""The most names in a checkpoint, and in an index of shards."""


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
    refuse_file(path)
    raise refusal(
        f"a checkpoint is .npz, .safetensors, {', '.join(TORCH)} or a directory of transformers', got "
        f"{path.name}: convert it to one of these"
    )


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
        refuse_folder(path)
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
