"""Laws of V2's bias table, which a small network computes from the offsets."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from swin_reference import parameters_v2

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case_v2 import GridV2Case
from swin_properties.cases.strategies import grids
from swin_properties.laws.law import Derivative, law
from swin_properties.laws.versions import draw_in_v2

TABLE = ["continuous_position_bias_table"]
PRETRAINED = ["continuous_position_bias_table.pretrained_window_size"]
Windows = draw_in_v2(grids(shifted=False, largest_window=9))


def enough_heads(case: GridV2Case) -> Any:
    """Returns the MLP of a case for so many heads that its table has as many entries as a budget needs."""
    heads = -(-1000 // prod(case.offset_rows))
    return case.hot({"cpb_mlp": parameters_v2.position_bias_shapes(heads)})["cpb_mlp"]


def other_window(case: GridV2Case) -> tuple[int, int]:
    """Returns a larger window, in which weights may have been trained: of equal sides if the case's is so."""
    more = case.rng(3).integers(1, 7, 2)
    if case.window[0] == case.window[1]:  # code may take only such windows, of any size
        more[1] = more[0]
    return case.window[0] + int(more[0]), case.window[1] + int(more[1])


@law("continuous_position_bias_table/oracle", TABLE, Windows, compares_with="oracle")
def table_oracle(swin: Asked, case: GridV2Case) -> Any:
    """V2's bias table is the oracle's: 16 sigmoid(MLP(T)), T the offsets on a logarithmic scale."""
    args = enough_heads(case), case.window
    return swin.continuous_position_bias_table(*args), swin.expected.continuous_position_bias_table(*args)


@law("continuous_position_bias_table/pretrained-window", PRETRAINED, Windows, compares_with="oracle")
def table_pretrained(swin: Asked, case: GridV2Case) -> Any:
    """Under weights from another window, the offsets are divided by the sides of that window less 1."""
    args = enough_heads(case), case.window, other_window(case)
    return swin.continuous_position_bias_table(*args), swin.expected.continuous_position_bias_table(*args)


@law("continuous_position_bias_table/bounds", TABLE, Windows, "exact", compares_with="definition")
def table_bounds(swin: Asked, case: GridV2Case) -> Any:
    """Every bias is between 0 and 16."""
    table = swin.continuous_position_bias_table(enough_heads(case), case.window)
    return table, np.clip(table, 0.0, 16.0)


@law("continuous_position_bias_table/offsets", TABLE, Windows, compares_with="definition")
def table_offsets(swin: Asked, case: GridV2Case) -> Any:
    """T = sign(t) log2(1 + 8 |t|) / 3, where t is the offset divided by M - 1, along height and width.

    An MLP that hands T on shows it: ReLU(T) - ReLU(-T) is T.  Half of the heads read the height.
    """
    heads = 2 * -(-500 // prod(case.offset_rows))
    first, last = np.zeros((512, 2)), np.zeros((heads, 512))
    first[:4] = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    slopes = np.round(8 * np.linspace(-4, 4, heads // 2)) / 8
    last[: heads // 2, 0], last[: heads // 2, 1] = slopes, -slopes
    last[heads // 2 :, 2], last[heads // 2 :, 3] = slopes, -slopes
    mlp = {"0": {"weight": first, "bias": np.zeros(512)}, "2": {"weight": last}}
    t = np.stack(
        np.meshgrid(*(np.arange(1 - m, m) / max(m - 1, 1) for m in case.window), indexing="ij"), -1
    ).reshape(-1, 2)
    scaled = np.sign(t) * np.log1p(8 * np.abs(t)) / np.log(8)
    seen = np.concatenate([scaled[:, :1] * slopes, scaled[:, 1:] * slopes], axis=1)
    return swin.continuous_position_bias_table(mlp, case.window), 16.0 / (1.0 + np.exp(-seen))


@law("continuous_position_bias_table/odd", TABLE, Windows, compares_with="itself")
def table_odd(swin: Asked, case: GridV2Case) -> Any:
    """T is odd: under the first layer's weights negated, the biases of an offset and its opposite change
    places.
    """
    mlp = enough_heads(case)
    negated = mlp | {"0": mlp["0"] | {"weight": -mlp["0"]["weight"]}}
    table = swin.continuous_position_bias_table(mlp, case.window)
    return swin.continuous_position_bias_table(negated, case.window), table[::-1]


@law("continuous_position_bias_table/own-place", TABLE, Windows, compares_with="itself")
def table_own_place(swin: Asked, case: GridV2Case) -> Any:
    """T is 0 for a token and itself: the first layer's weights do not change the bias there."""
    mlp = enough_heads(replace(case, window=(1, 1)))  # only one row is compared: many heads
    without = mlp | {"0": mlp["0"] | {"weight": 0.0 * mlp["0"]["weight"]}}
    centre = prod(case.offset_rows) // 2
    got, expected = (swin.continuous_position_bias_table(one, case.window) for one in (mlp, without))
    return got[centre], expected[centre]


@law("continuous_position_bias_table/window-free", PRETRAINED, Windows, compares_with="itself")
def table_window_free(swin: Asked, case: GridV2Case) -> Any:
    """Under weights from one window, an offset has the same bias in windows of all sizes."""
    mlp, larger = enough_heads(case), other_window(case)
    small = swin.continuous_position_bias_table(mlp, case.window, larger)
    whole = swin.continuous_position_bias_table(mlp, larger, larger)
    (mh, mw), (height, width) = case.window, larger
    inside = whole.reshape(2 * height - 1, 2 * width - 1, -1)
    inside = inside[height - mh : height + mh - 1, width - mw : width + mw - 1]
    return small, inside.reshape(small.shape)


@law(
    "continuous_position_bias_table/gradient",
    ["vjp", *TABLE],
    draw_in_v2(grids(shifted=False, largest_window=4)),
    "gradient",
    compares_with="oracle",
)
def table_gradient(_: Any, case: GridV2Case) -> Any:
    """The gradient of every weight of the bias MLP is the oracle's."""
    return Derivative("continuous_position_bias_table", (enough_heads(case), case.window))
