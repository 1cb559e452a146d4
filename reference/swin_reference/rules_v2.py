"""What a convention of Swin V2 decides at given sizes, where V1's do not: functions of sizes alone.  No arrays."""

from __future__ import annotations

from swin_reference.config_v2 import SwinV2Config
from swin_reference.rules import Rejected
from swin_reference.sizes import pair, window_pair


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
