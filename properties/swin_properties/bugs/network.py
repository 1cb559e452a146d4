"""Planted bugs of the stage and the whole network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from swin_reference.conventions import convention_named
from swin_reference.sizes import window_pair

from swin_properties.bugs.gallery import WRONG_OUTPUTS, Plant, Replacements, bug, replaces

SHIFTED = "several blocks in the first stage; a first grid larger than the window along both axes"
SPANNED = "several blocks in the first stage; a window that spans the first grid"


def as_shift(rule: Callable[[int, Any, Any], Any]) -> Plant:
    """Plants a stage whose blocks are shifted by ``rule(number, grid, window)``."""

    def plant(o: Any) -> Replacements:
        def stage_blocks(
            x: Any,
            params: Any,
            depth: int,
            heads: int,
            window: Any,
            kept: Any = None,
            qk_scale: Any = None,
            *_: Any,
        ) -> Any:
            for number in range(depth):
                shift = rule(number, x.shape[1:3], window_pair(window))
                kept_block = None if kept is None else kept[number]
                block = params["blocks"][number]
                x = o.block.swin_block(x, block, heads, window, shift, kept_block, qk_scale)
            return x

        return {"block.stage_blocks": stage_blocks}

    return plant


def half_window(grid: Any, window: Any) -> tuple[int, int]:
    """Returns the right shift of a shifted block."""
    (height, width), (mh, mw) = grid, window
    return (mh // 2, mw // 2) if height > mh and width > mw else (0, 0)


@bug(
    "shift-even-blocks",
    "Even blocks are shifted, odd ones are not.",
    WRONG_OUTPUTS,
    component="swin_stage",
    when="a first grid larger than the window along both axes; a window of more than one token",
)
@as_shift
def shift_even_blocks(number: int, grid: Any, window: Any) -> Any:
    return (0, 0) if number % 2 else half_window(grid, window)


@bug(
    "shift-never",
    "No block is shifted.",
    "Windows never connect: about one point of accuracy (Liu et al. 2021, table 4).",
    "TensorRT-Model-Connect, issue 1216: the shift is read from a buffer that checkpoints no longer hold.",
    component="swin_stage",
    when=f"{SHIFTED}; a window of more than one token",
)
@as_shift
def shift_never(number: int, grid: Any, window: Any) -> Any:
    return 0, 0


@bug(
    "shift-always",
    "Every block is shifted.",
    "The regular windows are never used.",
    component="swin_stage",
    when="a first grid larger than the window along both axes; a window of more than one token",
)
@as_shift
def shift_always(number: int, grid: Any, window: Any) -> Any:
    return half_window(grid, window)


@bug(
    "shift-kept-on-small-grids",
    "The shift is kept when one window spans the grid.",
    "The last stage, whose grid is one window, is cut into four regions.",
    "candle, pull request 3243, with weights of classification; the detection family, by convention.",
    component="swin_stage",
    only_when=f"{SPANNED} along an axis; a window of more than one token",
)
@as_shift
def shift_kept_on_small_grids(number: int, grid: Any, window: Any) -> Any:
    return (window[0] // 2, window[1] // 2) if number % 2 else (0, 0)


@bug(
    "shift-dropped-per-axis",
    "The shift is dropped on each axis alone, not on both at once.",
    "Differs from the official code on long images only.",
    "timm and torchvision, by convention.",
    component="swin_stage",
    only_when=f"{SPANNED} along one axis only; a window of more than one token",
)
@as_shift
def shift_dropped_per_axis(number: int, grid: Any, window: Any) -> Any:
    sides = zip(grid, window, strict=True)
    return tuple(m // 2 if number % 2 and side > m else 0 for side, m in sides)


@bug(
    "shift-rounded-up",
    "The shift is ceil(M / 2), not floor(M / 2).",
    "Wrong for odd windows: every public checkpoint has window 7.",
    component="swin_stage",
    when=f"{SHIFTED}; a window with an odd side above 1",
)
@as_shift
def shift_rounded_up(number: int, grid: Any, window: Any) -> Any:
    shifted = number % 2 and any(half_window(grid, window))
    return tuple(min((m + 1) // 2, m - 1) for m in window) if shifted else (0, 0)


@bug(
    "blocks-shared",
    "All blocks of a stage have the weights of the first.",
    "Trains with a fraction of the parameters; checkpoints load where names are not compared.",
    "A public copy of V1: `[Block(...)] * depth`.",
    component="swin_stage",
    when="several blocks in the first stage",
)
@replaces("block.stage_blocks")
def blocks_shared(original: Any, x: Any, params: Any, depth: int, *rest: Any) -> Any:
    return original(x, {**params, "blocks": params["blocks"][:1] * depth}, depth, *rest)


@bug(
    "small-window-first-biases",
    "On a grid below the window the window shrinks, and takes the biases of the full window's first tokens.",
    "Small images get the biases of other offsets.",
    "MONAI 1.6, Video-Swin, torchvision's video model, tfswin 4.1.1.",
    component="swin_stage",
    only_when="a window that spans the first grid along an axis",
)
@replaces("block.stage_blocks")
def small_window_first_biases(
    original: Any,
    x: Any,
    params: Any,
    depth: int,
    heads: int,
    window: Any,
    kept: Any = None,
    qk_scale: Any = None,
    *_: Any,
) -> Any:
    shrinks = convention_named("canonical,window=shrink-axis,small_table=first")
    return original(x, params, depth, heads, window, kept, qk_scale, shrinks)


@bug(
    "drop-path-first-block",
    "All blocks of a stage drop what the first one drops.",
    "Samples lose whole stages or nothing.",
    "Factors that are drawn once and kept.",
    component="swin_stage",
    only_when="several blocks in the first stage",
)
@replaces("block.stage_blocks")
def drop_path_first_block(
    original: Any, x: Any, params: Any, depth: int, heads: int, window: Any, kept: Any = None, *rest: Any
) -> Any:
    first = None if kept is None else [kept[0]] * depth
    return original(x, params, depth, heads, window, first, *rest)


@bug(
    "drop-rates-restart",
    "The rates of drop path grow from 0 anew in each stage.",
    "Deep stages are regularised less, the first ones more.",
    "A linspace made inside the stage.",
    component="drop_path_rates",
    when="several stages; a rate above 0",
)
@replaces("layers.drop_path_rates")
def drop_rates_restart(original: Any, rate: float, depths: Any) -> Any:
    return [original(rate, [depth])[0] for depth in depths]


@bug(
    "drop-rates-below-the-last",
    "Block k of n has the rate r k / n, not r k / (n - 1).",
    "The last block drops less than asked for.",
    component="drop_path_rates",
    when="several blocks; a rate above 0",
)
@replaces("layers.drop_path_rates")
def drop_rates_below_the_last(original: Any, rate: float, depths: Any) -> Any:
    blocks = sum(depths)
    return np.split(rate * np.arange(blocks) / blocks, np.cumsum(depths)[:-1])


@bug(
    "merge-missing",
    "The stage does not merge although it has the weights.",
    "Shapes are wrong at once.",
    component="swin_stage",
    when="several stages",
)
def merge_missing(o: Any) -> Replacements:
    return {"block.swin_stage": o.block.stage_blocks}


@bug(
    "features-after-merge",
    "The features of a stage are taken after its merge.",
    "Detection heads get maps of half the size and twice the channels.",
    component="swin_features",
    when="several stages",
)
def features_after_merge(o: Any) -> Replacements:
    original, merge = o.network.swin_features, o.patches.patch_merging

    def features(images: Any, params: Any, config: Any, kept: Any = None, *_: Any) -> Any:
        maps = original(images, params, config, kept)
        stages = zip(maps, params["layers"], strict=True)
        return [merge(y, layer["downsample"]) if "downsample" in layer else y for y, layer in stages]

    return {"network.swin_features": features}


def as_pooling(pooled: Callable[[Any, Callable[[Any], Any]], Any]) -> Plant:
    """Plants a classifier whose head reads ``pooled(last map, norm)``."""

    def plant(o: Any) -> Replacements:
        layers = o.layers

        def swin_transformer(images: Any, params: Any, config: Any, kept: Any = None, *_: Any) -> Any:
            last = o.network.swin_features(images, params, config, kept)[-1]
            y = pooled(last, lambda x: layers.layer_norm(x, params["norm"]))
            return layers.linear(y, **params["head"]) if config.num_classes else y

        return {"network.swin_transformer": swin_transformer}

    return plant


def mean_token(x: Any) -> Any:
    """Returns the mean over the tokens."""
    return x.sum(axis=(1, 2)) / (x.shape[1] * x.shape[2])


@bug(
    "pool-before-norm",
    "The tokens are averaged first and normed after.",
    WRONG_OUTPUTS,
    "ConvNeXt's order.",
    component="swin_transformer",
    when="a last map of several tokens",
)
@as_pooling
def pool_before_norm(x: Any, norm: Any) -> Any:
    return norm(mean_token(x))


@bug("final-norm-missing", "There is no norm before the head.", WRONG_OUTPUTS, component="swin_transformer")
@as_pooling
def final_norm_missing(x: Any, norm: Any) -> Any:
    return mean_token(x)


@bug(
    "pool-maximum",
    "The head reads the maximum over the tokens.",
    WRONG_OUTPUTS,
    component="swin_transformer",
    when="a last map of several tokens",
)
@as_pooling
def pool_maximum(x: Any, norm: Any) -> Any:
    return norm(x).max((1, 2))


@bug(
    "pool-first-token",
    "The head reads the first token.",
    "It is read as a ViT's class token, which Swin does not have.",
    component="swin_transformer",
    when="a last map of several tokens",
)
@as_pooling
def pool_first_token(x: Any, norm: Any) -> Any:
    return norm(x)[:, 0, 0]


@bug(
    "position-embedding-dropped",
    "The absolute position embedding is not added.",
    "Only models that have one are wrong.",
    component="swin_features",
    when="a position embedding",
)
@replaces("embedding.add_position_embedding")
def position_embedding_dropped(original: Any, x: Any, embedding: Any, *_: Any) -> Any:
    return x


@bug(
    "position-embedding-any-grid",
    "An absolute position embedding is added to any grid of as many tokens.",
    "Wrong, without an error, for images whose sides are exchanged.",
    "Embeddings that are added before tokens become a grid.",
    component="swin_features",
    only_when="",
)
@replaces("embedding.add_position_embedding")
def position_embedding_any_grid(original: Any, x: Any, embedding: Any, *_: Any) -> Any:
    return original(x, embedding, x.shape[1:3])


@bug(
    "position-embedding-by-columns",
    "The absolute position embedding is read column by column.",
    "Right for a grid of one row; positions are transposed.",
    component="swin_features",
    when="a position embedding; several rows and columns of tokens",
)
@replaces("embedding.add_position_embedding")
def position_embedding_by_columns(original: Any, x: Any, embedding: Any, *_: Any) -> Any:
    return x + embedding.reshape(x.shape[2], x.shape[1], x.shape[3]).swapaxes(0, 1)[None]
