"""What Swin V2 decides at given sizes and V1 does not: functions of sizes alone.  No arrays."""

from __future__ import annotations

from dataclasses import replace

from swin_reference.config import convention_named
from swin_reference.config_v2 import SwinV2Config
from swin_reference.rules import Rejected, stage_windows
from swin_reference.sizes import Size, pair, window_pair


def nominal_grid(config: SwinV2Config, stage: int) -> tuple[int, int]:
    """Returns the grid that a stage is built for: that of ``config.image_size``, each half rounded down.

    Errors: `Rejected` for a grid without a row, in which no window has a size.

    >>> nominal_grid(SwinV2Config(image_size=(72, 64)), 2)
    (4, 4)
    """
    (height, width), (ph, pw) = pair(config.image_size), window_pair(config.patch_size)
    grid = height // ph >> stage, width // pw >> stage
    if not grid[0]:
        raise Rejected(
            f"the {config.convention} convention builds stages whose grids, halved and rounded down, have a "
            f"row, got image_size={config.image_size} and stage {stage}: use a higher image, or fewer stages"
        )
    return grid


def move_to_window(config: SwinV2Config, window_size: Size) -> SwinV2Config:
    """Returns the configuration under which the same weights are used in another window.

    V2's weights do not depend on the window: each stage keeps the window in which they were trained.

    Errors: ``ValueError`` for weights that were trained in a window which is not square.

    >>> move_to_window(SwinV2Config(window_size=8), 16).pretrained_window_sizes
    (8, 8, 8, 8)
    """
    trained = list(config.pretrained_window_sizes or (0,) * len(config.depths))
    for stage, (height, width) in enumerate(stage_windows(config, convention_named(config.convention))):
        if not trained[stage] and height != width:
            raise ValueError(
                f"weights move to another window from a square one, got {height}x{width} in stage {stage}: "
                "give pretrained_window_sizes"
            )
        trained[stage] = trained[stage] or height
    return replace(config, window_size=window_size, pretrained_window_sizes=tuple(trained))
