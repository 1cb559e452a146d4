"""Laws of the stage, the features and the classifier."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import NetCase
from swin_properties.cases.strategies import networks
from swin_properties.laws.law import law

RECIPES = ("generic", "flat", "peaked", "big")


def stage(case: NetCase, number: int) -> tuple[Any, ...]:
    """Returns the arguments of a stage: parameters, depth, heads and window."""
    return case.network()["layers"][number], case.depths[number], case.heads[number], case.window


@law(
    "swin_stage/oracle",
    ["swin_stage"],
    networks(RECIPES, deepest=2, maps=True),
    compares_with="oracle",
    slow=["1024 channels"],
)
def stage_oracle(swin: Asked, case: NetCase) -> Any:
    """A stage is the oracle's: its blocks, then the merge if it has one."""
    args = case.tokens(), *stage(case, 0)
    return swin.swin_stage(*args), swin.expected.swin_stage(*args)


@law(
    "swin_stage/alternation",
    ["swin_stage", "swin_block"],
    networks(deepest=1, maps=True),
    compares_with="itself",
)
def stage_alternation(swin: Asked, case: NetCase) -> Any:
    """Even blocks are not shifted, odd blocks by floor(M / 2), and none where a window spans the grid."""
    x, (params, depth, heads, window) = case.tokens(), stage(case, 0)
    y = x
    for number, block in enumerate(params["blocks"]):
        y = swin.swin_block(y, block, heads, case.stage_window, case.shift(number))
    return swin.swin_stage(x, params, depth, heads, window), y


@law(
    "swin_stage/merge-last",
    ["swin_stage", "patch_merging"],
    networks(fewest=2, deepest=2, maps=True),
    compares_with="itself",
)
def stage_merge_last(swin: Asked, case: NetCase) -> Any:
    """A stage ends with its merge: its result is the merge of what its blocks give."""
    x, (params, *sizes) = case.tokens(), stage(case, 0)
    blocks = swin.swin_stage(x, {"blocks": params["blocks"]}, *sizes)
    merged = swin.patch_merging(swin.precision.rounded(blocks), params["downsample"])
    return swin.swin_stage(x, params, *sizes), merged


@law(
    "swin_stage/receptive-field",
    ["swin_stage"],
    networks(("uniform",), deepest=1, enough=False),
    "exact",
    compares_with="definition",
)
def receptive_field(swin: Asked, case: NetCase) -> Any:
    """In each block a change spreads exactly to the tokens that share a window with a changed token.

    Half precision may round a real dependency away: there the law asks only that no others change.
    """
    x, rng, (mh, mw) = case.tokens(), case.rng(3), case.stage_window
    token = tuple(int(rng.integers(side)) for side in x.shape[:-1])
    nudged = x.copy()
    nudged[token] = rng.integers(-127, 128, x.shape[-1]) / 64.0
    before, after = (swin.swin_stage(tokens, *stage(case, 0)) for tokens in (x, nudged))
    changed, field = np.any(before != after, axis=-1), np.zeros(x.shape[:-1], bool)
    field[token] = True
    h, w = np.indices(case.grid)
    for number in range(case.depths[0]):
        sh, sw = case.shift(number)
        windows = (h - sh) // mh * case.grid[1] + (w - sw) // mw  # every window has a number of its own
        field[token[0]] = np.isin(windows, windows[field[token[0]]])
    if swin.precision.bits < 24:
        changed, field = changed & ~field, np.zeros_like(field)
    return changed, field


@law(
    "swin_features/oracle",
    ["swin_features"],
    networks(RECIPES, maps=True),
    compares_with="oracle",
    slow=["1024 channels"],
)
def features_oracle(swin: Asked, case: NetCase) -> Any:
    """The features are the oracle's: the map of every stage before its merge, not normed."""
    args = case.images(), case.network(), case.config
    return list(zip(swin.swin_features(*args), swin.expected.swin_features(*args), strict=True))


@law(
    "swin_transformer/oracle",
    ["swin_transformer"],
    networks(RECIPES),
    compares_with="oracle",
    life_size=True,
    slow=["1024 channels"],
)
def transformer_oracle(swin: Asked, case: NetCase) -> Any:
    """The whole network is the oracle's: embedding, stages, norm, mean over the tokens, head."""
    args = case.images(), case.network(), case.config
    return swin.swin_transformer(*args), swin.expected.swin_transformer(*args)


@law(
    "swin_transformer/one-block",
    ["swin_transformer"],
    networks(deepest=1).map(lambda case: replace(case, depths=(1,))),
    compares_with="oracle",
)
def one_block(swin: Asked, case: NetCase) -> Any:
    """A network of a single block is the oracle's: the rate of its drop path is 0, not 0 / 0."""
    args = case.images(), case.network(), case.config
    return swin.swin_transformer(*args), swin.expected.swin_transformer(*args)
