"""The patches of an image, and the merge of neighbouring tokens.  Grids are (B, H, W, C)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from swin_torch.backends import triton
from swin_torch.blocks import norms, recompute
from swin_torch.blocks.parts import Merge
from swin_torch.blocks.touched import Kinds, find_touch
from swin_torch.blocks.ways import compute_merge
from swin_torch.geometry.conventions import CANONICAL, Convention, check_merge, find_image_margin
from swin_torch.geometry.exported import is_in_a_graph
from swin_torch.geometry.sizes import Size, pair

CONVOLUTION: Kinds = {"": nn.Conv2d}
NORM: Kinds = {"": nn.LayerNorm}


class PatchMerging(Merge):
    """Merges 2x2 tokens into one: concatenate, LayerNorm(4C), linear 4C -> 2C without bias.

    >>> import torch
    >>> PatchMerging(4)(torch.zeros(1, 3, 4, 4)).shape
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
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C).

        Errors: ``ValueError`` for an odd side that the convention rejects.
        """
        check_merge(x.shape[1:3], self.convention)
        return compute_merge(self, x)


PatchMerging.kinds = {"": PatchMerging, "norm": nn.LayerNorm, "reduction": nn.Linear}


class PatchEmbed(nn.Module):
    """Cuts images into patches and embeds each: a convolution with kernel and stride p, then a norm.

    >>> import torch
    >>> PatchEmbed(8, patch_size=4)(torch.zeros(1, 3, 8, 9)).shape
    torch.Size([1, 2, 3, 8])
    """

    def __init__(
        self,
        channels: int,
        patch_size: Size,
        in_channels: int = 3,
        norm: bool = True,
        convention: Convention = CANONICAL,
    ) -> None:
        """``channels`` are those of a token, ``in_channels`` those of a pixel."""
        super().__init__()
        self.convention = convention
        self.patch_size = pair(patch_size)
        self.proj = nn.Conv2d(in_channels, channels, self.patch_size, self.patch_size)
        self.norm = nn.LayerNorm(channels) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """(B, colours, H, W), padded to whole patches or cropped -> (B, H/p, W/p, C).

        Errors: ``ValueError`` for an image that the convention rejects.
        """
        bottom, right = find_image_margin(images.shape[2:], self.patch_size, self.convention)
        padded = pad(images, (0, right, 0, bottom)) if bottom or right else images  # below zero it crops
        if find_touch(self.proj, CONVOLUTION) is not None:
            return self.norm(self.proj(padded).permute(0, 2, 3, 1))
        # One matmul: on CPUs a convolution of 3 channels in bfloat16 sometimes gave NaN for finite images.
        (ph, pw), weight = self.patch_size, self.proj.weight
        patches = padded.unflatten(3, (-1, pw)).unflatten(2, (-1, ph)).permute(0, 2, 4, 1, 3, 5).flatten(3)
        tokens = linear(patches, weight.flatten(1), self.proj.bias)
        return self._normalize(tokens)

    def _normalize(self, tokens: Tensor) -> Tensor:
        norm = self.norm
        if is_in_a_graph() or not isinstance(norm, nn.LayerNorm) or find_touch(norm, NORM) is not None:
            return norm(tokens)
        layer = norm.weight, norm.bias, norm.eps
        if not torch.is_grad_enabled():
            return norms.norm(tokens, *layer)
        by_kernel = triton.is_asked_for(tokens) and triton.takes_norm(tokens, norm.weight, norm.bias)
        return recompute.norm(tokens, *layer) if by_kernel else norm(tokens)
