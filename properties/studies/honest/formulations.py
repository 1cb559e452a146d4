"""Honest ways to write one attention: softmax(scale q k^T + bias) v, of arrays (windows, heads, N, d).

``bias`` is the relative position bias plus the mask, (windows or 1, heads, N, N).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from studies.honest.emulated import accumulator, emulated
from swin_properties.budget.precision import Precision
from swin_reference.layers import softmax

Attend = Callable[[Any, Any, Any, Any, float, Precision], Any]
"""(q, k, v, bias, scale, precision) -> attended."""

BLOCK = 3
"""Keys a block of the online softmax; small, so that small windows have several blocks."""


class Skipped(Exception):
    """Why a formulation cannot run in a precision here."""


def oracle_order(q: Any, k: Any, v: Any, bias: Any, scale: float, _: Precision) -> Any:
    """As the oracle: the scale on q, then the product, the bias, the softmax."""
    return softmax((q * scale) @ k.swapaxes(-1, -2) + bias) @ v


def scale_after(q: Any, k: Any, v: Any, bias: Any, scale: float, _: Precision) -> Any:
    """The scale on the product: the logits round once more, and overflow float16 earlier."""
    return softmax((q @ k.swapaxes(-1, -2)) * scale + bias) @ v


def naive(q: Any, k: Any, v: Any, bias: Any, scale: float, _: Precision) -> Any:
    """No matmul: every product is rounded before it is added; the division comes last."""
    logits = (q[..., :, None, :] * k[..., None, :, :]).sum(axis=-1) * scale + bias
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    summed = (weights[..., None] * v[..., None, :, :]).sum(axis=-2)
    return summed / weights.sum(axis=-1, keepdims=True)


def online(q: Any, k: Any, v: Any, bias: Any, scale: float, precision: Precision) -> Any:
    """Softmax by blocks of keys, rescaled as the running maximum grows; running sums in the accumulator.

    (Milakov & Gimelshein 2018; Dao et al. 2022.)
    """
    wide = accumulator(precision)
    shape = (*q.shape[:-1], 1)
    top, total, summed = np.full(shape, -np.inf), np.zeros(shape), np.zeros(q.shape)
    top, total, summed = (emulated(x, wide) for x in (top, total, summed))
    for first in range(0, k.shape[-2], BLOCK):
        keys = slice(first, first + BLOCK)
        product = q @ k[..., keys, :].swapaxes(-1, -2)
        logits = emulated(product, wide) * scale + emulated(bias[..., keys], wide)
        higher = np.maximum(top, logits.max(axis=-1, keepdims=True))
        # A row may have met no visible key yet: nothing is above -inf, and exp(-inf - 0) is its weight.
        base = np.where(np.isinf(higher), 0.0, higher)
        weights, kept = np.exp(logits - base), np.exp(top - base)
        total = total * kept + weights.sum(axis=-1, keepdims=True)
        product = emulated(weights, precision) @ v[..., keys, :]
        summed = summed * kept + emulated(product, wide)
        top = higher
    return emulated(summed / total, precision)


def float32_inside(q: Any, k: Any, v: Any, bias: Any, scale: float, precision: Precision) -> Any:
    """Everything between the two linear layers in float32 (float64 for itself), rounded once at the end."""
    wide = accumulator(precision)
    q, k, v, bias = (emulated(x, wide) for x in (q, k, v, bias))
    return emulated(oracle_order(q, k, v, bias, scale, wide), precision)


def fused(q: Any, k: Any, v: Any, bias: Any, scale: float, precision: Precision) -> Any:
    """PyTorch's scaled_dot_product_attention, the bias and mask given as its mask."""
    try:
        import torch
    except ImportError:
        raise Skipped("torch is not installed") from None
    if precision.name == "tf32":
        raise Skipped("torch computes in tf32 on GPUs only")
    kind = getattr(torch, precision.name)
    q, k, v, bias = (torch.from_numpy(np.array(x)).to(kind) for x in (q, k, v, bias))
    attended = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, bias.expand(len(q), -1, -1, -1), scale=scale
    )
    return emulated(attended.to(torch.float64).numpy(), precision)


FORMULATIONS: dict[str, Attend] = {
    "oracle order": oracle_order,
    "scale after the product": scale_after,
    "naive": naive,
    "online softmax": online,
    "float32 inside": float32_inside,
    "fused SDPA": fused,
}
"""Every formulation, by name."""
