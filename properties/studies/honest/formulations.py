"""Honest ways to write one attention: softmax(scale q k^T + bias) v, of arrays (windows, heads, N, d).

``scale`` is a number, or one number a head, (heads, 1, 1): in Swin V2 q and k have length 1, and it is tau.
``bias`` is the relative position bias plus the mask, (windows or 1, heads, N, N).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from studies.honest.emulated import emulate, find_accumulator
from swin_properties.budget.precision import Precision
from swin_reference.layers import softmax

Attend = Callable[[Any, Any, Any, Any, Any, Precision], Any]
"""(q, k, v, bias, scale, precision) -> attended."""

BLOCK = 3
"""Keys a block of the online softmax; small, so that small windows have several blocks."""


class Skipped(Exception):
    """Why a formulation cannot run in a precision here."""


def attend_in_oracle_order(q: Any, k: Any, v: Any, bias: Any, scale: Any, _: Precision) -> Any:
    """As the oracle: the scale on q, then the product, the bias, the softmax."""
    return softmax((q * scale) @ k.swapaxes(-1, -2) + bias) @ v


def attend_with_scale_after(q: Any, k: Any, v: Any, bias: Any, scale: Any, _: Precision) -> Any:
    """The scale on the product: the logits round once more, and overflow float16 earlier."""
    return softmax((q @ k.swapaxes(-1, -2)) * scale + bias) @ v


def attend_naively(q: Any, k: Any, v: Any, bias: Any, scale: Any, _: Precision) -> Any:
    """No matmul: every product is rounded before it is added; the division comes last."""
    logits = (q[..., :, None, :] * k[..., None, :, :]).sum(axis=-1) * scale + bias
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    summed = (weights[..., None] * v[..., None, :, :]).sum(axis=-2)
    return summed / weights.sum(axis=-1, keepdims=True)


def attend_online(q: Any, k: Any, v: Any, bias: Any, scale: Any, precision: Precision) -> Any:
    """Softmax by blocks of keys, rescaled as the running maximum grows; running sums in the accumulator.

    (Milakov & Gimelshein 2018; Dao et al. 2022.)
    """
    wide = find_accumulator(precision)
    shape = (*q.shape[:-1], 1)
    top, total, summed = np.full(shape, -np.inf), np.zeros(shape), np.zeros(q.shape)
    top, total, summed = (emulate(x, wide) for x in (top, total, summed))
    for first in range(0, k.shape[-2], BLOCK):
        keys = slice(first, first + BLOCK)
        product = q @ k[..., keys, :].swapaxes(-1, -2)
        logits = emulate(product, wide) * scale + emulate(bias[..., keys], wide)
        higher = np.maximum(top, logits.max(axis=-1, keepdims=True))
        # A row may have met no visible key yet: nothing is above -inf, and exp(-inf - 0) is its weight.
        base = np.where(np.isinf(higher), 0.0, higher)
        weights, kept = np.exp(logits - base), np.exp(top - base)
        total = total * kept + weights.sum(axis=-1, keepdims=True)
        product = emulate(weights, precision) @ v[..., keys, :]
        summed = summed * kept + emulate(product, wide)
        top = higher
    return emulate(summed / total, precision)


def attend_in_float32(q: Any, k: Any, v: Any, bias: Any, scale: Any, precision: Precision) -> Any:
    """Everything between the two linear layers in float32 (float64 for itself), rounded once at the end."""
    wide = find_accumulator(precision)
    q, k, v, bias = (emulate(x, wide) for x in (q, k, v, bias))
    return emulate(attend_in_oracle_order(q, k, v, bias, scale, wide), precision)


def attend_by_sdpa(q: Any, k: Any, v: Any, bias: Any, scale: Any, precision: Precision) -> Any:
    """PyTorch's scaled_dot_product_attention, the bias and mask given as its mask."""
    try:
        import torch
    except ImportError:
        raise Skipped("torch is not installed") from None
    if precision.name == "tf32":
        raise Skipped("torch computes in tf32 on GPUs only")
    if np.ndim(scale):
        q, scale = q * scale, 1.0
    kind = getattr(torch, precision.name)
    q, k, v, bias = (torch.from_numpy(np.array(x)).to(kind) for x in (q, k, v, bias))
    attended = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, bias.expand(len(q), -1, -1, -1), scale=scale
    )
    return emulate(attended.to(torch.float64).numpy(), precision)


FORMULATIONS: dict[str, Attend] = {
    "oracle order": attend_in_oracle_order,
    "scale after the product": attend_with_scale_after,
    "naive": attend_naively,
    "online softmax": attend_online,
    "float32 inside": attend_in_float32,
    "fused SDPA": attend_by_sdpa,
}
"""Every formulation, by name."""
