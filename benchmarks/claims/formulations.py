"""Ways to restrict attention, as the paper's table 5 compares them: callables of an adapter, by name.

Cyclic shift and padding compute the same function, Swin's.  Sliding window and global attention are others,
with the same linear layers and a bias for each offset.
"""

from __future__ import annotations

from typing import Any

import torch
from swin_properties.adapters.torch import TorchAdapter
from torch import Tensor
from torch.nn.functional import pad, unfold

from swin_torch import WindowAttention
from swin_torch.geometry import functional


class Formulation(TorchAdapter):
    """An adapter that offers `shifted_window_attention` in one formulation."""

    def __init__(self, attend: Any) -> None:
        """``attend(x, attention, window, shift)`` is the formulation."""
        super().__init__()
        self.attend = attend

    def shifted_window_attention(
        self, x: Tensor, params: Any, num_heads: int, window_size: int, shift_size: int
    ) -> Tensor:
        """(B, H, W, C) -> same."""
        attention = self.loaded(lambda: WindowAttention(x.shape[-1], num_heads, window_size), params)
        return self.attend(x, attention, window_size, shift_size)


def no_shift(x: Tensor, attention: WindowAttention, window: int, _shift: int) -> Tensor:
    """Attention in the windows of an even block: no shift, no mask."""
    return functional.shifted_window_attention(x, attention, window, 0)


def cyclic(x: Tensor, attention: WindowAttention, window: int, shift: int) -> Tensor:
    """Swin's: the grid is rolled, so that there are as many windows as without a shift; a mask parts some."""
    return functional.shifted_window_attention(x, attention, window, shift)


def padded(x: Tensor, attention: WindowAttention, window: int, shift: int) -> Tensor:
    """The shifted windows as they lie, those at the edges padded to whole ones whose padding is masked."""
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


def sliding(x: Tensor, attention: WindowAttention, window: int, _shift: int) -> Tensor:
    """Each token attends to the window around itself, the keys of every token laid out: for odd windows."""
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
    return attention.proj(attended.flatten(1, 2).mT.unflatten(1, x.shape[1:3]))


def whole(x: Tensor, attention: WindowAttention, _window: int, _shift: int) -> Tensor:
    """Every token attends to every token: one window, of the grid's size; ``attention`` is made for it."""
    return attention(x.flatten(1, 2)).unflatten(1, x.shape[1:3])


TABLE = {
    "window, no shift": no_shift,
    "shifted window, cyclic": cyclic,
    "shifted window, padding": padded,
    "sliding window": sliding,
    "global": whole,
}
"""The rows of the table."""

SWIN = ("shifted window, cyclic", "shifted window, padding")
"""Those that compute Swin's function: they are judged by the oracle before they are timed."""
