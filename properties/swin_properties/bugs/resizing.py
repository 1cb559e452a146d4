"""Planted bugs of resizing a bias table to another window."""

from __future__ import annotations

from typing import Any

import numpy as np
from swin_reference.sizes import window_pair

from swin_properties.bugs.gallery import Replacements, bug, replaces

RESIZE = "bias_resizing.resize_relative_position_bias"
FINE_TUNED = "A checkpoint fine-tuned at another window starts from slightly wrong biases: training hides it."


def taps(s: Any, length: int, kernel: Any, edges: Any = None) -> Any:
    """Returns the matrix of a kernel of four taps around each place ``s``."""
    pixels = np.floor(np.asarray(s)).astype(int)[:, None] + np.arange(-1, 3)
    weights = kernel(abs(s[:, None] - pixels))
    indices = np.clip(pixels, 0, length - 1) if edges is None else edges(pixels)
    return (weights[:, :, None] * (indices[:, :, None] == np.arange(length))).sum(axis=1)


def numbered(count: int, like: Any) -> Any:
    """Returns 0, 1, ... in the precision of ``like``, rounding where ``like`` rounds."""
    return np.zeros_like(like.real, shape=count) + np.arange(count, dtype=like.real.dtype)


@bug(
    "resize-corners-aligned",
    "The corners are aligned.",
    FINE_TUNED,
    component="resize_relative_position_bias",
    when="a window side above 1 other than the grid's",
)
def resize_corners_aligned(o: Any) -> Replacements:
    def interpolation(length: int, new_length: int, like: Any) -> Any:
        step = (length - 1) / max(new_length - 1, 1)
        return taps(numbered(new_length, like) * step, length, o.bias_resizing.cubic_kernel)

    return {"bias_resizing.interpolation": interpolation}


@bug(
    "resize-no-half-pixel",
    "Pixels are taken at their corners, not their middles.",
    "The bias is displaced to one side.",
    component="resize_relative_position_bias",
    when="a window side above 1 other than the grid's",
)
def resize_no_half_pixel(o: Any) -> Replacements:
    def interpolation(length: int, new_length: int, like: Any) -> Any:
        return taps(numbered(new_length, like) * (length / new_length), length, o.bias_resizing.cubic_kernel)

    return {"bias_resizing.interpolation": interpolation}


@bug(
    "resize-catmull-rom",
    "The cubic kernel's a is -1/2, not -3/4.",
    FINE_TUNED,
    "Pillow, TensorFlow, JAX.",
    component="resize_relative_position_bias",
    only_when="a window side above 1 other than the grid's",
)
@replaces("bias_resizing.cubic_kernel")
def resize_catmull_rom(original: Any, d: Any) -> Any:
    return np.where(d <= 1, (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2)


@bug(
    "resize-bilinear",
    "The interpolation is linear, not cubic.",
    FINE_TUNED,
    component="resize_relative_position_bias",
    only_when="a window side above 1 other than the grid's",
)
@replaces("bias_resizing.cubic_kernel")
def resize_bilinear(original: Any, d: Any) -> Any:
    return np.maximum(0.0, 1.0 - d)


@bug(
    "resize-zero-edge",
    "Beyond the table's edge the bias is zero.",
    "The farthest offsets lose their bias.",
    component="resize_relative_position_bias",
    only_when="a window other than the grid",
)
def resize_zero_edge(o: Any) -> Replacements:
    def interpolation(length: int, new_length: int, like: Any) -> Any:
        s = (numbered(new_length, like) + 0.5) * (length / new_length) - 0.5
        return taps(s, length, o.bias_resizing.cubic_kernel, edges=lambda pixels: pixels)

    return {"bias_resizing.interpolation": interpolation}


@bug(
    "resize-xy",
    "The table is read as (width, height).",
    "Right for square windows.",
    component="resize_relative_position_bias",
    only_when="a window of more than one token",
)
@replaces(RESIZE)
def resize_xy(original: Any, table: Any, window_size: Any, new_window_size: Any) -> Any:
    return original(table, window_pair(window_size)[::-1], window_pair(new_window_size)[::-1])


@bug(
    "resize-heads-first",
    "The result stays (heads, offsets), reshaped.",
    "Heads and offsets are mixed.",
    component="resize_relative_position_bias",
    when="several tokens in the grid",
)
@replaces(RESIZE)
def resize_heads_first(original: Any, table: Any, window_size: Any, new_window_size: Any) -> Any:
    right = original(table, window_size, new_window_size)
    return right.T.reshape(right.shape)


@bug(
    "resize-cropped",
    "A smaller window takes the first rows of the table.",
    "Offset 0 becomes another.",
    component="resize_relative_position_bias",
    only_when="a window other than the grid",
)
@replaces(RESIZE)
def resize_cropped(original: Any, table: Any, window_size: Any, new_window_size: Any) -> Any:
    right = original(table, window_size, new_window_size)
    return table[: len(right)] if len(right) <= len(table) else right
