"""(Shifted) window attention in PyTorch operations, on any device: forward, and backward by recomputing.

Windows are gathered and attended a few at a time, for large temporaries are slow.  Forward is the fused
attention of PyTorch, the fastest for a bias without a gradient.  Backward is written out in float32 (float64
for float64), which many CPUs multiply faster than half precision.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from swin_torch.geometry import functional
from swin_torch.geometry.plan import Plan, find_places, sum_by_offset

LOGITS = 2**19
"""About the logits of a piece of work: 2 MB of float32, which stay in the cache."""


def forward(
    qkv: Tensor, bias_table: Tensor, pad_qkv: Tensor | None, plan: Plan, scale: float, mask_value: float
) -> Tensor:
    """Returns the attended grid: (B, H, W, 3 C) -> (B, H, W, C)."""
    channels = qkv.shape[-1] // 3
    flat = qkv.reshape(-1, 3 * channels)
    out = qkv.new_empty(flat.shape[0], channels)
    for tokens, padding, bias in _split_work(qkv, bias_table, plan, mask_value):
        rows = _gather(flat, tokens, padding, pad_qkv)
        q, k, v = rows.unflatten(2, (3, plan.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(q, k, v, attn_mask=bias[None], scale=scale)
        _put(out, tokens, padding, attended.transpose(1, 2).flatten(2))
    return out.view(*qkv.shape[:-1], channels)


def backward(
    gradient: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    plan: Plan,
    scale: float,
    mask_value: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of qkv, of the bias table, and of the qkv of padding (3 C)."""
    channels, heads, tokens_each = qkv.shape[-1] // 3, plan.heads, plan.tokens
    flat, flat_gradient = qkv.reshape(-1, 3 * channels), gradient.reshape(-1, channels)
    of_qkv = torch.empty_like(flat)
    wide = _widen(qkv.dtype)
    of_bias = torch.zeros(heads, tokens_each, tokens_each, dtype=wide, device=qkv.device)
    of_pad = torch.zeros(3 * channels, dtype=wide, device=qkv.device)
    for tokens, padding, bias in _split_work(qkv, bias_table, plan, mask_value):
        q, k, v = _split_heads(_gather(flat, tokens, padding, pad_qkv), heads, 3)
        (of_out,) = _split_heads(_gather(flat_gradient, tokens, padding, None), heads, 1)
        weights = _compute_weights(q, k, bias, scale)
        of_weights = torch.bmm(of_out, v.mT)
        of_logits = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, wide)
        of_bias += of_logits.unflatten(0, (-1, heads)).sum(0)
        of_piece = torch.empty(3, *q.shape, dtype=wide, device=q.device)
        torch.bmm(of_logits, k, out=of_piece[0]).mul_(scale)
        torch.bmm(of_logits.mT, q, out=of_piece[1]).mul_(scale)
        torch.bmm(weights.mT, of_out, out=of_piece[2])
        of_rows = of_piece.unflatten(1, (-1, heads)).permute(1, 3, 0, 2, 4).flatten(2)  # windows, N, 3 C
        if padding is not None:
            of_pad += of_rows[padding].sum(0)
        _put(of_qkv, tokens, padding, of_rows.to(of_qkv.dtype))
    of_table = sum_by_offset(of_bias, plan.window)
    return of_qkv.view(qkv.shape), of_table.to(bias_table.dtype), of_pad


def _split_work(
    qkv: Tensor, bias_table: Tensor, plan: Plan, mask_value: float
) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
    """Yields pieces of work: the positions of some tokens in the batch, which are padding, and their bias."""
    wide = _widen(qkv.dtype)
    plain = functional.relative_position_bias(bias_table.to(wide), plan.window)
    batch, area = qkv.shape[0], plan.grid[0] * plan.grid[1]
    first = torch.arange(0, batch * area, area, device=qkv.device)[:, None, None]
    windows = max(1, LOGITS // plain.numel())
    for place, padding, torn in find_places(plan, qkv.device):
        bias = plain if torn is None else torch.where(torn, plain + mask_value, plain)
        tokens = (first + place).flatten(0, 1)
        padded = None if padding is None else padding.expand(batch, -1, -1).flatten(0, 1)
        for start in range(0, len(tokens), windows):
            piece = slice(start, start + windows)
            yield tokens[piece], None if padded is None else padded[piece], bias


def _gather(flat: Tensor, tokens: Tensor, padding: Tensor | None, pad: Tensor | None) -> Tensor:
    """Returns the tokens of windows: (B H W, parts C) -> (windows, N, parts C)."""
    rows = flat.index_select(0, tokens.flatten()).view(*tokens.shape, -1)
    if padding is not None:
        rows[padding] = 0 if pad is None else pad.to(rows.dtype)
    return rows


def _split_heads(rows: Tensor, heads: int, parts: int) -> Tensor:
    """Returns tokens in float32 or float64: (windows, N, parts C) -> (parts, windows heads, N, d)."""
    by_head = rows.unflatten(2, (parts, heads, -1)).permute(2, 0, 3, 1, 4)
    return by_head.to(_widen(rows.dtype), memory_format=torch.contiguous_format).contiguous().flatten(1, 2)


def _compute_weights(q: Tensor, k: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Returns softmax(scale q k^T + bias): (windows heads, N, N)."""
    logits = torch.bmm(q, k.mT)
    by_head = logits.unflatten(0, (-1, bias.shape[0]))
    torch.add(bias, by_head, alpha=scale, out=by_head)
    return torch.softmax(logits, -1)


def _put(out: Tensor, tokens: Tensor, padding: Tensor | None, rows: Tensor) -> None:
    """Writes the tokens of windows to their positions in the batch; padding has none."""
    if padding is None:
        out.index_copy_(0, tokens.flatten(), rows.flatten(0, 1))
    else:
        out.index_copy_(0, tokens[~padding], rows[~padding])


def _widen(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
