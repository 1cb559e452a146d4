"""Reading and writing files of weights."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from swin_reference.checkpoint.names import flatten


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
