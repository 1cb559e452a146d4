"""Planted bugs of state: what a call leaves behind, and what it reads besides its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from swin_reference.sizes import pair, window_pair

from swin_properties.bugs.gallery import Replacements, bug, replaces

LATER = "The first call is right; later ones depend on what came before."


@bug(
    "mask-stale",
    "The mask is remembered by window and shift only, and used for grids of another size.",
    LATER,
    "Masks made at construction or cached as a buffer.",
    component="shifted_window_mask",
    only_when="a shift",
)
def mask_stale(o: Any) -> Replacements:
    original = o.windows.shifted_window_mask
    cache: dict[Any, Any] = {}

    def mask(height: int, width: int, window_size: Any, shift_size: Any) -> Any:
        key = window_pair(window_size), pair(shift_size)
        right = original(height, width, window_size, shift_size)
        return np.resize(cache.setdefault(key, right), right.shape)

    return {"windows.shifted_window_mask": mask}


@bug(
    "bias-remembered",
    "The bias is gathered from the table once for each window and number of heads, and kept.",
    "A checkpoint that is loaded later, or a training step, does not reach it.",
    "A public copy of V1; google-research/maxvit, issue 7.",
    component="relative_position_bias",
    only_when="",
)
def bias_remembered(o: Any) -> Replacements:
    original = o.relative_position.relative_position_bias
    built: dict[Any, Any] = {}

    def bias(table: Any, window_size: Any) -> Any:
        key = window_pair(window_size), table.shape[1]
        return built.setdefault(key, original(table, window_size))

    return {"relative_position.relative_position_bias": bias}


@bug(
    "shift-remembered",
    "Whether a stage shifts is decided by the first image, for all that follow.",
    LATER,
    "transformers 5.23, V1, writes what it decided at one size back into the model.",
    component="swin_stage",
    only_when="a window of more than one token",
)
def shift_remembered(o: Any) -> Replacements:
    original = o.rules.stage_shift
    cache: dict[Any, Any] = {}

    def stage_shift(grid: Any, window_size: Any, convention: Any) -> Any:
        key = window_pair(window_size)
        return cache.setdefault(key, original(grid, window_size, convention))

    return {"rules.stage_shift": stage_shift}


@bug(
    "norm-running-mean",
    "The norm subtracts a running mean over the calls.",
    LATER,
    "BatchNorm left in training mode.",
    component="layer_norm",
    only_when="",
)
def norm_running_mean(o: Any) -> Replacements:
    original, running = o.layers.layer_norm, [0.0]

    def layer_norm(x: Any, params: Any, eps: float = 1e-5) -> Any:
        y = original(x, params, eps) - running[0]
        running[0] = 0.9 * running[0] + 0.1 * float(np.mean(np.real(y)))
        return y

    return {"layers.layer_norm": layer_norm}


@bug(
    "offset-ignored",
    "Tokens are read from the beginning of the memory that holds them.",
    "Right for arrays of their own; a slice gives the result of what lies before it.",
    "PyTorch's LayerNorm on MPS, issue 131750.",
    component="layer_norm, mlp, window_attention",
)
@replaces("layers.layer_norm", "layers.linear")
def offset_ignored(original: Any, x: Any, *rest: Any, **named: Any) -> Any:
    memory = x.base
    inside = isinstance(memory, np.ndarray) and memory.ndim == 1 and memory.size > x.size
    return original(memory[: x.size].reshape(x.shape) if inside else x, *rest, **named)


@bug(
    "memory-order-trusted",
    "Tokens are read in the order in which they lie in memory.",
    "Wrong, without an error, for channels-last and other strided inputs.",
    "torch-xpu-ops, issue 1832; C and CUDA code that takes a pointer and ignores the strides.",
    component="mlp, patch_embed, window_attention",
    only_when="",
)
def memory_order_trusted(o: Any) -> Replacements:
    original, embed = o.layers.linear, o.patches.patch_embed

    def in_memory(x: Any) -> Any:
        return x.ravel(order="K").reshape(x.shape)

    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        return original(x, in_memory(weight), bias)

    return {
        "layers.linear": linear,
        "patches.patch_embed": lambda images, *rest: embed(in_memory(images), *rest),
    }


@bug(
    "batch-statistics",
    "The pooled features are centred over the batch.",
    "A picture's class depends on what else is in its batch.",
    "BatchNorm before the head, in training mode.",
    component="swin_transformer",
)
@replaces("network.swin_transformer")
def batch_statistics(original: Any, *args: Any) -> Any:
    logits = original(*args)
    return logits - logits.mean(axis=0, keepdims=True)


@bug(
    "norm-without-eps",
    "The norm has no eps.",
    "NaN as soon as one token is constant: a black border, a padded patch.",
    "V2's F.normalize in float16, whose eps rounds to 0.",
    component="layer_norm",
    only_when="",
)
@replaces("layers.layer_norm")
def norm_without_eps(original: Any, x: Any, params: Any, eps: float = 1e-5) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = x - x.sum(axis=-1, keepdims=True) / x.shape[-1]
        variance = (centred * centred).sum(axis=-1, keepdims=True) / x.shape[-1]
        return centred / np.sqrt(variance) * params["weight"] + params["bias"]


@bug(
    "drop-path-rescaled-twice",
    "Kept samples are scaled again by the layer's own rate.",
    "Branches are stronger in training than in evaluation.",
    component="swin_block",
    only_when="",
)
@replaces("layers.drop_path")
def drop_path_rescaled_twice(original: Any, branch: Any, kept: Any) -> Any:
    return branch if kept is None else original(branch, np.asarray(kept) * 1.25)


@bug(
    "roll-wrong-axes",
    "The roll is over batch and height, not height and width.",
    "Images of a batch are mixed; right for a batch of one without a shift.",
    "Axes of (H, W, C) kept after a batch axis was added.",
    component="cyclic_shift",
    only_when="a shift",
)
def roll_wrong_axes(o: Any) -> Replacements:
    return {
        "windows.cyclic_shift": lambda x, s: np.roll(x, (-pair(s)[0], -pair(s)[1]), axis=(0, 1)),
        "windows.reverse_cyclic_shift": lambda x, s: np.roll(x, pair(s), axis=(0, 1)),
    }


@bug(
    "bias-accumulates",
    "The gathered bias is added into a buffer that is never cleared.",
    LATER,
    "Buffers made at construction and filled by `+=`.",
    component="relative_position_bias",
    only_when="",
)
def bias_accumulates(o: Any) -> Replacements:
    original = o.relative_position.relative_position_bias
    buffers: dict[Any, Any] = {}

    def bias(table: Any, window_size: Any) -> Any:
        key = window_pair(window_size), table.shape[1]
        buffers[key] = 0.5 * buffers.get(key, 0.0) + original(table, window_size)
        return buffers[key]

    return {"relative_position.relative_position_bias": bias}


@bug(
    "results-promoted",
    "Linear layers and norms return a wider type than they were given.",
    "Twice the memory and half the speed; no value is wrong.",
    "A constant or a buffer in float64 that nobody cast.",
    component="layer_norm, mlp, window_attention",
)
@replaces("layers.linear", "layers.layer_norm")
def results_promoted(original: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    y = original(x, *args, **kwargs)
    return y.astype(np.float64 if y.dtype == np.float32 else np.longdouble)
