"""Laws of the relative position index and bias."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import GridCase
from swin_properties.cases.strategies import grids
from swin_properties.laws.law import law

INDEX = ["relative_position_index"]
Windows = grids(shifted=False)


def offsets(case: GridCase) -> tuple[Any, Any]:
    """Returns the offsets query - key of all pairs of a window's tokens: height and width, (N, N) each."""
    h, w = np.divmod(np.arange(prod(case.window)), case.window[1])
    return np.subtract.outer(h, h), np.subtract.outer(w, w)


@law("relative_position_index/formula", INDEX, Windows, "exact", compares_with="definition")
def formula(swin: Asked, case: GridCase) -> Any:
    """The index is (dh + Mh - 1)(2 Mw - 1) + (dw + Mw - 1), where (dh, dw) = query - key."""
    (dh, dw), (mh, mw) = offsets(case), case.window
    index = swin.relative_position_index(case.window)
    return index, (dh + mh - 1) * (2 * mw - 1) + (dw + mw - 1)


@law("relative_position_index/antisymmetry", INDEX, Windows, "exact", compares_with="definition")
def antisymmetry(swin: Asked, case: GridCase) -> Any:
    """The index plus its transpose is (2 Mh - 1)(2 Mw - 1) - 1 everywhere; its diagonal is half of that."""
    index = swin.relative_position_index(case.window)
    last = prod(case.offset_rows) - 1
    return [
        (index + index.T, np.full(index.shape, last)),
        (np.diagonal(index), np.full(len(index), last // 2)),
    ]


@law("relative_position_index/histogram", INDEX, Windows, "exact", compares_with="definition")
def histogram(swin: Asked, case: GridCase) -> Any:
    """Each offset (dh, dw) occurs (Mh - |dh|)(Mw - |dw|) times in the index, and no other number occurs."""
    index = swin.relative_position_index(case.window)
    counts = [m - np.abs(np.arange(1 - m, m)) for m in case.window]
    got = np.bincount(np.maximum(index.ravel(), 0), minlength=prod(case.offset_rows))
    return got, np.outer(*counts).ravel()


@law(
    "relative_position_index/offset-only",
    INDEX,
    Windows,
    "exact",
    compares_with="definition",
    slow=["window 12x12", "window 16x16"],
)
def offset_only(swin: Asked, case: GridCase) -> Any:
    """Two pairs of tokens have the same index exactly when they have the same offset."""
    index = swin.relative_position_index(case.window).ravel()
    dh, dw = (d.ravel() for d in offsets(case))
    same_offset = np.equal.outer(dh, dh) & np.equal.outer(dw, dw)
    return np.equal.outer(index, index), same_offset


@law(
    "relative_position_bias/definition",
    ["relative_position_bias"],
    Windows,
    "exact",
    compares_with="definition",
    full=True,
)
def bias_definition(swin: Asked, case: GridCase) -> Any:
    """bias[head, query, key] is the table's entry for the offset query - key, bitwise."""
    table = case.attention()["relative_position_bias_table"]
    (dh, dw), (mh, mw) = offsets(case), case.window
    by_offset = table.reshape(*case.offset_rows, case.heads)
    expected = np.moveaxis(by_offset[dh + mh - 1, dw + mw - 1], -1, 0)
    return swin.relative_position_bias(table, case.window), expected


def copying_attention(case: GridCase, table: Any) -> Any:
    """Returns parameters with queries of 0, the identity as value and output projection, and a bias table."""
    eye, zero = np.eye(case.channels), np.zeros((case.channels, case.channels))
    return {
        "relative_position_bias_table": table,
        "qkv": {"weight": np.concatenate([zero, zero, eye]), "bias": np.zeros(3 * case.channels)},
        "proj": {"weight": eye, "bias": np.zeros(case.channels)},
    }


@law(
    "shifted_window_attention/bias-as-shift",
    ["shifted_window_attention"],
    grids(whole=True),
    "exact",
    compares_with="definition",
    slow=["window *", "head dimension *", "*6 channels"],
)
def bias_as_shift(swin: Asked, case: GridCase) -> Any:
    """With queries of 0 and one huge entry in the bias table, at offset D, token i becomes token i - D.

    It does so bitwise: the softmax of a logit larger than all others by 2^14 is 1.
    """
    x, (mh, mw), rng = case.tokens(), case.window, case.rng(3)
    dh, dw = int(rng.integers(1 - mh, mh)), int(rng.integers(1 - mw, mw))
    table = np.zeros((*case.offset_rows, case.heads))
    table[dh + mh - 1, dw + mw - 1] = 2.0**14
    params = copying_attention(case, table.reshape(-1, case.heads))
    y = swin.shifted_window_attention(x, params, case.heads, case.window, case.shift)
    pairs = [
        ((h, w), (h - dh, w - dw))
        for h, w in np.ndindex(*case.grid)
        if 0 <= h - dh < case.grid[0]
        and 0 <= w - dw < case.grid[1]
        and case.true_window((h, w))[h - dh, w - dw]
    ]
    got, expected = np.zeros(x.shape), np.zeros(x.shape)
    for query, key in pairs:
        got[:, *query], expected[:, *query] = y[:, *query], x[:, *key]
    return got, expected


@law(
    "shifted_window_attention/bias-constant",
    ["shifted_window_attention"],
    grids(enough=True),
    compares_with="itself",
)
def bias_constant(swin: Asked, case: GridCase) -> Any:
    """Adding a constant to a head's column of the bias table changes nothing."""
    x, params = case.tokens(), case.attention()
    rng = case.rng(3)
    table = rng.integers(-31, 32, params["relative_position_bias_table"].shape) / 16.0
    raised = table + 2.0 * (np.arange(case.heads) + 1)
    low, high = (params | {"relative_position_bias_table": t} for t in (table, raised))
    sizes = case.heads, case.window, case.shift
    return swin.shifted_window_attention(x, high, *sizes), swin.shifted_window_attention(x, low, *sizes)
