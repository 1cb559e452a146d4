"""What a convention decides at given sizes: functions of sizes alone.  No arrays."""

from __future__ import annotations

from collections.abc import Sequence

from swin_reference.config import SwinConfig
from swin_reference.conventions import CANONICAL, Convention
from swin_reference.sizes import Size, pair, round_up, window_pair

Grid = Sequence[int]
"""The height and width of an image in pixels, or of a grid in tokens."""


class Rejected(ValueError):
    """The error for sizes that a convention rejects: what it asks for, what came, and the likely fix."""


def pixels_taken(image: Grid, patch_size: Size, convention: Convention) -> tuple[int, int]:
    """Returns the pixels along each axis that become patches, padding included.

    Errors: `Rejected` if the convention rejects the image, or drops all of its pixels.

    >>> from swin_reference.conventions import convention_named
    >>> pixels_taken((9, 8), 4, CANONICAL), pixels_taken((9, 8), 4, convention_named("timm"))
    ((12, 8), (8, 8))
    """
    (height, width), (ph, pw) = image, window_pair(patch_size)
    if convention.image == "pad" or not (height % ph or width % pw):
        return round_up(height, ph), round_up(width, pw)
    taken = height - height % ph, width - width % pw
    if convention.image == "drop" and 0 in taken:
        raise Rejected(
            f"an image holds at least one patch, got {height}x{width} and patch {ph}x{pw}: use a larger one"
        )
    if convention.image == "reject":
        raise Rejected(
            f"the {convention.name} convention takes images of whole patches, got {height}x{width} and patch "
            f"{ph}x{pw}: pad the image to {round_up(height, ph)}x{round_up(width, pw)}"
        )
    return taken


def token_grid(image: Grid, patch_size: Size, convention: Convention) -> tuple[int, int]:
    """Returns the grid of tokens that an image becomes.

    Errors: those of `pixels_taken`.

    >>> from swin_reference.conventions import convention_named
    >>> token_grid((9, 8), 4, CANONICAL), token_grid((9, 8), 4, convention_named("timm"))
    ((3, 2), (2, 2))
    """
    ph, pw = window_pair(patch_size)
    height, width = pixels_taken(image, patch_size, convention)
    return height // ph, width // pw


def stage_window(grid: Grid, window_size: Size, convention: Convention) -> tuple[int, int]:
    """Returns the window of a stage with this grid.

    Errors: `Rejected` for a grid smaller than the window, if the convention rejects it.

    >>> from swin_reference.conventions import convention_named
    >>> stage_window((8, 3), 4, CANONICAL), stage_window((8, 3), 4, convention_named("official"))
    ((4, 4), (3, 3))
    >>> stage_window((8, 3), 4, convention_named("timm"))
    (4, 3)
    """
    (height, width), (mh, mw) = grid, window_pair(window_size)
    if convention.window == "shrink-axis":
        return min(mh, height), min(mw, width)
    if convention.window == "shrink-both" and (height <= mh or width <= mw):
        return min(mh, height, width), min(mw, height, width)
    if convention.window == "shrink-height":
        return min(mh, height), min(mw, height)
    if convention.window == "reject" and (height < mh or width < mw):
        raise Rejected(
            f"the {convention.name} convention takes grids no smaller than the window, got {height}x{width} "
            f"and window {mh}x{mw}: use a larger image or a smaller window"
        )
    return mh, mw


def stage_shift(grid: Grid, window_size: Size, convention: Convention = CANONICAL) -> tuple[int, int]:
    """Returns the shift of a stage's odd blocks: floor(M / 2), or 0 where the convention drops it.

    ``window_size`` is what `stage_window` returns.  (Official code: ``if min(self.input_resolution) <=
    self.window_size``.)

    >>> from swin_reference.conventions import convention_named
    >>> stage_shift((56, 56), 7), stage_shift((7, 14), 7), stage_shift((7, 14), 7, convention_named("timm"))
    ((3, 3), (0, 0), (0, 3))
    """
    (height, width), (mh, mw) = grid, window_pair(window_size)
    tall, wide = height > mh, width > mw
    if convention.shift == "never":
        tall = wide = True
    elif convention.shift == "min":
        tall = wide = tall and wide
    elif convention.shift == "height":
        wide = tall
    return mh // 2 * tall, mw // 2 * wide


def pads_before_roll(grid: Grid, window_size: Size, convention: Convention) -> bool:
    """Returns whether a grid is padded to whole windows before it is rolled, not after.

    Errors: `Rejected` for a grid that is not made of whole windows, if the convention rejects it.

    >>> from swin_reference.conventions import convention_named
    >>> pads_before_roll((9, 9), 4, CANONICAL), pads_before_roll((9, 9), 4, convention_named("timm"))
    (True, False)
    """
    (height, width), (mh, mw) = grid, window_pair(window_size)
    if convention.padding == "reject" and (height % mh or width % mw):
        raise Rejected(
            f"the {convention.name} convention takes grids of whole windows, got {height}x{width} and window "
            f"{mh}x{mw}: use an image that makes {round_up(height, mh)}x{round_up(width, mw)} tokens"
        )
    return convention.padding != "roll-pad"


def padding_before(grid: Grid, window_size: Size, convention: Convention) -> tuple[int, int]:
    """Returns how many rows and columns of padding stand before a grid, at its top and left.

    >>> from swin_reference.conventions import convention_named
    >>> padding_before((9, 6), 4, CANONICAL), padding_before((9, 6), 4, convention_named("pad_side=both"))
    ((0, 0), (1, 1))
    """
    if convention.pad_side == "end":
        return 0, 0
    (height, width), (mh, mw) = grid, window_pair(window_size)
    return (round_up(height, mh) - height) // 2, (round_up(width, mw) - width) // 2


def merged_grid(grid: Grid, convention: Convention) -> tuple[int, int]:
    """Returns the grid after a merge: half of each side, rounded up.

    Errors: `Rejected` for an odd side, if the convention builds the next stage for half of it, rounded down.

    >>> merged_grid((5, 4), CANONICAL)
    (3, 2)
    """
    height, width = grid
    if convention.grid == "built-floor" and (height % 2 or width % 2):
        raise Rejected(
            f"the {convention.name} convention merges grids with even sides, got {height}x{width}: use an "
            "image whose grid is even before each merge"
        )
    return -(-height // 2), -(-width // 2)


def check_image(image: Grid, config: SwinConfig, convention: Convention) -> None:
    """Checks the size of an image.

    Errors: `Rejected` for a size other than ``config.image_size``, if the convention builds networks for one.

    >>> check_image((9, 9), SwinConfig(image_size=8), CANONICAL)
    """
    height, width = image
    if convention.grid in ("built-ceil", "built-floor") and (height, width) != pair(config.image_size):
        raise Rejected(
            f"the {convention.name} convention builds a network for one image size, got {height}x{width} and "
            f"image_size={config.image_size}: make a network with image_size={(height, width)}"
        )


def stage_grids(config: SwinConfig, convention: Convention) -> list[tuple[int, int]]:
    """Returns the token grid of every stage, for images of ``config.image_size``.

    Errors: those of `token_grid` and `merged_grid`.

    >>> stage_grids(SwinConfig(image_size=36), CANONICAL)
    [(9, 9), (5, 5), (3, 3), (2, 2)]
    """
    grids = [token_grid(pair(config.image_size), config.patch_size, convention)]
    while len(grids) < len(config.depths):
        grids.append(merged_grid(grids[-1], convention))
    return grids


def stage_windows(config: SwinConfig, convention: Convention) -> list[tuple[int, int]]:
    """Returns the window of every stage.

    If the convention shrinks windows, they are those for images of ``config.image_size``.  Bias tables have
    the size of these, unless the convention reads a full one (`table_windows`).

    Errors: those of `stage_grids`.

    >>> from swin_reference.conventions import convention_named
    >>> stage_windows(SwinConfig(image_size=64), convention_named("timm"))
    [(7, 7), (7, 7), (4, 4), (2, 2)]
    """
    if convention.window in ("keep", "reject"):
        return list(config.windows)
    grids = stage_grids(config, convention)
    return [
        stage_window(grid, window, convention) for grid, window in zip(grids, config.windows, strict=True)
    ]


def table_windows(config: SwinConfig, convention: Convention) -> list[tuple[int, int]]:
    """Returns the window that the bias tables of every stage are made for.

    Errors: those of `stage_windows`.

    >>> from swin_reference.conventions import convention_named
    >>> table_windows(SwinConfig(image_size=64), convention_named("timm,small_table=first"))
    [(7, 7), (7, 7), (7, 7), (7, 7)]
    """
    if convention.small_table == "first":
        return list(config.windows)
    return stage_windows(config, convention)
