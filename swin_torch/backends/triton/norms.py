"""Residual sum and LayerNorm, a program a token: read twice, written twice, in one launch."""

from __future__ import annotations

import triton
import triton.language as tl

from swin_torch.backends.triton.places import rounded


@triton.jit
def add_norm(
    x, branch, gain, shift, ahead, y, normed, channels, eps, BLOCK: tl.constexpr, AHEAD: tl.constexpr
):
    """y = x + branch (+ ahead), normed = (x + branch - mean) / sqrt(variance + eps) * gain + shift."""
    first = tl.program_id(0).to(tl.int64) * channels
    channel = tl.arange(0, BLOCK)
    inside = channel < channels
    own = first + channel
    total = tl.load(x + own, inside, 0.0).to(tl.float32) + tl.load(branch + own, inside, 0.0).to(tl.float32)
    # What is normed is the sum as it is stored, rounded, like everywhere else.
    total = rounded(total, y.dtype.element_ty).to(tl.float32)
    mean = tl.sum(total, 0) / channels
    centred = tl.where(inside, total - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / channels + eps)
    weight = tl.load(gain + channel, inside, 0.0).to(tl.float32)
    bias = tl.load(shift + channel, inside, 0.0).to(tl.float32)
    tl.store(normed + own, rounded(centred * scale * weight + bias, normed.dtype.element_ty), inside)
    if AHEAD:
        total += tl.load(ahead + channel, inside, 0.0).to(tl.float32)
    tl.store(y + own, rounded(total, y.dtype.element_ty), inside)
