"""The layers as modules, with the parameter names of the official checkpoints.  Grids are (B, H, W, C)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.nn.init import trunc_normal_

from swin_torch.blocks.parts import Attention, Block, MlpLayers
from swin_torch.blocks.ways import compute_block
from swin_torch.geometry import functional
from swin_torch.geometry.conventions import CANONICAL, Convention, Sides, fit_shift, fit_window
from swin_torch.geometry.exported import list_shift_pairs, require
from swin_torch.geometry.sizes import Size, check_window
from swin_torch.model.patches import PatchMerging

Kept = tuple[Tensor, Tensor]
"""The factors of drop path for a block: two (B,) tensors, for the attention and the MLP branch."""


class WindowAttention(Attention):
    """Self-attention inside each window: softmax(scale q k^T + bias + mask) v, projected.

    Errors: ``ValueError`` unless channels divide into heads.

    >>> WindowAttention(8, num_heads=2, window_size=2)(torch.zeros(3, 4, 8)).shape
    torch.Size([3, 4, 8])
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        window_size: Size,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
    ) -> None:
        """``qk_scale`` replaces head_dim^-1/2."""
        super().__init__()
        if num_heads < 1 or channels % num_heads:
            raise ValueError(
                f"channels must be divisible by heads, got {channels} channels and {num_heads} heads: "
                "change one of them"
            )
        mh, mw = self.window_size = check_window(window_size)
        self.qk_scale = qk_scale
        self.relative_position_bias_table = nn.Parameter(
            trunc_normal_(torch.empty((2 * mh - 1) * (2 * mw - 1), num_heads), std=0.02)
        )
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.register_load_state_dict_pre_hook(drop_official_index)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B nW, N, C), under an additive mask (nW, N, N) -> same."""
        bias = functional.relative_position_bias(self.relative_position_bias_table, self.window_size)
        return self.proj(functional.window_attention(self.qkv(x), bias, mask, self.qk_scale))


class Mlp(MlpLayers):
    """The block's MLP, token by token: fc2(gelu(fc1(x))).

    >>> Mlp(4, hidden=16)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """

    def __init__(self, channels: int, hidden: int) -> None:
        """``hidden`` is the width between the two layers."""
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> same."""
        return self.fc2(gelu(self.fc1(x)))


class SwinBlock(Block):
    """One block: x + (S)W-MSA(norm1(x)), then x + MLP(norm2(x)).

    In training each sample loses either branch with probability ``drop_path_rate``.

    >>> block = SwinBlock(8, num_heads=2, window_size=4, hidden=32)
    >>> block(torch.zeros(1, 5, 7, 8), shift_size=2).shape
    torch.Size([1, 5, 7, 8])
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        window_size: Size,
        hidden: int,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_path_rate: float = 0.0,
        convention: Convention = CANONICAL,
        ways: str = "fast",
        keeping: str | None = None,
    ) -> None:
        """The shift is an argument of `forward`, for it depends on the grid."""
        super().__init__(ways, keeping)
        self.convention = convention
        self.drop_path_rate = drop_path_rate
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, num_heads, window_size, qkv_bias, qk_scale)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, hidden)
        self.register_load_state_dict_pre_hook(drop_official_mask)

    def forward(self, x: Tensor, shift_size: Size = 0, kept: Kept | None = None) -> Tensor:
        """(B, H, W, C), any H and W -> same; ``kept`` replaces the random factors of drop path."""
        return compute_block(self, x, shift_size, kept or (self.draw_kept(x), self.draw_kept(x)))


SwinBlock.kinds = {
    "": SwinBlock,
    "norm1": nn.LayerNorm,
    "attn": WindowAttention,
    "norm2": nn.LayerNorm,
    "mlp": Mlp,
    **dict.fromkeys(("qkv", "proj", "fc1", "fc2"), nn.Linear),
}


class Stage(nn.Module):
    """Blocks, the odd ones shifted by floor(M / 2), then a merge if there is one: of Swin or of Swin V2."""

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        merging: nn.Module | None,
        window_size: Size,
        convention: Convention,
        decisive: Sides | None = None,
    ) -> None:
        """``window_size`` is that of this stage, which the convention may have fitted to the grid.

        ``decisive`` is the grid that decides the shift, None for that of each call.
        """
        super().__init__()
        self.decisive = decisive
        self.convention = convention
        self.window_size = check_window(window_size)
        self.blocks = nn.ModuleList(blocks)
        self.downsample = nn.Identity() if merging is None else merging

    def forward(self, x: Tensor, kept: Sequence[Kept] | None = None) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C), or the same shape without a merge.

        ``kept`` has one entry a block, which replaces the random factors of its drop path.
        """
        return self.downsample(self.apply_blocks(x, kept))

    def apply_blocks(self, x: Tensor, kept: Sequence[Kept] | None = None) -> Tensor:
        """(B, H, W, C) -> same: the stage before its merge.

        Errors: ``ValueError`` for a grid that the convention rejects.
        """
        grid = self.decisive or x.shape[1:3]
        fit_window(grid, self.window_size, self.convention)
        shift = fit_shift(grid, self.window_size, self.convention)
        if self.decisive is None:
            x = require(x, list_shift_pairs(grid, self.window_size, self.convention))
        for number, block in enumerate(self.blocks):
            x = block(x, shift if number % 2 else (0, 0), None if kept is None else kept[number])
        return x


class SwinStage(Stage):
    """One stage: blocks, the odd ones shifted by floor(M / 2), then the merge if there is one.

    ``drop_path_rates`` has one entry a block.

    >>> stage = SwinStage(8, 2, 2, 4, hidden=32, merge=True, drop_path_rates=(0.0, 0.1))
    >>> stage(torch.zeros(1, 9, 6, 8)).shape
    torch.Size([1, 5, 3, 16])
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        num_heads: int,
        window_size: Size,
        hidden: int,
        merge: bool,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_path_rates: Sequence[float] | None = None,
        convention: Convention = CANONICAL,
        ways: str = "fast",
        keeping: str | None = None,
    ) -> None:
        """``hidden`` is the width of the MLPs; without ``drop_path_rates`` nothing is dropped.

        ``window_size`` is that of this stage, which the convention may have fitted to the grid.
        """
        rates = (0.0,) * depth if drop_path_rates is None else drop_path_rates
        blocks = (
            SwinBlock(
                channels,
                num_heads,
                window_size,
                hidden,
                qkv_bias,
                qk_scale,
                rates[block],
                convention,
                ways,
                keeping,
            )
            for block in range(depth)
        )
        merging = PatchMerging(channels, convention, ways, keeping) if merge else None
        super().__init__(blocks, merging, window_size, convention)


# Official checkpoints hold two buffers that sizes alone determine; this package computes them instead.


def drop_official_index(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Drops the relative positions that an official checkpoint holds, if they are ours."""
    key = f"{prefix}relative_position_index"
    given = state.pop(key, None)
    if given is None:
        return
    ours = functional.relative_position_index(module.window_size, given.device)  # type: ignore[arg-type]
    if not torch.equal(given.to(ours.dtype), ours):
        raise ValueError(
            f"a checkpoint's relative positions are (dh + Mh - 1)(2 Mw - 1) + (dw + Mw - 1), {key} holds "
            "others: convert its bias tables, or load it with the window it was made for"
        )


def drop_official_mask(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    """Drops the mask that an official checkpoint holds."""
    state.pop(f"{prefix}attn_mask", None)
