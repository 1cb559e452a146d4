"""Planted bugs of the stage and the whole network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swin_reference.sizes import window_pair

from swin_properties.bugs.gallery import NOT_SEEN, Replacements, bug

V1 = "Checkpoints load and outputs are wrong."


def shifting(o: Any, rule: Callable[[int, Any, Any], Any]) -> Replacements:
    """A stage whose blocks are shifted by ``rule(number, grid, window)``."""

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
            x = o.block.swin_block(x, params["blocks"][number], heads, window, shift, kept_block, qk_scale)
        return x

    return {"block.stage_blocks": stage_blocks}


def halves(grid: Any, window: Any) -> tuple[int, int]:
    """The right shift of a shifted block."""
    (height, width), (mh, mw) = grid, window
    return (mh // 2, mw // 2) if height > mh and width > mw else (0, 0)


SHIFTS: dict[str, tuple[str, str, str, Callable[[int, Any, Any], Any]]] = {
    "shift-even-blocks": (
        "Even blocks are shifted, odd ones are not.",
        V1,
        NOT_SEEN,
        lambda number, grid, window: (0, 0) if number % 2 else halves(grid, window),
    ),
    "shift-never": (
        "No block is shifted.",
        "Windows never connect: about one point of accuracy (Liu et al. 2021, table 4).",
        NOT_SEEN,
        lambda number, grid, window: (0, 0),
    ),
    "shift-always": (
        "Every block is shifted.",
        "The regular windows are never used.",
        NOT_SEEN,
        lambda number, grid, window: halves(grid, window),
    ),
    "shift-kept-on-small-grids": (
        "The shift is kept when one window spans the grid.",
        "The last stage, whose grid is one window, is cut into four regions.",
        "The detection family keeps it, by convention.",
        lambda number, grid, window: (window[0] // 2, window[1] // 2) if number % 2 else (0, 0),
    ),
    "shift-dropped-per-axis": (
        "The shift is dropped per axis, not on both at once.",
        "Differs from the official code on long images only.",
        "timm and torchvision, by convention.",
        lambda number, grid, window: tuple(
            m // 2 if number % 2 and side > m else 0 for side, m in zip(grid, window, strict=True)
        ),
    ),
    "shift-rounded-up": (
        "The shift is ceil(M / 2), not floor(M / 2).",
        "Wrong for odd windows: every public checkpoint has window 7.",
        NOT_SEEN,
        lambda number, grid, window: (
            tuple(min((m + 1) // 2, m - 1) for m in window)
            if number % 2 and any(halves(grid, window))
            else (0, 0)
        ),
    ),
}
for _name, (_wrong, _effect, _seen, _rule) in SHIFTS.items():
    bug(_name, _wrong, _effect, _seen)(
        lambda o, rule=_rule: shifting(o, rule)  # type: ignore[misc]
    )


@bug("merge-missing", "The stage does not merge although it has the weights.", "Shapes go wrong at once.")
def merge_missing(o: Any) -> Replacements:
    return {"block.swin_stage": o.block.stage_blocks}


@bug(
    "features-after-merge",
    "The features of a stage are taken after its merge.",
    "Detection heads get maps of half the size and twice the channels.",
)
def features_after_merge(o: Any) -> Replacements:
    original, merge = o.network.swin_features, o.patches.patch_merging

    def features(images: Any, params: Any, config: Any, kept: Any = None, *_: Any) -> Any:
        maps = original(images, params, config, kept)
        stages = zip(maps, params["layers"], strict=True)
        return [merge(y, layer["downsample"]) if "downsample" in layer else y for y, layer in stages]

    return {"network.swin_features": features}


def classifier(o: Any, pooled: Callable[[Any, Any], Any]) -> Replacements:
    """A classifier whose head reads ``pooled(last map, norm)``."""
    e = o.layers

    def swin_transformer(images: Any, params: Any, config: Any, kept: Any = None, *_: Any) -> Any:
        last = o.network.swin_features(images, params, config, kept)[-1]
        y = pooled(last, lambda x: e.layer_norm(x, params["norm"]))
        return e.linear(y, **params["head"]) if config.num_classes else y

    return {"network.swin_transformer": swin_transformer}


def mean(x: Any) -> Any:
    """The mean over the tokens."""
    return x.sum(axis=(1, 2)) / (x.shape[1] * x.shape[2])


POOLS: dict[str, tuple[str, str, str, Callable[[Any, Any], Any]]] = {
    "pool-before-norm": (
        "The tokens are averaged first and normed after.",
        V1,
        "ConvNeXt's order.",
        lambda x, norm: norm(mean(x)),
    ),
    "final-norm-missing": ("There is no norm before the head.", V1, NOT_SEEN, lambda x, norm: mean(x)),
    "pool-maximum": (
        "The head reads the maximum over the tokens.",
        V1,
        NOT_SEEN,
        lambda x, norm: norm(x).max((1, 2)),
    ),
    "pool-first-token": (
        "The head reads the first token.",
        "A ViT's class token, which Swin does not have.",
        NOT_SEEN,
        lambda x, norm: norm(x)[:, 0, 0],
    ),
}
for _name, (_wrong, _effect, _seen, _pooled) in POOLS.items():
    bug(_name, _wrong, _effect, _seen)(
        lambda o, pooled=_pooled: classifier(o, pooled)  # type: ignore[misc]
    )


@bug(
    "position-embedding-dropped",
    "The absolute position embedding is not added.",
    "Only models that have one are wrong.",
)
def position_embedding_dropped(o: Any) -> Replacements:
    return {"network.add_position_embedding": lambda x, embedding, config: x}


@bug(
    "position-embedding-by-columns",
    "The absolute position embedding is read column by column.",
    "Right for a grid of one row; positions are transposed.",
)
def position_embedding_by_columns(o: Any) -> Replacements:
    def add(x: Any, embedding: Any, config: Any) -> Any:
        return x + embedding.reshape(x.shape[2], x.shape[1], x.shape[3]).swapaxes(0, 1)[None]

    return {"network.add_position_embedding": add}
