"""Planted bugs of V2's block, merge and network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from swin_reference.conventions import CANONICAL

from swin_properties.bugs.gallery import WRONG_OUTPUTS, Plant, Replacements, bug, replaces

Part = Callable[[Any], Any]
BLOCK, MERGE = "block_v2.swin_v2_block", "block_v2.swin_v2_patch_merging"


class Parts(NamedTuple):
    """The parts of a block, each a function of tokens; ``drop1`` and ``drop2`` are drop path's."""

    norm1: Part
    norm2: Part
    attention: Part
    mlp: Part
    drop1: Part
    drop2: Part


def as_block(formula: Callable[[Any, Parts], Any]) -> Plant:
    """Plants formula(x, parts) as V2's block."""

    def plant(o: Any) -> Replacements:
        layers, attend = o.layers, o.attention_v2.shifted_cosine_window_attention

        def swin_v2_block(
            x: Any,
            params: Any,
            num_heads: int,
            window_size: Any,
            shift_size: Any,
            kept: Any = None,
            pretrained_window_size: Any = None,
            *_: Any,
        ) -> Any:
            first, second = (None, None) if kept is None else kept
            parts = Parts(
                lambda y: layers.layer_norm(y, params["norm1"]),
                lambda y: layers.layer_norm(y, params["norm2"]),
                lambda y: attend(
                    y, params["attn"], num_heads, window_size, shift_size, pretrained_window_size
                ),
                lambda y: layers.mlp(y, params["mlp"]),
                lambda y: layers.drop_path(y, first),
                lambda y: layers.drop_path(y, second),
            )
            return formula(x, parts)

        return {BLOCK: swin_v2_block}

    return plant


@bug(
    "v2-pre-norm",
    "The norms come before the branches, as in V1.",
    WRONG_OUTPUTS,
    "V2 weights in V1 code.",
    component="swin_v2_block",
)
@as_block
def pre_norm(x: Any, its: Parts) -> Any:
    x = x + its.drop1(its.attention(its.norm1(x)))
    return x + its.drop2(its.mlp(its.norm2(x)))


@bug(
    "v2-norm-of-the-sum",
    "The norm is of the sum of input and branch, not of the branch.",
    "Post-norm of the first Transformer: trains worse, and checkpoints give other outputs.",
    "A public port of V2.",
    component="swin_v2_block",
)
@as_block
def norm_of_the_sum(x: Any, its: Parts) -> Any:
    x = its.norm1(x + its.drop1(its.attention(x)))
    return its.norm2(x + its.drop2(its.mlp(x)))


@bug(
    "v2-norms-swapped",
    "norm1 and norm2 are exchanged.",
    WRONG_OUTPUTS,
    component="swin_v2_block",
)
@as_block
def norms_swapped(x: Any, its: Parts) -> Any:
    x = x + its.drop1(its.norm2(its.attention(x)))
    return x + its.drop2(its.norm1(its.mlp(x)))


@bug(
    "v2-norm1-missing",
    "The attention branch is not normed.",
    WRONG_OUTPUTS,
    component="swin_v2_block",
)
@as_block
def norm1_missing(x: Any, its: Parts) -> Any:
    x = x + its.drop1(its.attention(x))
    return x + its.drop2(its.norm2(its.mlp(x)))


@bug(
    "v2-norm2-missing",
    "The MLP branch is not normed.",
    WRONG_OUTPUTS,
    component="swin_v2_block",
)
@as_block
def norm2_missing(x: Any, its: Parts) -> Any:
    x = x + its.drop1(its.norm1(its.attention(x)))
    return x + its.drop2(its.mlp(x))


@bug(
    "v2-norm-both-ends",
    "Each branch is normed before and after.",
    WRONG_OUTPUTS,
    "Blocks of another network, with both norms.",
    component="swin_v2_block",
)
@as_block
def norm_both_ends(x: Any, its: Parts) -> Any:
    x = x + its.drop1(its.norm1(its.attention(its.norm1(x))))
    return x + its.drop2(its.norm2(its.mlp(its.norm2(x))))


@bug(
    "v2-drop-path-before-norm",
    "Drop path comes before the norm.",
    "A dropped branch adds the norm's bias, and the factor is normed away; only training is wrong.",
    component="swin_v2_block",
)
@as_block
def drop_path_before_norm(x: Any, its: Parts) -> Any:
    x = x + its.norm1(its.drop1(its.attention(x)))
    return x + its.norm2(its.drop2(its.mlp(x)))


@bug(
    "v2-parallel-branches",
    "The MLP reads the block's input.",
    WRONG_OUTPUTS,
    component="swin_v2_block",
)
@as_block
def parallel_branches(x: Any, its: Parts) -> Any:
    return x + its.drop1(its.norm1(its.attention(x))) + its.drop2(its.norm2(its.mlp(x)))


@bug(
    "v2-merge-norm-missing",
    "The merged token is not normed.",
    WRONG_OUTPUTS,
    component="swin_v2_patch_merging",
)
def merge_norm_missing(o: Any) -> Replacements:
    def merge(x: Any, params: Any, convention: Any = CANONICAL) -> Any:
        return o.layers.linear(o.neighbours.join_neighbours(x, convention), **params["reduction"])

    return {MERGE: merge}


@bug(
    "v2-merge-rows-first",
    "The four tokens of a merge are joined row by row.",
    "Weights of a checkpoint meet the wrong token: it loads, and outputs are wrong.",
    "V2's merge written by einops or by reshape.",
    component="swin_v2_patch_merging",
    when="several tokens in the grid",
)
@replaces(MERGE)
def merge_rows_first(original: Any, x: Any, params: Any, *rest: Any) -> Any:
    parts = np.split(params["reduction"]["weight"], 4, axis=1)
    exchanged = np.concatenate([parts[i] for i in (0, 2, 1, 3)], axis=1)
    return original(x, {**params, "reduction": {"weight": exchanged}}, *rest)


@bug(
    "v2-pretrained-of-first-stage",
    "Every stage takes the first stage's pretrained window.",
    "Right where all stages were trained in one window; in the released ones the last is 6, not 12.",
    component="swin_v2_transformer",
    only_when="several stages",
)
@replaces("network_v2.swin_v2_features")
def pretrained_of_first_stage(original: Any, images: Any, params: Any, config: Any, *rest: Any) -> Any:
    trained = config.pretrained_window_sizes
    one = replace(config, pretrained_window_sizes=trained[:1] * len(trained))
    return original(images, params, one, *rest)


@bug(
    "v2-pretrained-lost-in-blocks",
    "Blocks do not hand the pretrained window on to their attention.",
    "Attention alone is right; blocks and networks are wrong for fine-tuned weights.",
    component="swin_v2_block",
    when="a window of more than one token",
)
@replaces(BLOCK)
def pretrained_lost_in_blocks(
    original: Any,
    x: Any,
    params: Any,
    heads: int,
    window: Any,
    shift: Any,
    kept: Any = None,
    pretrained_window_size: Any = None,
    *rest: Any,
) -> Any:
    return original(x, params, heads, window, shift, kept, None, *rest)


@bug(
    "v2-shift-in-even-blocks",
    "Blocks 0, 2, ... of V2 are shifted, and blocks 1, 3, ... are not.",
    WRONG_OUTPUTS,
    component="swin_v2_stage",
    when="a first grid larger than the window along both axes",
)
def shift_in_even_blocks(o: Any) -> Replacements:
    def blocks(
        x: Any,
        params: Any,
        depth: int,
        heads: int,
        window_size: Any,
        kept: Any = None,
        pretrained_window_size: Any = None,
        convention: Any = CANONICAL,
        *_: Any,
    ) -> Any:
        window = o.rules.stage_window(x.shape[1:3], window_size, convention)
        shift = o.rules.stage_shift(x.shape[1:3], window, convention)
        for number, block in enumerate(params["blocks"]):
            given = (0, 0) if number % 2 else shift
            own = None if kept is None else kept[number]
            x = o.block_v2.swin_v2_block(
                x, block, heads, window, given, own, pretrained_window_size, convention
            )
        return x

    return {"block_v2.stage_v2_blocks": blocks}


@bug(
    "v2-merge-off-by-one",
    "V2's merge pairs tokens 1 and 2, 3 and 4, ..., with a zero before the first row.",
    "Maps are displaced by half a merged token at every stage.",
    component="swin_v2_patch_merging",
)
@replaces(MERGE)
def merge_off_by_one(original: Any, x: Any, params: Any, *rest: Any) -> Any:
    even = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
    return original(np.concatenate([np.zeros_like(even[:, :1]), even[:, :-1]], axis=1), params, *rest)


@bug(
    "v2-merge-edge-repeated",
    "V2's merge repeats the last row and column of an odd side; zeros are padded.",
    "Right for even sides.",
    component="swin_v2_patch_merging",
    when="an odd height or width",
)
@replaces(MERGE)
def merge_edge_repeated(original: Any, x: Any, params: Any, *rest: Any) -> Any:
    odd = (0, x.shape[1] % 2), (0, x.shape[2] % 2)
    return original(np.pad(x, ((0, 0), *odd, (0, 0)), mode="edge"), params, *rest)


@bug(
    "v2-merge-overwrites-input",
    "V2's merge scales its input in place.",
    "The features of a stage, already handed out, change when the next stage runs.",
    component="swin_v2_patch_merging",
)
@replaces(MERGE)
def merge_overwrites_input(original: Any, x: Any, params: Any, *rest: Any) -> Any:
    y = original(x, params, *rest)
    x *= 0.5
    return y


@bug(
    "v2-grid-moved-in-place",
    "V2's attention pads and shifts in the caller's array.",
    "The caller's tokens are moved after every block, and its residual is wrong.",
    component="shifted_cosine_window_attention",
)
@replaces("attention_v2.shifted_cosine_window_attention")
def grid_moved_in_place(original: Any, x: Any, *args: Any) -> Any:
    y = original(x, *args)
    x[...] = np.roll(x, 1, axis=2) + 1.0
    return y


@bug(
    "v2-stage-in-place",
    "The blocks of V2 add to the caller's array.",
    "Right as long as nobody reads the input again; training with activation checkpointing does.",
    "`x += branch` for the residual.",
    component="swin_v2_stage",
)
@replaces("block_v2.stage_v2_blocks")
def stage_in_place(original: Any, x: Any, *args: Any) -> Any:
    x[...] = original(x, *args)
    return x
