"""Conventions: what public implementations decide differently at awkward sizes, as data.  No mathematics.

Where every stage's grid is a multiple of the window, larger than it on both axes, and even before each
merge, all of them agree.  Elsewhere they split along the five decisions that are the fields here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf
from typing import Any

DECISIONS: dict[str, dict[str, str]] = {
    "image": {
        "pad": "an image that is no multiple of the patch is padded with zeros at the bottom and right",
        "drop": "rows and columns of the image that fill no patch are dropped",
        "reject": "an image that is no multiple of the patch is rejected",
    },
    "shift": {
        "min": "the shift is dropped on both axes once one axis of the grid is no longer than its window",
        "axis": "the shift is dropped on each axis that is no longer than its window",
        "never": "the shift is never dropped",
    },
    "window": {
        "keep": "a window keeps its size on a smaller grid, which is padded",
        "shrink both": "a window shrinks to the grid's smaller side on both axes, and its bias table too",
        "shrink axis": "a window shrinks to the grid on each axis by itself, and its bias table too",
        "reject": "a grid smaller than the window is rejected",
    },
    "padding": {
        "pad, roll": "a grid is padded to whole windows, then rolled",
        "roll, pad": "a grid is rolled, then padded to whole windows, under the padded grid's mask",
        "reject": "a grid that is not made of whole windows is rejected",
    },
    "grid": {
        "run time": "all this is decided from the grid at hand",
        "built for, ceil": "all this is decided for one image size, halves rounded up; others are rejected",
        "built for, floor": "all this is decided for one image size; others, and odd sides before a merge, "
        "are rejected",
    },
}
"""The five decisions, and in words what each of their values means."""


@dataclass(frozen=True)
class Convention:
    """One value for each of the five `DECISIONS`, and what the mask adds to the logits it hides.

    Errors: ``ValueError`` for a value that a decision does not have, or a mask that adds no negative number.

    >>> CONVENTIONS["timm"].padding
    'roll, pad'
    """

    name: str
    image: str = "pad"
    shift: str = "min"
    window: str = "keep"
    padding: str = "pad, roll"
    grid: str = "run time"
    mask_value: float = -inf

    def __post_init__(self) -> None:
        for decision, values in DECISIONS.items():
            if getattr(self, decision) not in values:
                raise ValueError(
                    f"{decision} is decided as one of {', '.join(map(repr, values))}, got "
                    f"{getattr(self, decision)!r}: use one of these"
                )
        if not self.mask_value < 0:
            raise ValueError(f"a mask adds a negative number, got mask_value={self.mask_value}: use -inf")


CONVENTIONS: dict[str, Convention] = {
    convention.name: convention
    for convention in (
        Convention("canonical"),
        Convention("official", "drop", "min", "shrink both", "reject", "built for, floor", -100.0),
        Convention("detection", shift="never", mask_value=-100.0),
        Convention("torchvision", "drop", "axis", mask_value=-100.0),
        Convention("timm", "drop", "axis", "shrink axis", "roll, pad", "built for, ceil", -100.0),
        Convention("transformers", window="reject", mask_value=-100.0),
    )
}
"""The named conventions: this project's own default, and those of the public PyTorch implementations.

official is microsoft's classification code, detection its object detection and segmentation code.
"""

CANONICAL = CONVENTIONS["canonical"]


def convention_named(name: str) -> Convention:
    """The convention of a name.

    Errors: ``ValueError`` listing the names, and the near one first, for an unknown name.

    >>> convention_named("timm").grid
    'built for, ceil'
    """
    if name not in CONVENTIONS:
        raise ValueError(
            f"a convention is one of {', '.join(CONVENTIONS)}, got {name!r}: use {nearest(name, CONVENTIONS)}"
        )
    return CONVENTIONS[name]


def nearest(word: str, words: Any) -> str:
    """The listed word that a mistyped one is nearest to, or the advice to take a listed one.

    >>> nearest("tim", ["timm", "official"])
    "'timm'"
    """
    from difflib import get_close_matches

    close = get_close_matches(word, list(words), 1)
    return repr(close[0]) if close else "a listed name"


def differences(one: Convention, other: Convention) -> dict[str, str]:
    """The fields on which two conventions differ, with the second one's values.

    >>> differences(CONVENTIONS["canonical"], CONVENTIONS["detection"])
    {'shift': 'never', 'mask_value': -100.0}
    """
    keys = [field.name for field in fields(Convention) if field.name != "name"]
    return {key: getattr(other, key) for key in keys if getattr(one, key) != getattr(other, key)}
