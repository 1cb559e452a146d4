"""Planted bugs of the block: its norms, residuals and drop path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from swin_properties.bugs.gallery import NOT_SEEN, Replacements, bug

Block = Callable[[Any, Any, Callable[[Any], Any], Callable[[Any], Any]], Any]
V1 = "Checkpoints load and outputs are wrong."


def block(o: Any, formula: Block) -> Replacements:
    """A block from ``formula(x, norms, attention, mlp)``, drop path included in the two branches."""
    e, attend = o.layers, o.attention.shifted_window_attention

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

        def attention(y: Any) -> Any:
            attended = attend(y, params["attn"], num_heads, window_size, shift_size, qk_scale)
            return e.drop_path(attended, kept_attention)

        def mlp(y: Any) -> Any:
            return e.drop_path(e.mlp(y, params["mlp"]), kept_mlp)

        norms = [lambda y, name=name: e.layer_norm(y, params[name]) for name in ("norm1", "norm2")]
        return formula(x, norms, attention, mlp)

    return {"block.swin_block": swin_block}


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
    original = o.block.swin_block

    def swin_block(
        x: Any, params: Any, heads: int, window: Any, shift: Any, kept: Any = None, *rest: Any
    ) -> Any:
        only = None if kept is None else (kept[0], np.ones_like(kept[1]))
        return original(x, params, heads, window, shift, only, *rest)

    return {"block.swin_block": swin_block}


@bug(
    "drop-path-one-draw",
    "Both branches are dropped by one draw.",
    "Samples lose whole blocks or nothing; less noise than trained for.",
)
def drop_path_one_draw(o: Any) -> Replacements:
    original = o.block.swin_block

    def swin_block(
        x: Any, params: Any, heads: int, window: Any, shift: Any, kept: Any = None, *rest: Any
    ) -> Any:
        one = None if kept is None else (kept[0], kept[0])
        return original(x, params, heads, window, shift, one, *rest)

    return {"block.swin_block": swin_block}
