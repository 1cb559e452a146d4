"""The formulations as implementations: the oracle's code around one's attention, every operation rounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from studies.honest.emulated import accumulator, emulated
from studies.honest.formulations import FORMULATIONS, Attend, Skipped
from swin_properties.adapters.contract import CONTRACT
from swin_properties.budget.precision import PRECISIONS, Precision
from swin_properties.bugs.backward.complex_step import change_oracle
from swin_reference.attention import add_mask, merge_heads, split_heads
from swin_reference.layers import linear
from swin_reference.relative_position import relative_position_bias

__all__ = ["FORMULATIONS", "Skipped", "adapter"]

OFFERED = ("window_attention", "shifted_window_attention", "swin_block")


def adapter(formulation: str, precision: str) -> SimpleNamespace:
    """An implementation whose attention is a formulation, in a precision.

    >>> swin = adapter("naive", "bfloat16")
    >>> params = {"qkv": {"weight": np.eye(3, 1, -2)}, "proj": {"weight": np.eye(1)},
    ...           "relative_position_bias_table": np.zeros((3, 1))}
    >>> swin.window_attention(np.array([[[1.0], [2.0]]]), params, 1, (1, 2)).ravel()
    array([1.5, 1.5], dtype=float32)
    """
    rounding = PRECISIONS[precision]
    attention = window_attention(FORMULATIONS[formulation], rounding)
    oracle = change_oracle(
        {"window_attention": lambda _: attention, "layer_norm": lambda norm: wide(norm, rounding)}
    )
    return SimpleNamespace(
        **{name: on_emulated(getattr(oracle, name), rounding) for name in CONTRACT if name in OFFERED},
        name=f"{formulation} in {precision}",
        precision=precision,
    )


def window_attention(attend: Attend, precision: Precision) -> Callable[..., Any]:
    """The oracle's window attention with another attention between its two linear layers."""

    def attended(
        x: Any, params: Any, num_heads: int, window_size: Any, mask: Any = None, qk_scale: float | None = None
    ) -> Any:
        q, k, v = split_heads(linear(x, **params["qkv"]), num_heads)
        scale = q.shape[-1] ** -0.5 if qk_scale is None else qk_scale
        bias = relative_position_bias(params["relative_position_bias_table"], window_size)[None]
        if mask is not None:
            bias = add_mask(np.broadcast_to(bias, (len(x), *bias.shape[1:])), mask)
        return linear(
            merge_heads(attend(q, k, v, emulated(bias, precision), scale, precision)), **params["proj"]
        )

    return attended


def wide(layer_norm: Callable[..., Any], precision: Precision) -> Callable[..., Any]:
    """LayerNorm as frameworks compute it: in the accumulator's precision, rounded once at the end.

    In float16 itself the squares of tokens above 255 overflow: code that does so is what the laws are after.
    """
    inside = accumulator(precision)

    def normed(x: Any, params: Mapping[str, Any], eps: float = 1e-5) -> Any:
        given = {name: emulated(value, inside) for name, value in params.items()}
        return emulated(layer_norm(emulated(x, inside), given, eps), precision)

    return normed


def on_emulated(function: Callable[..., Any], precision: Precision) -> Callable[..., Any]:
    """A function that rounds every operation to the precision, arrays in and out."""

    def given(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return emulated(value, precision)
        if isinstance(value, Mapping):
            return {name: given(child) for name, child in value.items()}
        return value

    def call(*args: Any, **kwargs: Any) -> Any:
        return np.array(function(*map(given, args), **{name: given(x) for name, x in kwargs.items()}))

    return call
