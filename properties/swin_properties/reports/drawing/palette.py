"""Colours that colour-blind readers can tell apart (after Okabe and Ito), and ink that is legible on them."""

from __future__ import annotations

REGIONS = ("#eef1f4", "#8fcdf0", "#f3b95f", "#d59ac0")
"""Not carried around; first columns; first rows; both: the number is 2 * rows + columns."""

SHIFTED, REGULAR, CHOSEN = "#1b1f24", "#e0218a", "#d55e00"
BLOCKS = ("#2c7fb8", "#45acc8", "#6cc5c0", "#98d7ba", "#c9eab4", "#f0f8b5")
VISIBLE, HIDDEN = "#ffffff", "#3d4650"
MORE, LESS, SAME = "#e8894a", "#5aa9e0", "#f6f8fa"
ERRORS = ("#f6f8fa", "#fee391", "#fe9929", "#cc4c02", "#662506")

_CIVIDIS = ("#00224e", "#2a3f6d", "#575d6d", "#7d7c78", "#a59c74", "#d2c060", "#fee838")


def find_colour(share: float) -> str:
    """Returns the colour at a share of a scale that grows evenly lighter (cividis).

    >>> find_colour(0.0), find_colour(0.5), find_colour(1.0)
    ('#00224e', '#7d7c78', '#fee838')
    """
    place = min(max(share, 0.0), 1.0) * (len(_CIVIDIS) - 1)
    low = min(int(place), len(_CIVIDIS) - 2)
    mixed = (
        round(a + (b - a) * (place - low))
        for a, b in zip(split_colour(_CIVIDIS[low]), split_colour(_CIVIDIS[low + 1]), strict=True)
    )
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def split_colour(colour: str) -> tuple[int, int, int]:
    """Returns the red, green and blue of ``#rrggbb``."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def compute_contrast(one: str, other: str) -> float:
    """Returns the contrast of two colours, from 1 to 21 (WCAG 2).

    >>> round(compute_contrast("#000000", "#ffffff"))
    21
    """
    dark, light = sorted((_compute_luminance(one), _compute_luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def choose_ink(colour: str) -> str:
    """Returns black or white, whichever is more legible on a colour.

    >>> choose_ink("#fee838"), choose_ink("#00224e")
    ('#1b1f24', '#ffffff')
    """
    return max("#1b1f24", "#ffffff", key=lambda ink: compute_contrast(ink, colour))


def _compute_luminance(colour: str) -> float:
    linear = [
        c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in split_colour(colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
