"""Planted bugs of V2's bias table: its offsets, and the MLP that turns them into biases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from swin_reference.sizes import window_pair

from swin_properties.bugs.gallery import WRONG_OUTPUTS, Plant, Replacements, bug, replaces

OFFSETS = "position_bias_v2.log_spaced_offsets"
TABLE = "position_bias_v2.continuous_position_bias_table"
PORTS = "Ports of V2, by hand."


def as_offsets(formula: Callable[[Any, Any], Any]) -> Plant:
    """Plants formula(d, m) as the offsets: d (offsets, 2) whole, m (2,) the window they are divided by."""

    def plant(_: Any) -> Replacements:
        def offsets(window_size: Any, pretrained_window_size: Any = None, *_: Any) -> Any:
            window = window_pair(window_size)
            trained = window if pretrained_window_size is None else window_pair(pretrained_window_size)
            axes = np.meshgrid(*(np.arange(1.0 - m, m) for m in window), indexing="ij")
            return formula(np.stack(axes, axis=-1).reshape(-1, 2), np.array(trained, float))

        return {OFFSETS: offsets}

    return plant


def share(d: Any, m: Any) -> Any:
    """Returns the offsets divided by the window's sides less 1."""
    return d / np.maximum(m - 1, 1)


def spread(t: Any) -> Any:
    """Returns offsets on a logarithmic scale, as the oracle does."""
    return np.sign(t) * np.log2(1.0 + 8.0 * np.abs(t)) / 3.0


@bug(
    "v2-offset-divided-early",
    "The offset is d / M - 1, not d / (M - 1).",
    WRONG_OUTPUTS,
    "A public port of V2 that forgot the brackets.",
    component="continuous_position_bias_table",
)
@as_offsets
def offset_divided_early(d: Any, m: Any) -> Any:
    return spread(d / m - 1)


@bug(
    "v2-offset-by-window",
    "The offset is divided by M, not by M - 1.",
    WRONG_OUTPUTS,
    component="continuous_position_bias_table",
    when="a window of more than one token",
)
@as_offsets
def offset_by_window(d: Any, m: Any) -> Any:
    return spread(d / m)


@bug(
    "v2-offset-integer",
    "The offsets are divided as integers.",
    "Only the corners of the window have an offset that is not 0.",
    "A public port of V2: `//`, or a table of an integer type.",
    component="continuous_position_bias_table",
    only_when="a window of more than one token",
)
@as_offsets
def offset_integer(d: Any, m: Any) -> Any:
    return spread(np.trunc(share(d, m)))


@bug(
    "v2-offset-not-divided",
    "The offsets are not divided by the window.",
    WRONG_OUTPUTS,
    "timm's `swin_transformer_v2_cr`, which is another network.",
    component="continuous_position_bias_table",
    only_when="a window of more than one token",
)
@as_offsets
def offset_not_divided(d: Any, m: Any) -> Any:
    return spread(d)


@bug(
    "v2-offset-natural-log",
    "The logarithm is the natural one, divided by 3.",
    WRONG_OUTPUTS,
    "Ports of the paper's equation 4, which does not name the base.",
    component="continuous_position_bias_table",
    when="a window of more than one token",
)
@as_offsets
def offset_natural_log(d: Any, m: Any) -> Any:
    return spread(share(d, m)) * np.log(2.0)


@bug(
    "v2-offset-log-not-scaled",
    "The logarithm is not divided by log2(8).",
    WRONG_OUTPUTS,
    component="continuous_position_bias_table",
    when="a window of more than one token",
)
@as_offsets
def offset_log_not_scaled(d: Any, m: Any) -> Any:
    return 3.0 * spread(share(d, m))


@bug(
    "v2-offset-eight-missing",
    "The offsets are not multiplied by 8 in the logarithm.",
    WRONG_OUTPUTS,
    component="continuous_position_bias_table",
    when="a window of more than one token",
)
@as_offsets
def offset_eight_missing(d: Any, m: Any) -> Any:
    return spread(share(d, m) / 8.0)


@bug(
    "v2-offset-linear",
    "The offsets are on a linear scale, without a logarithm.",
    WRONG_OUTPUTS,
    component="continuous_position_bias_table",
    when="a window of more than one token",
)
@as_offsets
def offset_linear(d: Any, m: Any) -> Any:
    return share(d, m)


@bug(
    "v2-offset-sign-lost",
    "The sign of the offset is lost.",
    "Left and right have the same bias.",
    component="continuous_position_bias_table",
    when="a window of more than one token",
)
@as_offsets
def offset_sign_lost(d: Any, m: Any) -> Any:
    return np.abs(spread(share(d, m)))


@bug(
    "v2-offset-negated",
    "The offset is key - query, not query - key.",
    WRONG_OUTPUTS,
    component="continuous_position_bias_table",
    when="a window of more than one token",
)
@as_offsets
def offset_negated(d: Any, m: Any) -> Any:
    return -spread(share(d, m))


@bug(
    "v2-offset-xy",
    "Width comes before height in the offsets.",
    "The first column of the MLP's weights is that of the height: outputs are wrong.",
    "Ports that build the table by an (x, y) meshgrid.",
    component="continuous_position_bias_table",
    when="a window of more than one token",
)
@as_offsets
def offset_xy(d: Any, m: Any) -> Any:
    return spread(share(d, m))[:, ::-1]


@bug(
    "v2-offset-one-side",
    "Both axes are divided by the height of the window.",
    "Right for square windows.",
    component="continuous_position_bias_table",
    when="a window that is not square; a window of several columns",
)
@as_offsets
def offset_one_side(d: Any, m: Any) -> Any:
    return spread(share(d, m[0]))


@bug(
    "v2-window-one-nan",
    "A window of one token divides its offset by 0.",
    "Every output is NaN where a stage's window shrinks to one token.",
    "The official code.",
    component="continuous_position_bias_table",
    only_when="a window with an odd side",
)
@as_offsets
def window_one_nan(d: Any, m: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return spread(d / (m - 1))


@bug(
    "v2-pretrained-ignored",
    "The window in which the weights were trained is ignored.",
    "Right for models that keep their window; fine-tuned ones are wrong.",
    "torchvision, which has no such argument.",
    component="continuous_position_bias_table",
    only_when="a window of more than one token",
)
@replaces(OFFSETS)
def pretrained_ignored(original: Any, window_size: Any, pretrained_window_size: Any = None, *_: Any) -> Any:
    return original(window_size)


@bug(
    "v2-pretrained-not-less-one",
    "Offsets are divided by the pretrained window, not by it less 1.",
    "Right for models that keep their window.",
    component="continuous_position_bias_table",
    only_when="a window of more than one token",
)
@replaces(OFFSETS)
def pretrained_not_less_one(
    original: Any, window_size: Any, pretrained_window_size: Any = None, *_: Any
) -> Any:
    if pretrained_window_size is None:
        return original(window_size)
    mh, mw = window_pair(pretrained_window_size)
    return original(window_size, (mh + 1, mw + 1))


def as_table(formula: Callable[..., Any]) -> Plant:
    """Plants formula(offsets, first, last, linear) as the table: the two layers and the oracle's linear."""

    def plant(o: Any) -> Replacements:
        position = o.position_bias_v2

        def table(params: Any, window_size: Any, pretrained_window_size: Any = None, *_: Any) -> Any:
            offsets = position.log_spaced_offsets(window_size, pretrained_window_size)
            offsets = offsets.astype(params["0"]["weight"].real.dtype)
            return formula(offsets, params["0"], params["2"], o.layers.linear)

        return {TABLE: table}

    return plant


def relu(x: Any) -> Any:
    """Returns the positive part."""
    return np.maximum(x, 0.0)


def squash(x: Any) -> Any:
    """Returns 16 sigmoid(x)."""
    return 16.0 / (1.0 + np.exp(-x))


@bug(
    "v2-sigmoid-missing",
    "The bias is the MLP's output, without 16 sigmoid.",
    WRONG_OUTPUTS,
    PORTS,
    component="continuous_position_bias_table",
)
@as_table
def sigmoid_missing(offsets: Any, first: Any, last: Any, linear: Any) -> Any:
    return linear(relu(linear(offsets, **first)), **last)


@bug(
    "v2-sixteen-missing",
    "The sigmoid is not multiplied by 16.",
    WRONG_OUTPUTS,
    component="continuous_position_bias_table",
)
@as_table
def sixteen_missing(offsets: Any, first: Any, last: Any, linear: Any) -> Any:
    return squash(linear(relu(linear(offsets, **first)), **last)) / 16.0


@bug(
    "v2-relu-missing",
    "The bias MLP has no ReLU.",
    "The bias is a linear function of the offset.",
    component="continuous_position_bias_table",
)
@as_table
def relu_missing(offsets: Any, first: Any, last: Any, linear: Any) -> Any:
    return squash(linear(linear(offsets, **first), **last))


@bug(
    "v2-bias-mlp-gelu",
    "The bias MLP has GELU, as the block's MLP has.",
    WRONG_OUTPUTS,
    component="continuous_position_bias_table",
)
def bias_mlp_gelu(o: Any) -> Replacements:
    def formula(offsets: Any, first: Any, last: Any, linear: Any) -> Any:
        return squash(linear(o.layers.gelu(linear(offsets, **first)), **last))

    return as_table(formula)(o)


@bug(
    "v2-bias-mlp-no-bias",
    "The first layer of the bias MLP has no bias.",
    WRONG_OUTPUTS,
    component="continuous_position_bias_table",
)
@as_table
def bias_mlp_no_bias(offsets: Any, first: Any, last: Any, linear: Any) -> Any:
    return squash(linear(relu(linear(offsets, first["weight"])), **last))


@bug(
    "v2-bias-heads-reversed",
    "The heads of the bias are in reverse order.",
    "Right for one head.",
    component="continuous_position_bias_table",
)
@replaces(TABLE)
def bias_heads_reversed(original: Any, *args: Any) -> Any:
    return original(*args)[:, ::-1]
