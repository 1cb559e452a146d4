"""The residual sum and the LayerNorm after it in one launch, one program a token."""

from __future__ import annotations

import triton
import triton.language as tl

from swin_torch.backends.triton.windows import round_to


@triton.jit
def add_norm(
    x, branch, gain, shift, ahead, y, normed, channels, eps, BLOCK: tl.constexpr, AHEAD: tl.constexpr
):
    """Writes y = x + branch (+ ahead) and normed = LayerNorm(x + branch) for one token.

    x, branch, y and normed (rows, channels); gain, shift and ahead (channels); BLOCK is the power of two from
    channels on; ahead is added if AHEAD.
    """
    first = tl.program_id(0).to(tl.int64) * channels
    channel = tl.arange(0, BLOCK)
    inside = channel < channels
    own = first + channel
    total = tl.load(x + own, inside, 0.0).to(tl.float32) + tl.load(branch + own, inside, 0.0).to(tl.float32)
    # The norm takes the rounded sum, as it does where sum and norm are computed apart.
    total = round_to(total, y.dtype.element_ty).to(tl.float32)
    mean = tl.sum(total, 0) / channels
    centred = tl.where(inside, total - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / channels + eps)
    weight = tl.load(gain + channel, inside, 0.0).to(tl.float32)
    bias = tl.load(shift + channel, inside, 0.0).to(tl.float32)
    tl.store(normed + own, round_to(centred * scale * weight + bias, normed.dtype.element_ty), inside)
    if AHEAD:
        total += tl.load(ahead + channel, inside, 0.0).to(tl.float32)
    tl.store(y + own, round_to(total, y.dtype.element_ty), inside)
