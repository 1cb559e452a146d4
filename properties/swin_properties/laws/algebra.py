"""Laws of attention's algebra: a change of the weights changes nothing, or something known."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import GridCase
from swin_properties.cases.strategies import grids
from swin_properties.laws.law import law

SWA = ["shifted_window_attention"]
Plain = grids(enough=True)


def attend(swin: Asked, case: GridCase, x: Any, params: Any) -> Any:
    """Returns (S)W-MSA at the case's sizes."""
    return swin.shifted_window_attention(x, params, case.heads, case.window, case.shift)


def coarse(weights: Any) -> Any:
    """Returns weights rounded to k/16, |k| <= 128, never 0: sums of two and halves are always exact.

    >>> coarse(np.array([0.01, 1.1])) * 16
    array([ 1., 18.])
    """
    rounded = np.round(weights * 16) / 16
    return np.where(rounded == 0, 1 / 16, rounded)


def projections(case: GridCase, params: Any) -> tuple[Any, Any]:
    """Returns coarse weights (3, heads, d, C) and biases (3, heads, d) of q, k and v; no bias is one of 0."""
    shape = 3, case.heads, case.head_dim
    bias = params["qkv"].get("bias")
    weight = coarse(params["qkv"]["weight"]).reshape(*shape, case.channels)
    return weight, np.zeros(shape) if bias is None else coarse(bias).reshape(shape)


def projected(params: Any, weight: Any, bias: Any) -> Any:
    """Returns the parameters with these weights and biases of q, k and v."""
    return params | {"qkv": {"weight": weight.reshape(bias.size, -1), "bias": bias.ravel()}}


@law("shifted_window_attention/head-order", SWA, grids(enough=True, heads=2), compares_with="itself")
def head_order(swin: Asked, case: GridCase) -> Any:
    """Permuting the heads with their rows of qkv and their columns of the table and of proj changes
    nothing.
    """
    x, params = case.tokens(), case.attention()
    order = np.roll(case.rng(3).permutation(case.heads), 1)
    while np.array_equal(order, np.arange(case.heads)):
        order = np.roll(order, 1)
    weight, bias = projections(case, params)
    columns = params["proj"]["weight"].reshape(case.channels, case.heads, case.head_dim)[:, order]
    permuted = projected(params, weight[:, order], bias[:, order]) | {
        "relative_position_bias_table": params["relative_position_bias_table"][:, order],
        "proj": params["proj"] | {"weight": columns.reshape(case.channels, case.channels)},
    }
    return attend(swin, case, x, permuted), attend(swin, case, x, projected(params, weight, bias))


@law("shifted_window_attention/gauge", SWA, Plain, compares_with="itself")
def gauge(swin: Asked, case: GridCase) -> Any:
    """Multiplying queries by A and keys by A^-T, for an invertible A of each head, changes nothing.

    A shears two components and scales each by a power of two, so that all weights stay exact.
    """
    x, params, rng = case.tokens(), case.attention(), case.rng(3)
    weight, bias = projections(case, params)
    turned, turned_bias = weight.copy(), bias.copy()
    if case.head_dim > 1:
        i, j = rng.choice(case.head_dim, 2, replace=False)
        for rows in (turned, turned_bias):
            rows[0, :, i] += rows[0, :, j]
            rows[1, :, j] -= rows[1, :, i]
    scale = 2.0 ** rng.integers(-1, 2, bias.shape[1:]) * rng.choice([-1.0, 1.0], bias.shape[1:])
    for part, factor in ((0, scale), (1, 1.0 / scale)):
        turned[part] *= factor[..., None]
        turned_bias[part] *= factor
    plain = attend(swin, case, x, projected(params, weight, bias))
    return attend(swin, case, x, projected(params, turned, turned_bias)), plain


@law("shifted_window_attention/key-bias", SWA, Plain, compares_with="itself")
def key_bias(swin: Asked, case: GridCase) -> Any:
    """The bias of the keys changes nothing: it adds the same to all logits of a query."""
    x, params = case.tokens(), case.attention()
    weight, bias = projections(case, params)
    without, strong = bias.copy(), bias.copy()
    without[1] = 0.0
    strong[1] = case.rng(3).integers(-32, 33, bias[1].shape) / 8.0
    return tuple(attend(swin, case, x, projected(params, weight, keys)) for keys in (strong, without))


@law("shifted_window_attention/value-bias", SWA, Plain, compares_with="itself")
def value_bias(swin: Asked, case: GridCase) -> Any:
    """A bias c of the values adds W_o c to every output: the weights of a query sum to 1."""
    x, params = case.tokens(), case.attention()
    weight, bias = projections(case, params)
    without, raised = bias.copy(), bias.copy()
    without[2] = 0.0
    raised[2] = case.rng(3).integers(-32, 33, bias[2].shape) / 8.0
    added = params["proj"]["weight"] @ raised[2].ravel()
    got = attend(swin, case, x, projected(params, weight, raised))
    return got, attend(swin, case, x, projected(params, weight, without)) + added


@law(
    "shifted_window_attention/hull",
    SWA,
    grids(("generic", "peaked"), whole=True, enough=True),
    compares_with="itself",
)
def hull(swin: Asked, case: GridCase) -> Any:
    """With the identity as value and output projection, outputs lie between the extremes of their true
    window.

    All values are in [1, 2), so that a sum of weights below 1 shows as well as one above 1.
    """
    x, params = 1.0 + np.floor(np.abs(case.tokens()) * 64) / 128, case.attention()
    weight, bias = params["qkv"]["weight"].copy(), np.zeros(3 * case.channels)
    weight[2 * case.channels :] = np.eye(case.channels)
    identity = {"weight": np.eye(case.channels), "bias": np.zeros(case.channels)}
    params = params | {"qkv": {"weight": weight, "bias": bias}, "proj": identity}
    y = attend(swin, case, x, params)
    return y, clip_to_windows(case, x, y)


def clip_to_windows(case: GridCase, x: Any, y: Any) -> Any:
    """Returns ``y``, each channel of a token between the extremes of ``x`` in its true window."""
    flat = x.reshape(case.batch, -1, 1, case.channels).swapaxes(1, 2)
    together = case.together()[:, :, None]
    least = np.where(together, flat, np.inf).min(axis=2).reshape(x.shape)
    largest = np.where(together, flat, -np.inf).max(axis=2).reshape(x.shape)
    return np.clip(y, least, largest)


@law("shifted_window_attention/scale", SWA, Plain, compares_with="itself")
def scale(swin: Asked, case: GridCase) -> Any:
    """The scale is head_dim^-1/2: heads of zeros change nothing, nor do zeros that make heads 4 times as
    wide, once the queries are doubled.

    The added heads and components have weights 0, and their input channels are 0.
    """
    x, params = case.tokens(), case.attention()
    weight, bias = projections(case, params)
    plain = attend(swin, case, x, projected(params, weight, bias))
    pairs = []
    for more_heads, wider in ((1, 1), (0, 4)):
        heads, head_dim = case.heads + more_heads, case.head_dim * wider
        channels = heads * head_dim
        extra = 0, channels - case.channels
        grown = (0, 0), (0, more_heads), (0, head_dim - case.head_dim)
        weights, biases = np.pad(weight, (*grown, extra)), np.pad(bias, grown)
        weights[0] *= wider**0.5
        biases[0] *= wider**0.5
        columns = params["proj"]["weight"].reshape(case.channels, case.heads, case.head_dim)
        columns = np.pad(columns, (extra, *grown[1:])).reshape(channels, channels)
        grown_params = projected(params, weights, biases) | {
            "proj": {"weight": columns, "bias": np.pad(params["proj"]["bias"], extra)},
            "relative_position_bias_table": np.pad(
                params["relative_position_bias_table"], ((0, 0), (0, more_heads))
            ),
        }
        tokens = np.pad(x, ((0, 0), (0, 0), (0, 0), extra))
        got = swin.shifted_window_attention(tokens, grown_params, heads, case.window, case.shift)
        pairs.append((got[..., : case.channels], plain))
    return pairs


@law("shifted_window_attention/extreme-logits", SWA, Plain, compares_with="definition", slow=["grid *"])
def extreme_logits(swin: Asked, case: GridCase) -> Any:
    """With logits 2^13 apart a token is the mean of its keys of largest logit; adding to all changes
    nothing.
    """
    x, params = case.tokens(), case.attention()
    weight, bias = projections(case, params)
    weight[0] = bias[0] = 0.0
    shape = *case.offset_rows, case.heads
    table = 2.0**13 * case.rng(3).integers(-1, 2, shape)
    height, width = case.padded
    padded = np.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0)))
    values = (
        padded.reshape(case.batch, height * width, case.channels) @ weight[2].reshape(-1, case.channels).T
    )
    values = (values + bias[2].ravel()).reshape(case.batch, -1, case.heads, case.head_dim)
    h, w = np.divmod(np.arange(height * width), width)
    dh, dw = (np.subtract.outer(axis, axis) for axis in (h, w))
    rows, columns = (
        np.clip(d + m - 1, 0, 2 * m - 2) for d, m in zip((dh, dw), case.window, strict=True)
    )  # clipped only where the two tokens share no window
    logits = np.where(case.together()[..., None], table[rows, columns], -np.inf)
    chosen = logits == logits.max(axis=1, keepdims=True)
    weights = np.moveaxis(chosen / chosen.sum(axis=1, keepdims=True), -1, 0)
    means = (weights @ values.swapaxes(1, 2)).swapaxes(1, 2).reshape(*padded.shape)
    expected = means[:, : case.grid[0], : case.grid[1]] @ params["proj"]["weight"].T + params["proj"]["bias"]
    pairs = []
    for constant in (0.0, 2.0**13):
        raised = (table + constant).reshape(prod(case.offset_rows), case.heads)
        liked = projected(params, weight, bias) | {"relative_position_bias_table": raised}
        pairs.append((attend(swin, case, x, liked), expected))
    return pairs
