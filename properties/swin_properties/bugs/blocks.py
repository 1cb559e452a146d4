"""Planted bugs of the block: its norms, residuals and drop path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from swin_properties.bugs.gallery import WRONG_OUTPUTS, Plant, Replacements, bug, replaces

Part = Callable[[Any], Any]


def as_block(formula: Callable[[Any, Part, Part, Part, Part], Any]) -> Plant:
    """Plants ``formula(x, norm1, norm2, attention, mlp)`` as the block; its branches contain drop path."""

    def plant(o: Any) -> Replacements:
        layers, attend = o.layers, o.attention.shifted_window_attention

        def swin_block(
            x: Any,
            params: Any,
            num_heads: int,
            window_size: Any,
            shift_size: Any,
            kept: Any = None,
            qk_scale: Any = None,
            *_: Any,
        ) -> Any:
            kept_attention, kept_mlp = (None, None) if kept is None else kept

            def norm1(y: Any) -> Any:
                return layers.layer_norm(y, params["norm1"])

            def norm2(y: Any) -> Any:
                return layers.layer_norm(y, params["norm2"])

            def attention(y: Any) -> Any:
                attended = attend(y, params["attn"], num_heads, window_size, shift_size, qk_scale)
                return layers.drop_path(attended, kept_attention)

            def mlp(y: Any) -> Any:
                return layers.drop_path(layers.mlp(y, params["mlp"]), kept_mlp)

            return formula(x, norm1, norm2, attention, mlp)

        return {"block.swin_block": swin_block}

    return plant


@bug(
    "post-norm",
    "The norms come after the branches, as in V2.",
    WRONG_OUTPUTS,
    "V1 weights in V2 code.",
    component="swin_block",
)
@as_block
def post_norm(x: Any, norm1: Part, norm2: Part, attention: Part, mlp: Part) -> Any:
    x = x + norm1(attention(x))
    return x + norm2(mlp(x))


@bug(
    "residual-from-norm",
    "The residual starts after the norm.",
    WRONG_OUTPUTS,
    "`x = norm(x)` before `shortcut = x`.",
    component="swin_block",
)
@as_block
def residual_from_norm(x: Any, norm1: Part, norm2: Part, attention: Part, mlp: Part) -> Any:
    x = norm1(x)
    x = x + attention(x)
    x = norm2(x)
    return x + mlp(x)


@bug(
    "parallel-branches",
    "The MLP reads the block's input.",
    WRONG_OUTPUTS,
    "Parallel ViT blocks.",
    component="swin_block",
)
@as_block
def parallel_branches(x: Any, norm1: Part, norm2: Part, attention: Part, mlp: Part) -> Any:
    return x + attention(norm1(x)) + mlp(norm2(x))


@bug(
    "attention-residual-missing",
    "There is no residual around attention.",
    "Training diverges.",
    component="swin_block",
)
@as_block
def attention_residual_missing(x: Any, norm1: Part, norm2: Part, attention: Part, mlp: Part) -> Any:
    x = attention(norm1(x))
    return x + mlp(norm2(x))


@bug(
    "mlp-residual-missing",
    "There is no residual around the MLP.",
    "Training diverges.",
    component="swin_block",
)
@as_block
def mlp_residual_missing(x: Any, norm1: Part, norm2: Part, attention: Part, mlp: Part) -> Any:
    x = x + attention(norm1(x))
    return mlp(norm2(x))


@bug(
    "residual-from-input",
    "The second residual is the block's input, without the attention branch.",
    WRONG_OUTPUTS,
    "A `shortcut` that is not updated.",
    component="swin_block",
)
@as_block
def residual_from_input(x: Any, norm1: Part, norm2: Part, attention: Part, mlp: Part) -> Any:
    return x + mlp(norm2(x + attention(norm1(x))))


@bug("norms-shared", "norm1 serves both branches.", WRONG_OUTPUTS, component="swin_block")
@as_block
def norms_shared(x: Any, norm1: Part, norm2: Part, attention: Part, mlp: Part) -> Any:
    x = x + attention(norm1(x))
    return x + mlp(norm1(x))


@bug("norms-swapped", "norm1 and norm2 are exchanged.", WRONG_OUTPUTS, component="swin_block")
@as_block
def norms_swapped(x: Any, norm1: Part, norm2: Part, attention: Part, mlp: Part) -> Any:
    x = x + attention(norm2(x))
    return x + mlp(norm1(x))


@bug("norm1-missing", "There is no norm before attention.", WRONG_OUTPUTS, component="swin_block")
@as_block
def norm1_missing(x: Any, norm1: Part, norm2: Part, attention: Part, mlp: Part) -> Any:
    x = x + attention(x)
    return x + mlp(norm2(x))


@bug("mlp-first", "The MLP branch comes before attention.", WRONG_OUTPUTS, component="swin_block")
@as_block
def mlp_first(x: Any, norm1: Part, norm2: Part, attention: Part, mlp: Part) -> Any:
    x = x + mlp(norm2(x))
    return x + attention(norm1(x))


@bug(
    "scale-lost-in-blocks",
    "A block does not hand qk_scale to its attention.",
    "Checkpoints trained with a qk_scale load, and outputs are wrong.",
    component="swin_block",
    when="a window of more than one token",
)
@replaces("block.swin_block")
def scale_lost_in_blocks(
    original: Any,
    x: Any,
    params: Any,
    heads: int,
    window: Any,
    shift: Any,
    kept: Any = None,
    qk_scale: Any = None,
    *rest: Any,
) -> Any:
    return original(x, params, heads, window, shift, kept, None, *rest)


@bug(
    "drop-path-attention-only",
    "Drop path is applied to the attention branch only.",
    "Half of the regularisation is missing.",
    "transformers 5.23, V1.",
    component="swin_block",
)
@replaces("block.swin_block")
def drop_path_attention_only(
    original: Any, x: Any, params: Any, heads: int, window: Any, shift: Any, kept: Any = None, *rest: Any
) -> Any:
    only = None if kept is None else (kept[0], np.ones_like(kept[1]))
    return original(x, params, heads, window, shift, only, *rest)


@bug(
    "drop-path-one-draw",
    "Both branches are dropped by one draw.",
    "Samples lose whole blocks or nothing; there is less noise than intended.",
    component="swin_block",
    only_when="",
)
@replaces("block.swin_block")
def drop_path_one_draw(
    original: Any, x: Any, params: Any, heads: int, window: Any, shift: Any, kept: Any = None, *rest: Any
) -> Any:
    one = None if kept is None else (kept[0], kept[0])
    return original(x, params, heads, window, shift, one, *rest)
