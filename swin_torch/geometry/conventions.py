"""What a convention decides at given sizes, for the modules: plain integers in and out.

The oracle decides the same in code of its own: it shares no code with what it judges.
"""

from __future__ import annotations

from collections.abc import Sequence

from swin_reference.config import CONVENTIONS, SwinConfig, convention_named
from swin_reference.config import Convention as Convention
from swin_reference.config_v2 import SwinV2Config

from swin_torch.geometry.sizes import Size, check_window, find_missing, pair

CANONICAL = CONVENTIONS["canonical"]

Sides = Sequence[int]
"""Height and width, in pixels or tokens."""


def write_sides(sides: Sides) -> str:
    """Returns sides as people write them.

    >>> write_sides((9, 8))
    '9x8'
    """
    return "x".join(map(str, sides))


def take_convention(name: str | Convention) -> Convention:
    """Returns the convention of a name, if the modules compute under it.

    Errors: ``ValueError`` for an unknown convention, and for a decision that no module takes.

    >>> take_convention("timm").padding
    'roll-pad'
    """
    convention = convention_named(name)
    for decision in ("padded_keys", "pad_side", "small_table"):
        own, asked = getattr(CANONICAL, decision), getattr(convention, decision)
        if asked != own:
            raise ValueError(
                f"swin_torch computes with {decision}={own}, got {decision}={asked}: leave it out, or use "
                "swin_reference"
            )
    return convention


def find_image_margin(image: Sides, patch_size: Size, convention: Convention) -> tuple[int, int]:
    """Returns how many rows and columns to add at the bottom and right of an image; negative, to drop.

    Errors: ``ValueError`` for an image that the convention rejects, or that holds no whole patch to keep.

    >>> find_image_margin((9, 8), 4, CANONICAL), find_image_margin((9, 8), 4, CONVENTIONS["timm"])
    ((3, 0), (-1, 0))
    """
    bottom, right = find_missing(image[0], image[1], patch_size)
    if not (bottom or right) or convention.image == "pad":
        return bottom, right
    (height, width), (ph, pw) = image, pair(patch_size)
    if convention.image == "drop" and (height < ph or width < pw):
        raise ValueError(
            f"an image holds at least one patch of {ph}x{pw}, got {write_sides(image)}: use a larger one"
        )
    if convention.image == "reject":
        raise ValueError(
            f"an image is made of whole patches of {ph}x{pw} under {convention.name}, got "
            f"{write_sides(image)}: resize or pad it to {height + bottom}x{width + right}"
        )
    return -(height % ph), -(width % pw)


def fit_window(grid: Sides, window_size: Size, convention: Convention) -> tuple[int, int]:
    """Returns the window of a stage on a grid, which may be smaller than the configured window.

    Errors: ``ValueError`` for a grid below the window where the convention rejects it.

    >>> fit_window((8, 3), 4, CANONICAL), fit_window((8, 3), 4, CONVENTIONS["timm"])
    ((4, 4), (4, 3))
    """
    window = check_window(window_size)
    if convention.window == "keep":
        return window
    small = [side < m for side, m in zip(grid, window, strict=True)]
    if convention.window == "reject":
        if any(small):
            raise ValueError(
                f"a grid holds at least one window under {convention.name}, got {write_sides(grid)} "
                f"and window {write_sides(window)}: use a larger image or a smaller window"
            )
        return window
    if convention.window == "shrink-axis":
        limits = tuple(grid)
    elif convention.window == "shrink-height":
        limits = (grid[0],) * 2
    elif any(small) or any(side == m for side, m in zip(grid, window, strict=True)):
        limits = (min(grid),) * 2
    else:
        return window
    return min(window[0], limits[0]), min(window[1], limits[1])


def fit_shift(grid: Sides, window: tuple[int, int], convention: Convention) -> tuple[int, int]:
    """Returns the shift of the odd blocks of a stage: half the window, rounded down, or 0 if dropped.

    >>> fit_shift((56, 56), (7, 7), CANONICAL), fit_shift((7, 14), (7, 7), CANONICAL)
    ((3, 3), (0, 0))
    >>> fit_shift((7, 14), (7, 7), CONVENTIONS["torchvision"])
    (0, 3)
    """
    halves = window[0] // 2, window[1] // 2
    if convention.shift == "never":
        return halves
    several = [side > m for side, m in zip(grid, window, strict=True)]
    if convention.shift == "height":
        return halves if several[0] else (0, 0)
    if convention.shift == "min":
        return halves if all(several) else (0, 0)
    return (halves[0] if several[0] else 0), (halves[1] if several[1] else 0)


def find_margins(grid: Sides, window: tuple[int, int], convention: Convention) -> tuple[Sides, Sides]:
    """Returns how many rows and columns to pad a grid by before the roll, and after it.

    Errors: ``ValueError`` for a grid that is not whole windows where the convention rejects it.

    >>> find_margins((9, 8), (4, 4), CANONICAL), find_margins((9, 8), (4, 4), CONVENTIONS["timm"])
    (((3, 0), (0, 0)), ((0, 0), (3, 0)))
    """
    lacking = find_missing(grid[0], grid[1], window)
    if any(lacking) and convention.padding == "reject":
        raise ValueError(
            f"a grid is made of whole windows of {write_sides(window)} under {convention.name}, got "
            f"{write_sides(grid)}: use an image whose grids are multiples of the window in every stage"
        )
    none = (0, 0)
    return (none, lacking) if convention.padding == "roll-pad" else (lacking, none)


def check_merge(grid: Sides, convention: Convention) -> None:
    """Checks that a grid may be merged.

    Errors: ``ValueError`` for an odd side, if the next stage is built for half of it rounded down.

    >>> check_merge((5, 4), CANONICAL)
    """
    if convention.grid == "built-floor" and any(side % 2 for side in grid):
        raise ValueError(
            f"a grid has even sides before a merge under {convention.name}, got "
            f"{write_sides(grid)}: use an image whose grids halve evenly"
        )


def takes_one_size(convention: Convention) -> bool:
    """Tells whether a network takes images of one size only, that which it is built for.

    >>> takes_one_size(convention_named("timm")), takes_one_size(CANONICAL)
    (True, False)
    """
    return convention.grid in ("built-ceil", "built-floor")


def check_image(image: Sides, config: SwinConfig, convention: Convention) -> None:
    """Checks that a network was built for an image of this size, where the convention builds it for one size.

    Errors: ``ValueError`` for another size.

    >>> check_image((9, 9), SwinConfig(image_size=8), CANONICAL)
    """
    built_for = pair(config.image_size)
    if takes_one_size(convention) and tuple(image) != built_for:
        raise ValueError(
            f"a network is built for one image size under {convention.name}, got "
            f"{write_sides(image)} and one for {write_sides(built_for)}: build it with that image_size"
        )


def find_grids(image: Sides, config: SwinConfig, convention: Convention) -> list[tuple[int, int]]:
    """Returns the grid of every stage for images of a size.

    >>> find_grids((36, 36), SwinConfig(), CANONICAL)
    [(9, 9), (5, 5), (3, 3), (2, 2)]
    """
    ph, pw = pair(config.patch_size)
    bottom, right = find_image_margin(image, config.patch_size, convention)
    found = [((image[0] + bottom) // ph, (image[1] + right) // pw)]
    for _ in config.depths[1:]:
        check_merge(found[-1], convention)
        found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
    return found


def find_nominal_grid(config: SwinV2Config, stage: int, convention: Convention) -> tuple[int, int] | None:
    """Returns the grid that decides the window and the shift of a stage of Swin V2; None for that at hand.

    It is the configuration's grid of patches, halved for each stage before and rounded down each time.

    Errors: ``ValueError`` for a grid without a row, to which no window fits.

    >>> find_nominal_grid(SwinV2Config(image_size=(72, 64)), 2, convention_named("transformers-v2"))
    (4, 4)
    """
    if convention.grid != "built-nominal":
        return None
    (height, width), (ph, pw) = pair(config.image_size), pair(config.patch_size)
    rows, columns = height // (ph << stage), width // (pw << stage)
    if not rows:
        raise ValueError(
            f"the grid that a stage is built for has a row under {convention.name}, got "
            f"image_size={config.image_size} and stage {stage}: use a higher image, or fewer stages"
        )
    return rows, columns
