"""The ways to restrict attention that the paper's table 5 compares, as callables of an adapter.

Cyclic shift and padding compute the same function, Swin's.  Sliding window and global attention do not,
with the same linear layers and a bias for each offset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from swin_properties.adapters.torch import TorchAdapter
from torch import Tensor
from torch.nn.functional import pad, unfold

from swin_torch import WindowAttention
from swin_torch.geometry import functional


class Formulation(TorchAdapter):
    """Offers `shifted_window_attention` in one formulation."""

    def __init__(self, attend: Callable[[Tensor, WindowAttention, int, int], Tensor]) -> None:
        """``attend(x, attention, window, shift)`` is the formulation."""
        super().__init__()
        self.attend = attend

    def shifted_window_attention(
        self, x: Tensor, params: Any, num_heads: int, window_size: int, shift_size: int
    ) -> Tensor:
        """(B, H, W, C) -> same."""
        attention = self.loaded(lambda: WindowAttention(x.shape[-1], num_heads, window_size), params)
        return self.attend(x, attention, window_size, shift_size)


def attend_unshifted(x: Tensor, attention: WindowAttention, window: int, _shift: int) -> Tensor:
    """Attends in windows without shift and mask, as every second block does."""
    return functional.shifted_window_attention(x, attention, window, 0)


def attend_cyclic(x: Tensor, attention: WindowAttention, window: int, shift: int) -> Tensor:
    """Attends as Swin does: rolls the grid, so that the number of windows stays the same, and masks."""
    return functional.shifted_window_attention(x, attention, window, shift)


def attend_padded(x: Tensor, attention: WindowAttention, window: int, shift: int) -> Tensor:
    """Attends in the shifted windows without rolling: pads those at the edges and masks the padding."""
    (height, width), before = x.shape[1:3], (window - shift) % window
    after = [-(side + before) % window for side in (height, width)]
    x = pad(x, (0, 0, before, after[1], before, after[0]))
    real = pad(x.new_ones(1, height, width, 1), (0, 0, before, after[1], before, after[0]))
    keys = functional.window_partition(real, window).flatten(1)  # (windows, tokens)
    mask = torch.zeros_like(keys).masked_fill(keys == 0, -torch.inf)[:, None].expand(-1, window**2, -1)
    windows = functional.window_partition(x, window).flatten(1, 2)
    attended = attention(windows, mask).unflatten(1, (window, window))
    grid = functional.window_reverse(attended, window, *x.shape[1:3])
    return grid[:, before : before + height, before : before + width]


def attend_sliding(x: Tensor, attention: WindowAttention, window: int, _shift: int) -> Tensor:
    """Attends from each token to the window around it; the window's side must be odd."""
    heads, radius = attention.relative_position_bias_table.shape[1], window // 2
    q, k, v = (
        attention.qkv(x).unflatten(-1, (3, heads, -1)).permute(3, 0, 4, 5, 1, 2)
    )  # each B, heads, d, H, W
    real = unfold(x.new_ones(1, 1, *x.shape[1:3]), window, padding=radius).bool()[:, None]  # 1, 1, M^2, T
    # query - key of the window's k-th row or column, counted from 0 as the table does
    offset = 3 * radius - torch.arange(window, device=x.device)
    rows = (offset[:, None] * (2 * window - 1) + offset).flatten()
    bias = attention.relative_position_bias_table[rows].T[None, :, :, None]
    near = [unfold(part.flatten(1, 2), window, padding=radius) for part in (k, v)]
    k, v = (part.view(*q.shape[:3], window**2, -1) for part in near)  # each B, heads, d, M^2, T
    logits = (q.flatten(3).unsqueeze(3) * q.shape[2] ** -0.5 * k).sum(2) + bias
    weights = logits.masked_fill(~real, -torch.inf).softmax(2)
    attended = (weights.unsqueeze(2) * v).sum(3)  # B, heads, d, T
    out: Tensor = attention.proj(attended.flatten(1, 2).mT)
    return out.view(x.shape)


def attend_globally(x: Tensor, attention: WindowAttention, _window: int, _shift: int) -> Tensor:
    """Attends from every token to every token; ``attention`` is made for one window of the grid's size."""
    out: Tensor = attention(x.flatten(1, 2))
    return out.view(x.shape)


TABLE = {
    "window, no shift": attend_unshifted,
    "shifted window, cyclic": attend_cyclic,
    "shifted window, padding": attend_padded,
    "sliding window": attend_sliding,
    "global": attend_globally,
}
"""The rows of the table, by name."""

SWIN = ("shifted window, cyclic", "shifted window, padding")
"""The rows that compute Swin: they are judged before they are timed."""
