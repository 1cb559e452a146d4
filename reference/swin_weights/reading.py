"""Reading files of weights: NumPy's, torch's, safetensors, and transformers' directories."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from swin_weights.pickles import read_torch

WRAPPERS = ("model", "state_dict", "module", "model_ema", "state_dict_ema")
"""The keys under which training files keep the weights; the first one found is used."""

PREFIXES = ("module.", "_orig_mod.", "backbone.")
"""The prefixes that parallel training, compilation and detectors put before every name."""

TORCH = (".pth", ".pt", ".bin", ".ckpt", ".tar")


def read(path: Path) -> tuple[Any, dict[str, Any]]:
    """Reads a file or directory: arrays, as the file nests them, and the values of a ``config.json``.

    A file has no ``config.json``: its values are empty.

    Errors: ``ValueError`` in one sentence for a file that is missing, truncated, unsafe or of another kind.
    """
    if path.is_dir():
        return _read_directory(path)
    if not path.is_file():
        raise ValueError(f"a checkpoint is an existing file, got {path}: check the path")
    if path.suffix == ".npz":
        return _read_npz(path), {}
    if path.suffix == ".safetensors":
        return _read_safetensors(path), {}
    if path.suffix in TORCH:
        return read_torch(path), {}
    raise ValueError(
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
    while isinstance(held, Mapping):
        wrappers = [key for key in WRAPPERS if isinstance(held.get(key), Mapping)]
        if not wrappers:
            break
        if wrappers[1:]:
            notes.append(f"{wrappers[0]} is read, {', '.join(wrappers[1:])} left out")
        held = held[wrappers[0]]
    if not isinstance(held, Mapping) or not held:
        raise ValueError(f"a checkpoint maps names to arrays, {source} holds something else: check the file")
    strange = [str(name) for name, x in held.items() if not hasattr(x, "shape")]
    if strange:
        raise ValueError(
            f"a checkpoint maps names to arrays, {source} holds something else under {', '.join(strange)}: "
            "save the model's state_dict alone"
        )
    flat = {str(name): np.asarray(x) for name, x in held.items()}
    while prefix := next((p for p in PREFIXES if any(name.startswith(p) for name in flat)), None):
        outside = [name for name in flat if not name.startswith(prefix)]
        if outside:
            groups = sorted({f"{name.partition('.')[0]}.*" for name in outside})
            notes.append(f"{len(outside)} weights outside {prefix} are left out: {', '.join(groups)}")
        flat = {name.removeprefix(prefix): x for name, x in flat.items() if name.startswith(prefix)}
    return flat, notes


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} does not read as an .npz archive of arrays: {error}") from None


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise ValueError(f"reading {path.name} needs safetensors: install it, or give .npz") from None
    try:
        with safe_open(path, framework="numpy") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            if "BF16" not in kinds.values():
                return {name: file.get_tensor(name) for name in kinds}
        return _read_bfloat16(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path.name} does not read as a safetensors file: {error}") from None


def _read_bfloat16(path: Path) -> dict[str, Any]:
    """Reads bfloat16 as float32, by torch: NumPy has no bfloat16."""
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ValueError("its bfloat16 needs torch: install it, or convert the file to float32") from None
    return {
        name: x.float().numpy() if x.is_floating_point() else x.numpy() for name, x in load_file(path).items()
    }


def _read_directory(path: Path) -> tuple[Any, dict[str, Any]]:
    described = _read_json(path / "config.json")
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = path / f"{name}.index.json"
        if (path / name).is_file():
            return read(path / name)[0], described
        if index.is_file():
            held: dict[str, Any] = {}
            for shard in sorted(set(_read_json(index).get("weight_map", {}).values())):
                held |= read(path / Path(shard).name)[0]
            return held, described
    raise ValueError(
        f"a directory of transformers' holds model.safetensors or pytorch_model.bin, {path} has neither: "
        "check the path"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except OSError:
        raise ValueError(
            f"a directory of transformers' holds {path.name}, {path.parent} has none: check the path"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path.name} holds JSON, {path} does not parse: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} holds a JSON mapping, {path} holds another value: check the file")
    return values
