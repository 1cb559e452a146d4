"""Writing weights to a file or directory, in any layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from swin_reference.config import SwinConfig

from swin_weights.layout_names import is_v2, names_in
from swin_weights.layouts import to_layout
from swin_weights.names import flatten
from swin_weights.recognise import recognise_config
from swin_weights.transformers_json import config_to_json


def save(path: str | Path, params: Any, layout: str = "official", config: SwinConfig | None = None) -> None:
    """Writes parameters, nested or flat, under the names of a layout; the inverse of `load`.

    The path's suffix is ``.npz``, ``.safetensors``, ``.pth`` or ``.pt``; a path without one becomes a
    directory of transformers.  ``config`` is needed for that directory, for a position embedding in
    detection's layout, and in torchvision's for a window that is not square and for Swin V2.

    Errors: ``ValueError`` for another suffix, for weights that have no name in the layout, and without a
    ``config`` that is needed.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "tiny.npz"
    >>> save(path, {"head": {"bias": np.zeros(2)}}, "timm")
    >>> list(np.load(path))
    ['head.fc.bias']
    """
    path = Path(path)
    flat = flatten(params)
    if layout == "torchvision":  # torchvision loads no file without them
        flat |= _indices(flat, config)
    named = to_layout(flat, layout, _grid(config))
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {name: np.asarray(x) for name, x in named.items()}
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        _save_safetensors(path, named)
    elif path.suffix in (".pth", ".pt"):
        _save_torch(path, named)
    elif not path.suffix and layout == "transformers":
        _save_directory(path, named, config)
    else:
        raise ValueError(
            "weights go to .npz, .safetensors, .pth, .pt, or in transformers' layout to a directory, got "
            f"{path.name} for {layout}: use one of these"
        )


# The functions below import the oracle's functions when a file is written: importing this module stays fast.


def _grid(config: SwinConfig | None) -> tuple[int, int] | None:
    from swin_weights.buffers import first_grid

    return None if config is None else first_grid(config)


def _indices(flat: Mapping[str, Any], config: SwinConfig | None) -> dict[str, Any]:
    """Returns the relative position index for each bias table."""
    from swin_weights.buffers import index_buffers

    if config is None and is_v2(flat):
        raise ValueError(
            "a file in torchvision's layout holds the indices of the window, which no weight of Swin V2 "
            "shows, got no config: pass config="
        )
    if config is None:
        shapes = {name: tuple(x.shape) for name, x in flat.items()}
        config = recognise_config(shapes, names_in("official"), {})[0]
    return index_buffers(flat, config)


def _save_safetensors(path: Path, named: Mapping[str, Any]) -> None:
    try:
        from safetensors.numpy import save_file
    except ImportError:
        raise ValueError(
            f"writing {path.name} needs safetensors, which is not installed: install it, or write .npz"
        ) from None
    save_file({name: np.ascontiguousarray(x) for name, x in named.items()}, path, {"format": "pt"})


def _save_torch(path: Path, named: Mapping[str, Any]) -> None:
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"writing {path.name} needs torch, which is not installed: install it, or write .npz"
        ) from None
    tensors = {
        name: torch.as_tensor(np.array(x) if isinstance(x, np.ndarray) else x) for name, x in named.items()
    }
    torch.save({name: x.detach().clone() for name, x in tensors.items()}, path)


def _save_directory(path: Path, named: Mapping[str, Any], config: SwinConfig | None) -> None:
    if config is None:
        raise ValueError("a directory of transformers' holds a config.json, got no config: pass config=")
    text = json.dumps(config_to_json(config), indent=2)
    path.mkdir(parents=True, exist_ok=True)
    _save_safetensors(path / "model.safetensors", named)
    (path / "config.json").write_text(text)
