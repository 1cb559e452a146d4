"""Planted bugs of the relative position index and bias."""

from __future__ import annotations

from typing import Any

import numpy as np
from swin_reference.sizes import window_pair

from swin_properties.bugs.gallery import Replacements, bug, replaces

INDEX, BIAS = "relative_position.relative_position_index", "relative_position.relative_position_bias"
TABLE = "The bias table of a checkpoint is read in another order: it loads, and outputs are wrong."


def offsets(window_size: Any) -> tuple[Any, Any]:
    """Returns the offsets query - key along height and width, (N, N) each."""
    h, w = (axis.ravel() for axis in np.indices(window_pair(window_size)))
    return np.subtract.outer(h, h), np.subtract.outer(w, w)


@bug(
    "index-transposed",
    "The offset is key - query, not query - key.",
    TABLE,
    "Ports that build d = k - q.",
    component="relative_position_index",
    when="a window of more than one token",
)
@replaces(INDEX)
def index_transposed(original: Any, window_size: Any) -> Any:
    return original(window_size).T


@bug(
    "index-xy",
    "Height and width are exchanged in the index: an (x, y) meshgrid.",
    TABLE,
    "medicai 0.0.4.",
    component="relative_position_index",
    when="a window of several rows and columns",
)
@replaces(INDEX)
def index_xy(original: Any, window_size: Any) -> Any:
    (mh, mw), (dh, dw) = window_pair(window_size), offsets(window_size)
    return (dw + mw - 1) * (2 * mh - 1) + (dh + mh - 1)


@bug(
    "index-stride",
    "The row stride is 2 Mh - 1, not 2 Mw - 1.",
    "Right for square windows; for others, different offsets share an entry of the table.",
    component="relative_position_index",
    when="a window that is not square; a window of several rows",
)
@replaces(INDEX)
def index_stride(original: Any, window_size: Any) -> Any:
    (mh, mw), (dh, dw) = window_pair(window_size), offsets(window_size)
    last = (2 * mh - 1) * (2 * mw - 1) - 1
    return np.minimum((dh + mh - 1) * (2 * mh - 1) + (dw + mw - 1), last)


@bug(
    "index-no-offset",
    "The column offset does not start at 0.",
    "Negative indices wrap around to the row above: no error, wrong entries.",
    component="relative_position_index",
    when="a window of several columns",
)
@replaces(INDEX)
def index_no_offset(original: Any, window_size: Any) -> Any:
    (mh, mw), (dh, dw) = window_pair(window_size), offsets(window_size)
    return ((dh + mh - 1) * (2 * mw - 1) + dw) % ((2 * mh - 1) * (2 * mw - 1))


@bug(
    "index-brackets",
    "The row offset is multiplied by 2 Mw, and 1 is subtracted from that: `* 2 * M - 1` for `* (2 * M - 1)`.",
    "Different offsets share an entry of the table; hidden where a checkpoint's buffer overwrites the index.",
    "jaxonmodels 0.5.5 and four more files.",
    component="relative_position_index",
)
@replaces(INDEX)
def index_brackets(original: Any, window_size: Any) -> Any:
    (mh, mw), (dh, dw) = window_pair(window_size), offsets(window_size)
    last = (2 * mh - 1) * (2 * mw - 1) - 1  # JAX reads the last entry for every index beyond it
    return np.minimum((dh + mh - 1) * 2 * mw - 1 + (dw + mw - 1), last)


@bug(
    "index-by-height",
    "The tokens of a window are numbered by rows of Mh, not of Mw: a meshgrid whose axes are exchanged.",
    "Right for square windows; for others, offsets are those of other tokens.",
    "keras-hub 0.32 and keras-cv-attention-models.",
    component="relative_position_index",
    when="a window that is not square; a window of several columns",
)
@replaces(INDEX)
def index_by_height(original: Any, window_size: Any) -> Any:
    mh, mw = window_pair(window_size)
    h, w = np.divmod(np.arange(mh * mw), mh)
    dh, dw = np.subtract.outer(h, h), np.subtract.outer(w, w)
    last = (2 * mh - 1) * (2 * mw - 1) - 1
    return np.clip((dh + mh - 1) * (2 * mw - 1) + (dw + mw - 1), 0, last)


@bug(
    "index-sum",
    "The index is the sum of both offsets.",
    "Offsets of one sum share an entry; most of the table is never read.",
    "eqxvision 0.2.8.",
    component="relative_position_index",
    when="a window of several rows and columns",
)
@replaces(INDEX)
def index_sum(original: Any, window_size: Any) -> Any:
    (mh, mw), (dh, dw) = window_pair(window_size), offsets(window_size)
    return (dh + mh - 1) + (dw + mw - 1)


@bug(
    "bias-dropped",
    "There is no relative position bias.",
    "About one point of ImageNet accuracy (Liu et al. 2021, table 4).",
    "NATTEN.",
    component="relative_position_bias",
)
@replaces(BIAS)
def bias_dropped(original: Any, table: Any, window_size: Any) -> Any:
    return np.zeros_like(original(table, window_size))


@bug("bias-negated", "The bias is subtracted.", TABLE, component="relative_position_bias")
@replaces(BIAS)
def bias_negated(original: Any, table: Any, window_size: Any) -> Any:
    return -original(table, window_size)


@bug(
    "bias-transposed",
    "The bias is added transposed: key by query.",
    TABLE,
    component="relative_position_bias",
    when="a window of more than one token",
)
@replaces(BIAS)
def bias_transposed(original: Any, table: Any, window_size: Any) -> Any:
    return original(table, window_size).swapaxes(1, 2)


@bug(
    "bias-not-permuted",
    "The gathered table is reshaped to (heads, N, N) where it must be permuted.",
    "Heads and positions are mixed; right for one head.",
    component="relative_position_bias",
    when="several heads; a window of more than one token",
)
def bias_not_permuted(o: Any) -> Replacements:
    def bias(table: Any, window_size: Any) -> Any:
        index = o.relative_position.relative_position_index(window_size)
        return table[index].reshape(table.shape[1], *index.shape)

    return {BIAS: bias}


@bug(
    "bias-first-head",
    "Every head gets the first head's bias.",
    "Heads lose their own geometry.",
    component="relative_position_bias",
    when="several heads",
)
@replaces(BIAS)
def bias_first_head(original: Any, table: Any, window_size: Any) -> Any:
    right = original(table, window_size)
    return np.concatenate([right[:1]] * len(right))
