"""The sizes of real networks: each large by itself while the others are small, and a stage's all at once."""

from __future__ import annotations

from dataclasses import dataclass

from swin_properties.cases.case import GridCase, NetCase
from swin_properties.cases.case_v2 import NetV2Case

Pair = tuple[int, int]


@dataclass(frozen=True)
class Large:
    """Sizes that a drawn case must have; None and 0 leave them to be drawn."""

    window: Pair | None = None
    grid: Pair | None = None
    heads: int = 0
    head_dim: int = 0
    windows: int = 0


NONE_LARGE = Large()

ONE_AT_A_TIME = {
    "window 7x7": Large(window=(7, 7)),
    "window 8x8": Large(window=(8, 8)),
    "window 9x8": Large(window=(9, 8)),
    "window 12x12": Large(window=(12, 12)),
    "window 16x16": Large(window=(16, 16)),
    "4 heads": Large(heads=4),
    "8 heads": Large(heads=8),
    "32 heads": Large(heads=32),
    "head dimension 32": Large(head_dim=32),
    "head dimension 33": Large(head_dim=33),
    "head dimension 64": Large(head_dim=64),
    "96 channels": Large(heads=3, head_dim=32),
    "1024 channels": Large(heads=32, head_dim=32),
    "grid 56x56": Large(grid=(56, 56)),
    "grid 50x38": Large(grid=(50, 38)),
    "4097 windows": Large(window=(1, 2), windows=4097),
}
"""By name, what is large: windows of up to 64 tokens, of more, and of more than 128; the heads, their
dimensions and the channels of real networks; whole grids and one that no window divides; more windows than
4096."""

MOST_CHANNELS = "1024 channels"
"""The size that takes longest: up to default effort only laws that compare with the oracle are asked it."""

AT_ONCE = {
    "stage 1 of Swin-T": GridCase(grid=(56, 56), window=(7, 7), shift=(3, 3), heads=3, head_dim=32),
    "stage 2 of Swin-T": GridCase(grid=(28, 28), window=(7, 7), shift=(3, 3), heads=6, head_dim=32),
    "stage 3 of Swin-T": GridCase(grid=(14, 14), window=(7, 7), shift=(3, 3), heads=12, head_dim=32),
    "stage 4 of Swin-T": GridCase(grid=(7, 7), window=(7, 7), heads=24, head_dim=32),
    "stage 3 of Swin-B at 384": GridCase(grid=(24, 24), window=(12, 12), shift=(6, 6), heads=16, head_dim=32),
    "a padded grid": GridCase(grid=(50, 38), window=(7, 7), shift=(3, 3), heads=2, head_dim=32),
    "65537 windows": GridCase(batch=65537, grid=(1, 2), window=(1, 2), head_dim=4),
}
"""The sizes of real stages, all at once, and more windows than a GPU starts along one axis."""

SWIN_T = NetCase(
    image=(224, 224),
    patch=(4, 4),
    window=(7, 7),
    depths=(2, 2, 6, 2),
    heads=(3, 6, 12, 24),
    embed_dim=96,
    classes=1000,
)

SWIN_V2_T = NetV2Case(
    image=(256, 256),
    patch=(4, 4),
    window=(8, 8),
    depths=(2, 2, 6, 2),
    heads=(3, 6, 12, 24),
    embed_dim=96,
    classes=1000,
)
