"""Laws of the block, the stage, the features and the classifier."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_properties.cases import GridCase, NetCase
from swin_properties.registry import law
from swin_properties.strategies import grids, networks

RECIPES = ("generic", "flat", "peaked")
Blocks = grids(RECIPES, enough=True, largest_window=4, channels=4)


@law("swin_block/oracle", ["swin_block"], Blocks)
def block_oracle(swin: Any, case: GridCase) -> Any:
    """A block is the oracle's: x + (S)W-MSA(norm1(x)), then x + MLP(norm2(x))."""
    args = case.tokens(), case.block(), case.heads, case.window, case.shift
    return swin.swin_block(*args), swin.expected.swin_block(*args)


@law("swin_block/branches", ["swin_block"], Blocks)
def block_branches(swin: Any, case: GridCase) -> Any:
    """What a block adds to its input is the oracle's: no residual hides it."""
    x = case.tokens()
    args = x, case.block(), case.heads, case.window, case.shift
    return swin.swin_block(*args) - x, swin.expected.swin_block(*args) - x


@law("swin_block/drop-path", ["swin_block.kept"], Blocks)
def block_drop_path(swin: Any, case: GridCase) -> Any:
    """In training each sample's branches are dropped, or kept and scaled, as the given factors say."""
    x, params, rng = case.tokens(), case.block(), case.rng(3)
    kept = tuple(2.0 * rng.integers(0, 2, case.batch) for _ in range(2))
    args = x, params, case.heads, case.window, case.shift
    return swin.swin_block(*args, kept=kept), swin.expected.swin_block(*args, kept=kept)


@law("swin_block/locality", ["swin_block"], grids(("gentle",), channels=3), "exact")
def block_locality(swin: Any, case: GridCase) -> Any:
    """Changing a token changes no token outside its true window, in no other sample."""
    x, params, rng = case.tokens(), case.block(), case.rng(3)
    b, h, w = int(rng.integers(case.batch)), *(int(rng.integers(side)) for side in case.grid)
    nudged = x.copy()
    nudged[b, h, w] = rng.integers(-127, 128, case.channels) / 64.0
    sizes = params, case.heads, case.window, case.shift
    leaked = np.any(swin.swin_block(x, *sizes) != swin.swin_block(nudged, *sizes), axis=-1)
    leaked[b] &= ~case.true_window((h, w))
    return leaked, np.zeros_like(leaked)


def stage(case: NetCase, number: int) -> tuple[Any, ...]:
    """The arguments of a stage: parameters, depth, heads and window."""
    return case.network()["layers"][number], case.depths[number], case.heads[number], case.window


@law("swin_stage/oracle", ["swin_stage"], networks(RECIPES, deepest=2, maps=True), kind=NetCase)
def stage_oracle(swin: Any, case: NetCase) -> Any:
    """A stage is the oracle's: its blocks, then the merge if it has one."""
    args = case.tokens(), *stage(case, 0)
    return swin.swin_stage(*args), swin.expected.swin_stage(*args)


@law(
    "swin_stage/alternation",
    ["swin_stage", "swin_block"],
    networks(deepest=1, maps=True),
    kind=NetCase,
)
def stage_alternation(swin: Any, case: NetCase) -> Any:
    """Even blocks are not shifted, odd blocks by floor(M / 2), none once a window spans the grid."""
    x, (params, depth, heads, window) = case.tokens(), stage(case, 0)
    y = x
    shifts = any(side <= m for side, m in zip(case.config.grid, window, strict=True))
    half = (0, 0) if shifts else (window[0] // 2, window[1] // 2)
    for number, block in enumerate(params["blocks"]):
        y = swin.swin_block(y, block, heads, window, half if number % 2 else (0, 0))
    return swin.swin_stage(x, params, depth, heads, window), y


@law("swin_features/oracle", ["swin_features"], networks(RECIPES, maps=True), kind=NetCase)
def features_oracle(swin: Any, case: NetCase) -> Any:
    """The features are the oracle's: the map of every stage before its merge, not normed."""
    args = case.images(), case.network(), case.config
    return list(zip(swin.swin_features(*args), swin.expected.swin_features(*args), strict=True))


@law("swin_transformer/oracle", ["swin_transformer"], networks(RECIPES), kind=NetCase)
def transformer_oracle(swin: Any, case: NetCase) -> Any:
    """The whole network is the oracle's: embedding, stages, norm, mean over the tokens, head."""
    args = case.images(), case.network(), case.config
    return swin.swin_transformer(*args), swin.expected.swin_transformer(*args)
