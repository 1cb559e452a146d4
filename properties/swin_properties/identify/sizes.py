"""The sizes that separate conventions: one small network each."""

from __future__ import annotations

from dataclasses import dataclass

from swin_reference.config import SwinConfig, swin_t
from swin_reference.config_v2 import SwinV2Config


@dataclass(frozen=True)
class SmallNetwork:
    """One network of the sweep: an image in pixels, patch 2, and a window in tokens."""

    image: tuple[int, int]
    window: int = 4
    recipe: str = "generic"

    def __str__(self) -> str:
        return "x".join(map(str, self.image)) + (f" window {self.window}" if self.window != 4 else "")

    @property
    def config(self) -> SwinConfig:
        """Three stages, small enough to run in milliseconds, with logits enough for a budget."""
        return SwinConfig(
            image_size=self.image,
            patch_size=2,
            embed_dim=16,
            depths=(2, 2, 2),
            num_heads=(2, 4, 4),
            window_size=self.window,
            num_classes=1000,
        )

    @property
    def config_v2(self) -> SwinV2Config:
        """The configuration of a Swin V2 of the same sizes."""
        return SwinV2Config(**vars(self.config))


@dataclass(frozen=True)
class OnlyNetwork(SmallNetwork):
    """The one network of an implementation that has no other."""

    only: SwinConfig = swin_t

    @property
    def config(self) -> SwinConfig:
        """The configuration of the network."""
        return self.only


SWEEP = tuple(
    SmallNetwork((int(height), int(width)), window)
    for window, images in {
        4: "64x64 32x32 64x32 32x64 48x48 40x40 36x36 34x34 38x38 40x32 30x30 33x33 31x37 24x24 18x18 20x28 "
        "16x16 8x8 20x20 10x8 16x8 6x6 12x12",
        7: "40x40",
    }.items()
    for height, width in (image.split("x") for image in images.split())
)
"""Images that separate the conventions, and grids that they agree on by accident or nearly."""

FEW = tuple(
    network for network in SWEEP if network.image in ((32, 32), (16, 8), (18, 18), (33, 33), (12, 12))
)
"""The images that tell the named conventions apart in a second or two."""

PEAKED = SmallNetwork((64, 64), recipe="peaked")
"""A network of whole windows whose logits are far apart: a mask of -100 lets other regions be seen."""
