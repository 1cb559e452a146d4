"""Laws of symmetry: they compare an implementation with itself and need no oracle."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import GridCase
from swin_properties.cases.strategies import grids
from swin_properties.laws.law import law

SWA = ["shifted_window_attention"]
Whole = grids(whole=True, enough=True)


def retabled(case: GridCase, params: Any, change: Any) -> Any:
    """Returns the parameters with the bias table changed, in the shape (2 Mh - 1, 2 Mw - 1, heads)."""
    table = params["relative_position_bias_table"].reshape(*case.offset_rows, case.heads)
    return params | {"relative_position_bias_table": change(table).reshape(-1, case.heads)}


def flip_bias(case: GridCase, params: Any, axis: int) -> Any:
    """Returns the parameters with the position bias of the opposite offset along an axis."""
    if "cpb_mlp" in params:
        sign = np.where(np.arange(2) == axis, -1.0, 1.0)
        return change_first_layer(params, lambda weight: weight * sign)
    return retabled(case, params, lambda table: np.flip(table, axis))


def transpose_bias(case: GridCase, params: Any) -> Any:
    """Returns the parameters with height and width swapped in the position bias."""
    if "cpb_mlp" in params:
        return change_first_layer(params, lambda weight: weight[:, ::-1])
    return retabled(case, params, lambda table: table.swapaxes(0, 1))


def without_bias(case: GridCase, params: Any) -> Any:
    """Returns the parameters with a position bias that is the same for all offsets."""
    if "cpb_mlp" in params:
        mlp = params["cpb_mlp"]
        return params | {"cpb_mlp": mlp | {"2": {"weight": 0.0 * mlp["2"]["weight"]}}}
    return retabled(case, params, np.zeros_like)


def change_first_layer(params: Any, change: Any) -> Any:
    """Returns V2's parameters with the weight (width, 2) changed that the offsets meet first."""
    mlp = params["cpb_mlp"]
    weight = np.ascontiguousarray(change(mlp["0"]["weight"]))
    return params | {"cpb_mlp": mlp | {"0": mlp["0"] | {"weight": weight}}}


@law("shifted_window_attention/flip", SWA, Whole, compares_with="itself", in_v2=True)
def flip(swin: Asked, case: GridCase) -> Any:
    """Flipping the image flips the output if the shift becomes (M - s) mod M and the bias is flipped too."""
    x, params = case.tokens(), case.attention()
    y = swin.shifted_window_attention(x, params, case.heads, case.window, case.shift)
    pairs = []
    for axis in (0, 1):
        flipped = flip_bias(case, params, axis)
        shift = list(case.shift)
        shift[axis] = -shift[axis] % case.window[axis]
        turned = np.ascontiguousarray(np.flip(x, axis + 1))
        got = swin.shifted_window_attention(turned, flipped, case.heads, case.window, (shift[0], shift[1]))
        pairs.append((np.flip(got, axis + 1), y))
    return pairs


@law("shifted_window_attention/transpose", SWA, grids(enough=True), compares_with="itself", in_v2=True)
def transpose(swin: Asked, case: GridCase) -> Any:
    """Swapping height and width in the grid, window, shift and bias table swaps them in the output."""
    x, params = case.tokens(), case.attention()
    swapped = transpose_bias(case, params)
    got = swin.shifted_window_attention(
        np.ascontiguousarray(x.swapaxes(1, 2)), swapped, case.heads, case.window[::-1], case.shift[::-1]
    )
    y = swin.shifted_window_attention(x, params, case.heads, case.window, case.shift)
    return got.swapaxes(1, 2), y


@law("shifted_window_attention/batch-order", SWA, grids(enough=True), compares_with="itself", in_v2=True)
def batch_order(swin: Asked, case: GridCase) -> Any:
    """Permuting the images permutes the outputs, and an image's output is the same in a smaller batch."""
    x, params = case.tokens(batch=max(2, case.batch)), case.attention()
    sizes = params, case.heads, case.window, case.shift
    order = case.rng(3).permutation(len(x))
    y = swin.shifted_window_attention(x, *sizes)
    halves = [swin.shifted_window_attention(half, *sizes) for half in np.array_split(x, 2)]
    return [(swin.shifted_window_attention(x[order], *sizes), y[order]), (np.concatenate(halves), y)]


@law(
    "shifted_window_attention/roll",
    SWA,
    grids(whole=True, shifted=False, enough=True),
    compares_with="itself",
    in_v2=True,
)
def roll(swin: Asked, case: GridCase) -> Any:
    """Without a shift, rolling the grid by whole windows rolls the output."""
    x, sizes = case.tokens(), (case.attention(), case.heads, case.window, case.shift)
    rolled = swin.shifted_window_attention(np.roll(x, case.window, (1, 2)), *sizes)
    return rolled, np.roll(swin.shifted_window_attention(x, *sizes), case.window, (1, 2))


@law(
    "shifted_window_attention/crop",
    SWA,
    grids(shifted=False, enough=True),
    compares_with="itself",
    in_v2=True,
)
def crop(swin: Asked, case: GridCase) -> Any:
    """Without a shift, the output of the first windows is the same when the rest of the grid is cut off."""
    rng, sizes = case.rng(3), (case.attention(), case.heads, case.window, case.shift)
    height, width = (
        min(side, m * int(rng.integers(1, max(2, -(-side // m)))))
        for side, m in zip(case.grid, case.window, strict=True)
    )
    x = case.tokens(batch=case.batch * -(-prod(case.grid) // (height * width)))
    y = swin.shifted_window_attention(x, *sizes)[:, :height, :width]
    return swin.shifted_window_attention(np.ascontiguousarray(x[:, :height, :width]), *sizes), y


@law("shifted_window_attention/padding", SWA, grids(enough=True), compares_with="itself", in_v2=True)
def padding(swin: Asked, case: GridCase) -> Any:
    """A grid is padded before the shift, and padding is attended to: padding it by hand changes nothing."""
    x, (height, width) = case.tokens(), case.grid
    sizes = case.attention(), case.heads, case.window, case.shift
    by_hand = np.pad(x, ((0, 0), *((0, p - g) for p, g in zip(case.padded, case.grid, strict=True)), (0, 0)))
    y = swin.shifted_window_attention(by_hand, *sizes)[:, :height, :width]
    return swin.shifted_window_attention(x, *sizes), y


@law(
    "window_attention/token-order",
    ["window_attention"],
    grids(shifted=False, enough=True),
    compares_with="itself",
    in_v2=True,
)
def token_order(swin: Asked, case: GridCase) -> Any:
    """Without a position bias, permuting the tokens of a window permutes its output."""
    x, params = case.windows(), case.attention()
    params = without_bias(case, params)
    order = case.rng(3).permutation(x.shape[1])
    got = swin.window_attention(np.ascontiguousarray(x[:, order]), params, case.heads, case.window)
    return got, swin.window_attention(x, params, case.heads, case.window)[:, order]


@law(
    "window_attention/flip",
    ["window_attention"],
    grids(shifted=False, enough=True),
    compares_with="itself",
    in_v2=True,
)
def window_flip(swin: Asked, case: GridCase) -> Any:
    """Flipping every window along an axis flips its output if the bias table is flipped too."""
    x, params = case.windows(), case.attention()
    y = swin.window_attention(x, params, case.heads, case.window)
    tokens = np.arange(prod(case.window)).reshape(case.window)
    pairs = []
    for axis in (0, 1):
        order = np.flip(tokens, axis).ravel()
        flipped = flip_bias(case, params, axis)
        got = swin.window_attention(np.ascontiguousarray(x[:, order]), flipped, case.heads, case.window)
        pairs.append((got, y[:, order]))
    return pairs
