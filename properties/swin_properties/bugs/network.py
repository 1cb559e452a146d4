"""Planted bugs of the block, the stage and the whole network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from swin_reference.sizes import window_pair

from swin_properties.bugs.gallery import NOT_SEEN, Replacements, bug

Block = Callable[[Any, Any, Callable[[Any], Any], Callable[[Any], Any]], Any]
V1 = "Checkpoints load and outputs are wrong."


def block(o: Any, formula: Block) -> Replacements:
    """A block from ``formula(x, norms, attention, mlp)``, drop path included in the two branches."""
    e, attend = o.elementary, o.attention.shifted_window_attention

    def swin_block(
        x: Any,
        params: Any,
        num_heads: int,
        window_size: Any,
        shift_size: Any,
        kept: Any = None,
        qk_scale: Any = None,
    ) -> Any:
        kept_attention, kept_mlp = (None, None) if kept is None else kept

        def attention(y: Any) -> Any:
            attended = attend(y, params["attn"], num_heads, window_size, shift_size, qk_scale)
            return e.drop_path(attended, kept_attention)

        def mlp(y: Any) -> Any:
            return e.drop_path(e.mlp(y, params["mlp"]), kept_mlp)

        norms = [lambda y, name=name: e.layer_norm(y, params[name]) for name in ("norm1", "norm2")]
        return formula(x, norms, attention, mlp)

    return {"model.swin_block": swin_block}


def post_norm(x: Any, norms: Any, attention: Any, mlp: Any) -> Any:
    """x + LN(A(x)), as V2."""
    x = x + norms[0](attention(x))
    return x + norms[1](mlp(x))


def residual_from_norm(x: Any, norms: Any, attention: Any, mlp: Any) -> Any:
    """The residual starts after the norm."""
    x = norms[0](x)
    x = x + attention(x)
    x = norms[1](x)
    return x + mlp(x)


def parallel(x: Any, norms: Any, attention: Any, mlp: Any) -> Any:
    """Both branches read the block's input."""
    return x + attention(norms[0](x)) + mlp(norms[1](x))


def attention_residual_missing(x: Any, norms: Any, attention: Any, mlp: Any) -> Any:
    """No residual around attention."""
    x = attention(norms[0](x))
    return x + mlp(norms[1](x))


def mlp_residual_missing(x: Any, norms: Any, attention: Any, mlp: Any) -> Any:
    """No residual around the MLP."""
    x = x + attention(norms[0](x))
    return mlp(norms[1](x))


def residual_from_input(x: Any, norms: Any, attention: Any, mlp: Any) -> Any:
    """The second residual is the block's input."""
    return x + mlp(norms[1](x + attention(norms[0](x))))


def norms_shared(x: Any, norms: Any, attention: Any, mlp: Any) -> Any:
    """norm1 serves both branches."""
    x = x + attention(norms[0](x))
    return x + mlp(norms[0](x))


def norms_swapped(x: Any, norms: Any, attention: Any, mlp: Any) -> Any:
    """norm2 before attention, norm1 before the MLP."""
    x = x + attention(norms[1](x))
    return x + mlp(norms[0](x))


def attention_not_normed(x: Any, norms: Any, attention: Any, mlp: Any) -> Any:
    """No norm1."""
    x = x + attention(x)
    return x + mlp(norms[1](x))


def mlp_first(x: Any, norms: Any, attention: Any, mlp: Any) -> Any:
    """The MLP comes before attention."""
    x = x + mlp(norms[1](x))
    return x + attention(norms[0](x))


BLOCKS: dict[str, tuple[str, str, str, Block]] = {
    "post-norm": ("The norms come after the branches, as in V2.", V1, "V1 weights in V2 code.", post_norm),
    "residual-from-norm": (
        "The residual starts after the norm.",
        V1,
        "`x = norm(x)` before `shortcut = x`.",
        residual_from_norm,
    ),
    "parallel-branches": ("The MLP reads the block's input.", V1, "Parallel ViT blocks.", parallel),
    "attention-residual-missing": (
        "There is no residual around attention.",
        "Training diverges.",
        NOT_SEEN,
        attention_residual_missing,
    ),
    "mlp-residual-missing": (
        "There is no residual around the MLP.",
        "Training diverges.",
        NOT_SEEN,
        mlp_residual_missing,
    ),
    "residual-from-input": (
        "The second residual is the block's input: the attention branch is lost from it.",
        V1,
        "A `shortcut` that is not updated.",
        residual_from_input,
    ),
    "norms-shared": ("norm1 serves both branches.", V1, NOT_SEEN, norms_shared),
    "norms-swapped": ("norm1 and norm2 are exchanged.", V1, NOT_SEEN, norms_swapped),
    "norm1-missing": ("There is no norm before attention.", V1, NOT_SEEN, attention_not_normed),
    "mlp-first": ("The MLP branch comes before attention.", V1, NOT_SEEN, mlp_first),
}
for _name, (_wrong, _effect, _seen, _formula) in BLOCKS.items():
    bug(_name, _wrong, _effect, _seen)(
        lambda o, formula=_formula: block(o, formula)  # type: ignore[misc]
    )


@bug(
    "drop-path-attention-only",
    "Drop path is applied to the attention branch only.",
    "Half of the regularisation is missing.",
    "transformers 5.23, V1.",
)
def drop_path_attention_only(o: Any) -> Replacements:
    original = o.model.swin_block

    def swin_block(
        x: Any, params: Any, heads: int, window: Any, shift: Any, kept: Any = None, *rest: Any
    ) -> Any:
        only = None if kept is None else (kept[0], np.ones_like(kept[1]))
        return original(x, params, heads, window, shift, only, *rest)

    return {"model.swin_block": swin_block}


@bug(
    "drop-path-one-draw",
    "Both branches are dropped by one draw.",
    "Samples lose whole blocks or nothing; less noise than trained for.",
)
def drop_path_one_draw(o: Any) -> Replacements:
    original = o.model.swin_block

    def swin_block(
        x: Any, params: Any, heads: int, window: Any, shift: Any, kept: Any = None, *rest: Any
    ) -> Any:
        one = None if kept is None else (kept[0], kept[0])
        return original(x, params, heads, window, shift, one, *rest)

    return {"model.swin_block": swin_block}


def shifting(o: Any, rule: Callable[[int, Any, Any], Any]) -> Replacements:
    """A stage whose blocks are shifted by ``rule(number, grid, window)``."""

    def stage_blocks(
        x: Any, params: Any, depth: int, heads: int, window: Any, kept: Any = None, qk_scale: Any = None
    ) -> Any:
        for number in range(depth):
            shift = rule(number, x.shape[1:3], window_pair(window))
            kept_block = None if kept is None else kept[number]
            x = o.model.swin_block(x, params["blocks"][number], heads, window, shift, kept_block, qk_scale)
        return x

    return {"model.stage_blocks": stage_blocks}


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
    return {"model.swin_stage": o.model.stage_blocks}


@bug(
    "features-after-merge",
    "The features of a stage are taken after its merge.",
    "Detection heads get maps of half the size and twice the channels.",
)
def features_after_merge(o: Any) -> Replacements:
    original, merge = o.model.swin_features, o.patches.patch_merging

    def features(images: Any, params: Any, config: Any, kept: Any = None) -> Any:
        maps = original(images, params, config, kept)
        stages = zip(maps, params["layers"], strict=True)
        return [merge(y, layer["downsample"]) if "downsample" in layer else y for y, layer in stages]

    return {"model.swin_features": features}


def classifier(o: Any, pooled: Callable[[Any, Any], Any]) -> Replacements:
    """A classifier whose head reads ``pooled(last map, norm)``."""
    e = o.elementary

    def swin_transformer(images: Any, params: Any, config: Any, kept: Any = None) -> Any:
        last = o.model.swin_features(images, params, config, kept)[-1]
        y = pooled(last, lambda x: e.layer_norm(x, params["norm"]))
        return e.linear(y, **params["head"]) if config.num_classes else y

    return {"model.swin_transformer": swin_transformer}


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
    return {"model.add_position_embedding": lambda x, embedding, config: x}


@bug(
    "position-embedding-by-columns",
    "The absolute position embedding is read column by column.",
    "Right for a grid of one row; positions are transposed.",
)
def position_embedding_by_columns(o: Any) -> Replacements:
    def add(x: Any, embedding: Any, config: Any) -> Any:
        return x + embedding.reshape(x.shape[2], x.shape[1], x.shape[3]).swapaxes(0, 1)[None]

    return {"model.add_position_embedding": add}
