"""Laws of the block."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import GridCase
from swin_properties.cases.strategies import grids
from swin_properties.laws.attention import reaches_exactly, scaled_pairs
from swin_properties.laws.law import law

Blocks = grids(("generic", "flat", "peaked", "big"), enough=True, largest_window=4, channels=4)
Plain = grids(enough=True, largest_window=4, channels=4)


@law(
    "swin_block/oracle",
    ["swin_block"],
    Blocks,
    compares_with="oracle",
    life_size=True,
    slow=["stage 3 of Swin-B*"],
    in_v2="A block of V2 is the oracle's: x + norm1((S)W-MSA(x)), then x + norm2(MLP(x)).",
)
def block_oracle(swin: Asked, case: GridCase) -> Any:
    """A block is the oracle's: x + (S)W-MSA(norm1(x)), then x + MLP(norm2(x))."""
    args = case.tokens(), case.block(), case.heads, case.window, case.shift
    return swin.swin_block(*args), swin.expected.swin_block(*args)


@law(
    "swin_block/branches",
    ["swin_block"],
    Blocks,
    compares_with="oracle",
    life_size=True,
    slow=["stage 3 of Swin-B*", "stage 1 of Swin-T", "65537 windows"],
    in_v2=True,
)
def block_branches(swin: Asked, case: GridCase) -> Any:
    """What a block adds to its input is the oracle's; the residual, beside which errors look small, is left
    out.
    """
    x = case.tokens()
    args = x, case.block(), case.heads, case.window, case.shift
    return swin.swin_block(*args) - x, swin.expected.swin_block(*args) - x


@law("swin_block/qk-scale", ["swin_block.qk_scale"], Plain, compares_with="oracle")
def block_qk_scale(swin: Asked, case: GridCase) -> Any:
    """In a block an explicit qk_scale replaces head_dim^-1/2, also one of 0."""
    args = case.tokens(), case.block(), case.heads, case.window, case.shift
    return scaled_pairs(swin, "swin_block", args)


@law("swin_block/drop-path", ["swin_block.kept"], Blocks, compares_with="oracle", in_v2=True)
def block_drop_path(swin: Asked, case: GridCase) -> Any:
    """In training each sample's branches are dropped, or kept and scaled, as the given factors say."""
    x, params, rng = case.tokens(), case.block(), case.rng(3)
    kept = 2.0 * rng.integers(0, 2, case.batch), 2.0 * rng.integers(0, 2, case.batch)
    args = x, params, case.heads, case.window, case.shift
    return swin.swin_block(*args, kept=kept), swin.expected.swin_block(*args, kept=kept)


@law(
    "swin_block/locality",
    ["swin_block"],
    grids(("gentle",), channels=3),
    "exact",
    compares_with="definition",
    life_size=True,
    in_v2=True,
)
def block_locality(swin: Asked, case: GridCase) -> Any:
    """Changing a token changes all tokens of its true window and no others, none of another image.

    Half precision may round a real dependency away: there the law asks only for "no others".
    """
    x, params, rng = case.tokens(), case.block(), case.rng(3)
    b, h, w = int(rng.integers(case.batch)), *(int(rng.integers(side)) for side in case.grid)
    nudged = x.copy()
    nudged[b, h, w] = rng.integers(-127, 128, case.channels) / 64.0
    sizes = params, case.heads, case.window, case.shift
    moved = np.any(swin.swin_block(x, *sizes) != swin.swin_block(nudged, *sizes), axis=-1)
    return reaches_exactly(swin, case, moved, (b, h, w))


@law("swin_block/kept-all", ["swin_block.kept"], Plain, compares_with="itself", in_v2=True)
def kept_all(swin: Asked, case: GridCase) -> Any:
    """With every factor of drop path 1, training gives the same as evaluation."""
    args = case.tokens(), case.block(), case.heads, case.window, case.shift
    ones = np.ones(case.batch)
    return swin.swin_block(*args, kept=(ones, ones)), swin.swin_block(*args)


@law("swin_block/dropped", ["swin_block.kept"], grids(), "exact", compares_with="itself", in_v2=True)
def dropped(swin: Asked, case: GridCase) -> Any:
    """A sample whose two branches are dropped stays unchanged, bitwise, whatever is kept of the others.

    A sample that is kept does not depend on which others are kept.
    """
    x, sizes = case.tokens(batch=4), (case.block(), case.heads, case.window, case.shift)
    factors = np.roll([0.0, 0.0, 2.0, 2.0], int(case.rng(3).integers(4)))
    zeros, twos = np.zeros(4), np.full(4, 2.0)
    kept, none, all_ = (swin.swin_block(x, *sizes, kept=(f, f)) for f in (factors, zeros, twos))
    return [(none, x), (kept, np.where(factors[:, None, None, None] == 0, x, all_))]


@law("swin_block/residual", ["swin_block"], grids(), "exact", compares_with="definition")
def residual(swin: Asked, case: GridCase) -> Any:
    """With zeros for the last linear layer of each branch the block is the identity, bitwise."""
    x, params = case.tokens(), case.block()
    attn, mlp = params["attn"], params["mlp"]
    idle = params | {
        "attn": attn | {"proj": {name: 0.0 * part for name, part in attn["proj"].items()}},
        "mlp": mlp | {"fc2": {name: 0.0 * part for name, part in mlp["fc2"].items()}},
    }
    return swin.swin_block(x, idle, case.heads, case.window, case.shift), x


@law("swin_block/pre-norm", ["swin_block"], Plain, compares_with="itself")
def pre_norm(swin: Asked, case: GridCase) -> Any:
    """Each branch starts with its norm: adding a constant to the input adds it to the output, nothing
    else.
    """
    x, sizes = np.round(case.tokens() * 32) / 64, (case.block(), case.heads, case.window, case.shift)
    return swin.swin_block(x + 1.0, *sizes) - (x + 1.0), swin.swin_block(x, *sizes) - x


@law(
    "swin_block/parts",
    ["swin_block", "layer_norm", "shifted_window_attention", "mlp"],
    Plain,
    compares_with="itself",
)
def parts(swin: Asked, case: GridCase) -> Any:
    """A block is made of its own parts: y = x + attention(norm1(x)), then y + mlp(norm2(y))."""
    x, params, rounded = case.tokens(), case.block(), swin.precision.rounded
    normed = rounded(swin.layer_norm(x, params["norm1"]))
    sizes = case.heads, case.window, case.shift
    attended = swin.shifted_window_attention(normed, params["attn"], *sizes)
    y = rounded(x + attended)
    fed_forward = swin.mlp(rounded(swin.layer_norm(y, params["norm2"])), params["mlp"])
    return swin.swin_block(x, params, *sizes) - x, attended + fed_forward
