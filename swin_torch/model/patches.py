"""What makes a coarser grid: patches of an image, and the merge of neighbours.  Grids are (B, H, W, C)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import linear, pad

from swin_torch.blocks.untouched import untouched
from swin_torch.geometry import functional
from swin_torch.geometry.conventions import CANONICAL, Convention, check_merge, image_margin
from swin_torch.geometry.sizes import Size, pair


class PatchMerging(nn.Module):
    """Merges 2x2 tokens into one: concatenate, LayerNorm(4C), linear 4C -> 2C without bias.

    >>> import torch
    >>> PatchMerging(4)(torch.zeros(1, 3, 4, 4)).shape
    torch.Size([1, 2, 2, 8])
    """

    norm_reduce: Callable[..., Tensor]
    """(merged tokens, merging) -> reduced tokens; `swin_torch.fuse` replaces it."""

    def __init__(self, channels: int, convention: Convention = CANONICAL) -> None:
        """``channels`` are those before the merge."""
        super().__init__()
        self.convention = convention
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C).

        Errors: ``ValueError`` for an odd side that the convention rejects.
        """
        check_merge(x.shape[1:3], self.convention)
        return self.norm_reduce(functional.merge_neighbours(x), self)


def norm_reduce(merged: Tensor, merging: PatchMerging) -> Tensor:
    """The norm and the linear layer of a merge."""
    return merging.reduction(merging.norm(merged))


PatchMerging.norm_reduce = staticmethod(norm_reduce)


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
        bottom, right = image_margin(images.shape[2:], self.patch_size, self.convention)
        padded = pad(images, (0, right, 0, bottom)) if bottom or right else images  # below zero it crops
        if not untouched(self.proj, nn.Conv2d, {}):
            return self.norm(self.proj(padded).permute(0, 2, 3, 1))
        # One matmul: a convolution of 3 channels in bfloat16 gave NaN for finite images on CPU, now and then.
        (ph, pw), weight = self.patch_size, self.proj.weight
        patches = padded.unflatten(3, (-1, pw)).unflatten(2, (-1, ph)).permute(0, 2, 4, 1, 3, 5).flatten(3)
        return self.norm(linear(patches, weight.flatten(1), self.proj.bias))
