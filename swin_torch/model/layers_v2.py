"""The layers of Swin V2 as modules, with the parameter names of the official checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.init import zeros_

from swin_torch.blocks.parts import Merge
from swin_torch.blocks.parts_v2 import BIAS_MLP, BlockV2, CosineAttention
from swin_torch.blocks.ways_v2 import compute_block, compute_merge
from swin_torch.geometry import functional, functional_v2
from swin_torch.geometry.conventions import CANONICAL, Convention, Sides, check_merge
from swin_torch.geometry.sizes import Size, check_window
from swin_torch.model.layers import Kept, Mlp, Stage, drop_official_index, drop_official_mask

BIAS_MLP_WIDTH = 512
"""The width of the MLP that computes the bias table."""


class CosineWindowAttention(CosineAttention):
    """Self-attention inside each window: softmax(tau cos(q, k) + bias + mask) v, projected.

    ``tau`` is exp(min(logit_scale, log 100)), one number a head.  The bias is made from the offsets by
    ``cpb_mlp``.  Keys have no bias.

    Errors: ``ValueError`` unless channels divide into heads.

    >>> CosineWindowAttention(8, num_heads=2, window_size=2)(torch.zeros(3, 4, 8)).shape
    torch.Size([3, 4, 8])
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        window_size: Size,
        qkv_bias: bool = True,
        pretrained_window_size: Size | None = None,
        convention: Convention = CANONICAL,
    ) -> None:
        """``pretrained_window_size`` is that of the weights; None for ``window_size``.

        The convention decides how offsets and the clamp are rounded.
        """
        super().__init__()
        self.convention = convention
        if num_heads < 1 or channels % num_heads:
            raise ValueError(
                f"channels must be divisible by heads, got {channels} channels and {num_heads} heads: "
                "change one of them"
            )
        self.window_size = check_window(window_size)
        trained = pretrained_window_size
        self.pretrained_window_size = None if trained is None else check_window(trained)
        self.logit_scale = nn.Parameter(torch.full((num_heads, 1, 1), log(10.0)))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, BIAS_MLP_WIDTH), nn.ReLU(), nn.Linear(BIAS_MLP_WIDTH, num_heads, bias=False)
        )
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        for name in ("q_bias", "v_bias"):
            self.register_parameter(name, nn.Parameter(torch.zeros(channels)) if qkv_bias else None)
        self.proj = nn.Linear(channels, channels)
        self.register_load_state_dict_pre_hook(drop_official_index)
        self.register_load_state_dict_pre_hook(_drop_official_offsets)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B nW, N, C), under an additive mask (nW, N, N) -> same."""
        qkv, joined = self.qkv(x), functional_v2.join_biases(self.q_bias, self.v_bias)
        qkv = qkv if joined is None else qkv + joined
        qkv = functional_v2.turn_to_cosines(qkv, self.find_factors())
        bias = functional.relative_position_bias(self.compute_table(), self.window_size)
        return self.proj(functional.window_attention(qkv, bias, mask, 1.0))


class SwinV2Block(BlockV2):
    """One block: x + norm1((S)W-MSA(x)), then x + norm2(MLP(x)).

    Before training both norms are 0, and the block is the identity.  In training each sample loses either
    branch with probability ``drop_path_rate``.

    >>> block = SwinV2Block(8, num_heads=2, window_size=4, hidden=32)
    >>> x = torch.ones(1, 5, 7, 8)
    >>> torch.equal(block(x, shift_size=2), x)
    True
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        window_size: Size,
        hidden: int,
        qkv_bias: bool = True,
        pretrained_window_size: Size | None = None,
        drop_path_rate: float = 0.0,
        convention: Convention = CANONICAL,
        ways: str = "fast",
        keeping: str | None = None,
    ) -> None:
        """The shift is an argument of `forward`, for it depends on the grid."""
        super().__init__(ways, keeping)
        self.convention = convention
        self.drop_path_rate = drop_path_rate
        self.attn = CosineWindowAttention(
            channels, num_heads, window_size, qkv_bias, pretrained_window_size, convention
        )
        self.norm1 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, hidden)
        self.norm2 = nn.LayerNorm(channels)
        zeros_(self.norm1.weight)
        zeros_(self.norm2.weight)
        self.register_load_state_dict_pre_hook(drop_official_mask)

    def forward(self, x: Tensor, shift_size: Size = 0, kept: Kept | None = None) -> Tensor:
        """(B, H, W, C), any H and W -> same; ``kept`` replaces the random factors of drop path."""
        return compute_block(self, x, shift_size, kept or (self.draw_kept(x), self.draw_kept(x)))


SwinV2Block.kinds = {
    "": SwinV2Block,
    "norm1": nn.LayerNorm,
    "attn": CosineWindowAttention,
    "norm2": nn.LayerNorm,
    "mlp": Mlp,
    "cpb_mlp": nn.Sequential,
    **{number: BIAS_MLP[number] for number in "012"},
    **dict.fromkeys(("qkv", "proj", "fc1", "fc2"), nn.Linear),
}


class SwinV2PatchMerging(Merge):
    """Merges 2x2 tokens into one: concatenate, linear 4C -> 2C without bias, LayerNorm(2C).

    >>> SwinV2PatchMerging(4)(torch.zeros(1, 3, 4, 4)).shape
    torch.Size([1, 2, 2, 8])
    """

    def __init__(
        self,
        channels: int,
        convention: Convention = CANONICAL,
        ways: str = "fast",
        keeping: str | None = None,
    ) -> None:
        """``channels`` are those before the merge; `Merge` says what ``ways`` and ``keeping`` are."""
        super().__init__(ways, keeping)
        self.convention = convention
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C).

        Errors: ``ValueError`` for an odd side that the convention rejects.
        """
        check_merge(x.shape[1:3], self.convention)
        return compute_merge(self, x)


SwinV2PatchMerging.kinds = {"": SwinV2PatchMerging, "norm": nn.LayerNorm, "reduction": nn.Linear}


class SwinV2Stage(Stage):
    """One stage of Swin V2: blocks, the odd ones shifted by floor(M / 2), then the merge if there is one.

    ``drop_path_rates`` has one entry a block.

    >>> stage = SwinV2Stage(8, 2, 2, 4, hidden=32, merge=True, drop_path_rates=(0.0, 0.1))
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
        pretrained_window_size: Size | None = None,
        drop_path_rates: Sequence[float] | None = None,
        convention: Convention = CANONICAL,
        ways: str = "fast",
        keeping: str | None = None,
        decisive: Sides | None = None,
    ) -> None:
        """``hidden`` is the width of the MLPs; without ``drop_path_rates`` nothing is dropped.

        ``window_size`` is that of this stage, which the convention may have fitted to the grid.  ``decisive``
        is the grid that decides the shift, None for that of each call.
        """
        rates = (0.0,) * depth if drop_path_rates is None else drop_path_rates
        blocks = (
            SwinV2Block(
                channels,
                num_heads,
                window_size,
                hidden,
                qkv_bias,
                pretrained_window_size,
                rates[block],
                convention,
                ways,
                keeping,
            )
            for block in range(depth)
        )
        merging = SwinV2PatchMerging(channels, convention, ways, keeping) if merge else None
        super().__init__(blocks, merging, window_size, convention, decisive)


def _drop_official_offsets(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Drops the offsets that an official checkpoint holds, which sizes alone determine, if they are ours."""
    key = f"{prefix}relative_coords_table"
    given = state.pop(key, None)
    if given is None:
        return
    window: Any = module.window_size
    trained: Any = module.pretrained_window_size
    ours = functional_v2.log_spaced_offsets(window, trained, device=given.device)
    found = (
        given.reshape(-1, given.shape[-1]).double().nan_to_num()
    )  # not a number where a window's side is 1
    rounding = 8 * torch.finfo(given.dtype).eps
    if found.shape != ours.shape or not torch.allclose(found, ours, rtol=rounding, atol=rounding):
        raise ValueError(
            f"a checkpoint's offsets are those of its window and pretrained window, {key} holds others: "
            "give pretrained_window_sizes, the window in which each stage was trained"
        )
