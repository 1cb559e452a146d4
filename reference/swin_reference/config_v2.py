"""Configurations of Swin V2: those of Swin, and the windows in which the weights were trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from swin_reference.config import SwinConfig as SwinConfig
from swin_reference.sizes import Size, Windows


@dataclass(frozen=True)
class SwinV2Config(SwinConfig):
    """The sizes of one Swin Transformer V2; they are checked when it is made.

    ``pretrained_window_sizes`` has the window of each stage in which the weights were trained, 0 or nothing
    for the window that is used.  The rest is as in `SwinConfig`; there is no ``qk_scale``.

    Errors: ``ValueError`` for sizes that do not fit each other.

    >>> SwinV2Config(window_size=24, pretrained_window_sizes=(12, 12, 12, 6)).pretrained_window(3)
    6
    """

    image_size: Size = 256
    window_size: Windows = 8
    pretrained_window_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretrained_window_sizes and len(self.pretrained_window_sizes) != len(self.depths):
            raise ValueError(
                "pretrained_window_sizes has one entry for each stage, got "
                f"{len(self.pretrained_window_sizes)} for {len(self.depths)} stages: give each one"
            )
        if min(self.pretrained_window_sizes, default=0) < 0:
            raise ValueError(
                f"a window has a token, got pretrained_window_sizes={self.pretrained_window_sizes}: "
                "use positive integers, or 0 for the window that is used"
            )
        if self.qk_scale is not None:
            raise ValueError(
                f"Swin V2 has a logit scale for each head and no qk_scale, got qk_scale={self.qk_scale}: "
                "leave it out"
            )

    def pretrained_window(self, stage: int) -> int | None:
        """Returns the window in which a stage's weights were trained; None if it is the one that is used."""
        return self.pretrained_window_sizes[stage] or None if self.pretrained_window_sizes else None


swin_v2_t = SwinV2Config()
swin_v2_s = replace(swin_v2_t, depths=(2, 2, 18, 2))
swin_v2_b = replace(swin_v2_s, embed_dim=128, num_heads=(4, 8, 16, 32))
swin_v2_l = replace(swin_v2_s, embed_dim=192, num_heads=(6, 12, 24, 48), image_size=192, window_size=12)

NAMED_V2 = {"swin_v2_t": swin_v2_t, "swin_v2_s": swin_v2_s, "swin_v2_b": swin_v2_b, "swin_v2_l": swin_v2_l}
"""The configurations of the paper, by name; of T, S and B those with windows of 8."""
