"""Laws of the stage, the features and the classifier."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import NetCase, ScheduleCase
from swin_properties.cases.strategies import networks, schedules, spanned_stages
from swin_properties.laws.attention import QK_SCALES, scaled_pairs
from swin_properties.laws.law import law

RECIPES = ("generic", "flat", "peaked", "big")
# A scale and drop path's factors are handed on whatever the sizes are: other laws ask large ones.
Stages = replace(networks(deepest=1, maps=True), large={})
Networks = replace(networks(deepest=2), large={})


def stage(case: NetCase, number: int) -> tuple[Any, ...]:
    """Returns the arguments of a stage: parameters, depth, heads and window."""
    return case.network()["layers"][number], case.depths[number], case.heads[number], case.window


@law(
    "swin_stage/oracle",
    ["swin_stage"],
    networks(RECIPES, deepest=2, maps=True),
    compares_with="oracle",
    slow=["1024 channels"],
    in_v2=True,
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
    in_v2=True,
)
def stage_alternation(swin: Asked, case: NetCase) -> Any:
    """Even blocks are not shifted, odd blocks by floor(M / 2), and none where a window spans the grid."""
    x, (params, depth, heads, window) = case.tokens(), stage(case, 0)
    y = x
    for number, block in enumerate(params["blocks"]):
        y = swin.swin_block(y, block, heads, case.stage_window, case.shift(number))
    return swin.swin_stage(x, params, depth, heads, window), y


@law("swin_stage/spanned-axis", ["swin_stage"], spanned_stages(), compares_with="oracle", in_v2=True)
def stage_spanned_axis(swin: Asked, case: NetCase) -> Any:
    """Where the window spans one axis of the grid, blocks are shifted on neither axis, as is the oracle's."""
    args = case.tokens(), *stage(case, 0)
    return swin.swin_stage(*args), swin.expected.swin_stage(*args)


@law("swin_stage/qk-scale", ["swin_stage.qk_scale"], Stages, compares_with="oracle")
def stage_qk_scale(swin: Asked, case: NetCase) -> Any:
    """In every block of a stage an explicit qk_scale replaces head_dim^-1/2, also one of 0."""
    return scaled_pairs(swin, "swin_stage", (case.tokens(), *stage(case, 0)))


@law("swin_stage/drop-path", ["swin_stage.kept"], Stages, compares_with="oracle", in_v2=True)
def stage_drop_path(swin: Asked, case: NetCase) -> Any:
    """In a stage each block drops, or keeps and scales, each sample's branches by its own factors."""
    x, kept = case.tokens(), draw_kept(case)[0]
    params, depth, heads, window = stage(case, 0)
    sizes = depth, heads, window
    got = swin.swin_stage(x, params, *sizes, kept=kept)
    return got, swin.expected.swin_stage(x, params, *sizes, kept=kept)


def draw_kept(case: NetCase) -> list[list[tuple[Any, Any]]]:
    """Returns random factors of drop path for each stage and block: 0, or 2 to the power of the stage."""
    rng = case.rng(3)
    return [
        [
            (
                2.0**stage * rng.integers(0, 2, case.batch),
                2.0**stage * rng.integers(0, 2, case.batch),
            )
            for _ in range(depth)
        ]
        for stage, depth in enumerate(case.depths)
    ]


@law("drop_path_rates/linear", ["drop_path_rates"], schedules(), "exact", compares_with="definition")
def rates_grow_linearly(swin: Asked, case: ScheduleCase) -> Any:
    """Block k of n in the whole network has drop path's rate r k / (n - 1); a single block has 0.

    All these rates are exact in every precision.
    """
    blocks = sum(case.depths)
    rates = case.rate * np.arange(blocks) / max(blocks - 1, 1)
    expected = np.split(rates, np.cumsum(case.depths)[:-1])
    return list(zip(swin.drop_path_rates(case.rate, list(case.depths)), expected, strict=True))


@law(
    "swin_stage/merge-last",
    ["swin_stage", "patch_merging"],
    networks(fewest=2, deepest=2, maps=True),
    compares_with="itself",
    in_v2=True,
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
    in_v2=True,
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
    in_v2=True,
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
    in_v2=True,
)
def transformer_oracle(swin: Asked, case: NetCase) -> Any:
    """The whole network is the oracle's: embedding, stages, norm, mean over the tokens, head."""
    args = case.images(), case.network(), case.config
    return swin.swin_transformer(*args), swin.expected.swin_transformer(*args)


@law("swin_transformer/qk-scale", ["swin_transformer.config.qk_scale"], Networks, compares_with="oracle")
def transformer_qk_scale(swin: Asked, case: NetCase) -> Any:
    """In every stage the configuration's qk_scale replaces head_dim^-1/2, also one of 0."""
    x, params = case.images(), case.network()
    configs = [replace(case.config, qk_scale=scale) for scale in QK_SCALES]
    return [
        (swin.swin_transformer(x, params, config), swin.expected.swin_transformer(x, params, config))
        for config in configs
    ]


@law("swin_transformer/drop-path", ["swin_transformer.kept"], Networks, compares_with="oracle", in_v2=True)
def transformer_drop_path(swin: Asked, case: NetCase) -> Any:
    """In a network each block of each stage drops each sample's branches by its own factors."""
    args, kept = (case.images(), case.network(), case.config), draw_kept(case)
    return swin.swin_transformer(*args, kept=kept), swin.expected.swin_transformer(*args, kept=kept)


@law(
    "swin_transformer/embedding-size",
    ["swin_transformer.config.absolute_position_embedding"],
    networks(deepest=1, enough=False).map(lambda case: replace(case, position_embedding=1)),
    "exact",
    compares_with="definition",
    in_v2=True,
)
def embedding_size(swin: Asked, case: NetCase) -> Any:
    """An absolute position embedding fits one grid: others are refused, also one with as many tokens."""
    height, width = case.grid
    turned = (width, height) if height != width else (height, width + 1)
    answered = []
    for grid in (turned, (height + 1, width)):
        image = grid[0] * case.patch[0], grid[1] * case.patch[1]
        try:
            swin.swin_transformer(replace(case, image=image).images(), case.network(), case.config)
            answered.append(True)
        except (BadAnswer, Declined):
            answered.append(False)
    return np.array(answered), np.zeros(2, bool)


@law(
    "swin_transformer/one-block",
    ["swin_transformer.config.depths"],
    networks(deepest=1).map(lambda case: replace(case, depths=(1,))),
    compares_with="oracle",
    in_v2=True,
)
def one_block(swin: Asked, case: NetCase) -> Any:
    """A network of a single block is the oracle's: the rate of its drop path is 0, not 0 / 0."""
    args = case.images(), case.network(), case.config
    return swin.swin_transformer(*args), swin.expected.swin_transformer(*args)
