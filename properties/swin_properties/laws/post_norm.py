"""Laws of what V2 norms: the branches of a block, and a merged token."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case_v2 import GridV2Case
from swin_properties.cases.strategies import grids
from swin_properties.laws.law import law
from swin_properties.laws.patches import even, standardise, unshuffle
from swin_properties.laws.versions import draw_in_v2

Small = draw_in_v2(grids())
Plain = draw_in_v2(grids(enough=True, largest_window=4, channels=4))
Tokens = draw_in_v2(grids(("generic", "flat", "big"), shifted=False, enough=True, largest_window=4))


def silence(norm: Any, keep_bias: bool = False) -> Any:
    """Returns a norm whose gain is 0, and its bias too unless it is kept."""
    return {"weight": 0.0 * norm["weight"], "bias": norm["bias"] * keep_bias}


@law("swin_v2_block/identity", ["swin_v2_block"], Small, "exact", compares_with="definition")
def identity(swin: Asked, case: GridV2Case) -> Any:
    """With gains and biases of 0 in both norms, as before training, the block is the identity, bitwise."""
    x, params = case.tokens(), case.block()
    idle = params | {name: silence(params[name]) for name in ("norm1", "norm2")}
    return swin.swin_v2_block(x, idle, case.heads, case.window, case.shift), x


@law("swin_v2_block/norm-last", ["swin_v2_block"], Small, "exact", compares_with="definition")
def norm_last(swin: Asked, case: GridV2Case) -> Any:
    """A branch ends with its norm: with gains of 0 the block adds the biases of its norms, bitwise.

    The biases are whole numbers, and so is what they are added to.
    """
    x, params = np.round(case.tokens()), case.block()
    rng = case.rng(3)
    biases = rng.integers(-8, 9, (2, case.channels)).astype(float)
    norms = {
        name: {"weight": 0.0 * params[name]["weight"], "bias": bias}
        for name, bias in zip(("norm1", "norm2"), biases, strict=True)
    }
    y = swin.swin_v2_block(x, params | norms, case.heads, case.window, case.shift)
    return y, x + biases.sum(axis=0)


@law(
    "swin_v2_block/parts",
    ["swin_v2_block", "layer_norm", "shifted_cosine_window_attention", "mlp"],
    Plain,
    compares_with="itself",
)
def parts(swin: Asked, case: GridV2Case) -> Any:
    """A block is made of its own parts: y = x + norm1(attention(x)), then y + norm2(mlp(y))."""
    x, params, rounded = case.tokens(), case.block(), swin.precision.rounded
    sizes = case.heads, case.window, case.shift
    attended = rounded(swin.shifted_cosine_window_attention(x, params["attn"], *sizes))
    normed = swin.layer_norm(attended, params["norm1"])
    y = rounded(x + normed)
    fed_forward = swin.layer_norm(rounded(swin.mlp(y, params["mlp"])), params["norm2"])
    return swin.swin_v2_block(x, params, *sizes) - x, normed + fed_forward


@law(
    "swin_v2_patch_merging/norm-last", ["swin_v2_patch_merging"], Tokens, "exact", compares_with="definition"
)
def merging_norm_last(swin: Asked, case: GridV2Case) -> Any:
    """The norm comes last: with a gain of 0 every merged token is the norm's bias, bitwise."""
    x, params = case.tokens(), case.merging()
    y = swin.swin_v2_patch_merging(x, params | {"norm": silence(params["norm"], keep_bias=True)})
    return y, np.broadcast_to(params["norm"]["bias"], y.shape)


@law("swin_v2_patch_merging/permutation", ["swin_v2_patch_merging"], Tokens, compares_with="definition")
def merging_permutation(swin: Asked, case: GridV2Case) -> Any:
    """What the merge's linear layer is given is a pixel-unshuffle, the row offset fastest.

    Each half of the identity as its weights hands half of it on, to be normed.
    """
    x, channels = even(case), 2 * case.channels
    norm, pairs = {"weight": np.ones(channels), "bias": np.zeros(channels)}, []
    for half, given in zip(np.split(np.eye(2 * channels), 2), np.split(unshuffle(x), 2, -1), strict=True):
        got = swin.swin_v2_patch_merging(x, {"norm": norm, "reduction": {"weight": half}})
        pairs.append((got, standardise(given)))
    return pairs
