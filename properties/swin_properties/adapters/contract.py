"""The shape that each callable of an adapter must return for given arguments."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from swin_reference import rules
from swin_reference.config import Convention
from swin_reference.sizes import pair


def _ceil(length: int, step: int) -> int:
    return -(-length // step)


def _grid(images: Any, patch_size: Any) -> tuple[int, int]:
    """The token grid of images (B, 3, H, W)."""
    ph, pw = pair(patch_size)
    return _ceil(images.shape[2], ph), _ceil(images.shape[3], pw)


def _partition(x: Any, window_size: Any) -> Any:
    window = pair(window_size)
    return prod(x.shape[:3]) // prod(window), *window, x.shape[3]


def _reverse(windows: Any, window_size: Any, height: int, width: int) -> Any:
    tokens = windows.shape[0] * prod(pair(window_size))
    return tokens // (height * width), height, width, windows.shape[3]


def _mask(height: int, width: int, window_size: Any, *_: Any) -> Any:
    tokens = prod(pair(window_size))
    return height * width // tokens, tokens, tokens


def _merging(x: Any, *_: Any) -> Any:
    batch, height, width, channels = x.shape
    return batch, _ceil(height, 2), _ceil(width, 2), 2 * channels


def _stage(x: Any, params: Any, *_: Any) -> Any:
    return _merging(x) if "downsample" in params else x.shape


def _features(images: Any, _params: Any, config: Any) -> Any:
    height, width = _grid(images, config.patch_size)
    return [
        (len(images), _ceil(height, 2**stage), _ceil(width, 2**stage), channels)
        for stage, channels in enumerate(config.channels)
    ]


def _same(x: Any, *_: Any) -> Any:
    return x.shape


SHAPES: dict[str, Callable[..., Any]] = {
    "window_partition": _partition,
    "window_reverse": _reverse,
    "cyclic_shift": _same,
    "reverse_cyclic_shift": _same,
    "shifted_window_mask": _mask,
    "relative_position_index": lambda window_size: (prod(pair(window_size)),) * 2,
    "relative_position_bias": lambda table, window_size: (
        table.shape[1],
        *(prod(pair(window_size)),) * 2,
    ),
    "resize_relative_position_bias": lambda table, _, new_window_size: (
        prod(2 * side - 1 for side in pair(new_window_size)),
        table.shape[1],
    ),
    "window_attention": _same,
    "shifted_window_attention": _same,
    "layer_norm": _same,
    "mlp": _same,
    "patch_embed": lambda images, params, patch_size: (
        len(images),
        *_grid(images, patch_size),
        len(params["proj"]["weight"]),
    ),
    "patch_merging": _merging,
    "swin_block": _same,
    "swin_stage": _stage,
    "swin_features": _features,
    "swin_transformer": lambda images, _params, config: (
        len(images),
        config.num_classes or config.channels[-1],
    ),
}
"""For each callable an adapter may offer, in the order in which a reader would check them: its result's
shape, from its arguments; for `swin_features` a list of shapes."""


def result_shape(name: str, args: tuple[Any, ...], convention: Convention) -> Any:
    """The shape of a callable's result under a convention, which may drop part of an image.

    >>> import numpy as np
    >>> from swin_reference.config import CONVENTIONS
    >>> embed = np.ones((1, 3, 9, 8)), {"proj": {"weight": np.ones((5, 3, 4, 4))}}, 4
    >>> [result_shape("patch_embed", embed, CONVENTIONS[name]) for name in ("canonical", "timm")]
    [(1, 3, 2, 5), (1, 2, 2, 5)]
    """
    if name in ("patch_embed", "swin_features") and convention.image == "drop":
        images, params, sizes = args
        patch_size = sizes if name == "patch_embed" else sizes.patch_size
        bottom, right = rules.pixels_taken(images.shape[2:], patch_size, convention)
        args = images[:, :, :bottom, :right], params, sizes
    return SHAPES[name](*args)
