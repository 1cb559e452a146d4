"""Conventions: the choices in which public implementations differ, as data.  No mathematics.

All implementations agree if the image is made of whole patches, and each stage's grid is a multiple of the
window, is larger than the window on both axes, and has even sides before a merge.  At other sizes they differ
in the decisions of this page.  Their masks add other numbers, which large logits show.  Those of Swin V2 also
differ in how they round two constants.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
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
        "height": "the shift is dropped on both axes once the grid's height is no longer than the window",
    },
    "window": {
        "keep": "a window keeps its size on a smaller grid, which is padded",
        "shrink-both": "a window shrinks to the grid's smaller side on both axes, and its bias table too",
        "shrink-axis": "a window shrinks to the grid on each axis by itself, and its bias table too",
        "reject": "a grid smaller than the window is rejected",
        "shrink-height": "a window shrinks to the grid's height on both axes",
    },
    "padding": {
        "pad-roll": "a grid is padded to whole windows, then rolled",
        "roll-pad": "a grid is rolled, then padded to whole windows, under the padded grid's mask",
        "reject": "a grid that is not made of whole windows is rejected",
    },
    "grid": {
        "run-time": "padding, shift and window are decided from the grid of each call",
        "built-ceil": "they are decided for one image size, halves rounded up; others are rejected",
        "built-floor": "they are decided for one image size; others, and odd sides before a merge, "
        "are rejected",
        "built-nominal": "windows and shifts of Swin V2 are decided for one image size, halves rounded down; "
        "images of other sizes are taken",
    },
    "offsets": {
        "exact": "the offsets of Swin V2's position bias are computed in the precision of everything else",
        "float32": "the offsets of Swin V2's position bias are computed in float32, whatever the precision",
    },
    "clamp": {
        "exact": "the logit scale of Swin V2 is clamped to log 100",
        "float32": "the logit scale of Swin V2 is clamped to log 100 rounded to float32",
    },
    "padded_keys": {
        "attend": "tokens of padding are keys like others",
        "hidden": "tokens of padding are hidden from the others",
    },
    "pad_side": {
        "end": "a grid is padded at the bottom and right",
        "both": "a grid is padded on both sides, with the larger half at the bottom and right",
    },
    "small_table": {
        "centre": "a window that shrinks looks its offsets up in the middle of the full bias table",
        "first": "a window that shrinks takes the biases of the full window's first tokens",
    },
}
"""The decisions: for each, its values, and what each value means."""


@dataclass(frozen=True)
class Convention:
    """A value for each of the `DECISIONS`, and the number that the mask adds to a hidden logit.

    Errors: ``ValueError`` for a value that a decision does not have, or a ``mask_value`` that is not
    negative.

    >>> CONVENTIONS["timm"].padding
    'roll-pad'
    """

    name: str
    image: str = "pad"
    shift: str = "min"
    window: str = "keep"
    padding: str = "pad-roll"
    grid: str = "run-time"
    mask_value: float = -inf
    offsets: str = "exact"
    clamp: str = "exact"
    padded_keys: str = "attend"
    pad_side: str = "end"
    small_table: str = "centre"

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
        Convention("official", "drop", "min", "shrink-both", "reject", "built-floor", -100.0),
        Convention("detection", shift="never", mask_value=-100.0),
        Convention("torchvision", "drop", "axis", mask_value=-100.0),
        Convention("timm", "drop", "axis", "shrink-axis", "roll-pad", "built-ceil", -100.0),
        Convention("transformers", window="reject", mask_value=-100.0),
    )
}
"""The named conventions: canonical, this project's default, and those of public PyTorch implementations.

official is Microsoft's code for classification, detection is Microsoft's code for detection and segmentation.
"""

CANONICAL = CONVENTIONS["canonical"]

CONVENTIONS_V2: dict[str, Convention] = {
    convention.name: convention
    for convention in (
        CANONICAL,
        replace(CONVENTIONS["official"], name="official-v2", offsets="float32", clamp="float32"),
        replace(CONVENTIONS["torchvision"], name="torchvision-v2", offsets="float32"),
        replace(CONVENTIONS["timm"], name="timm-v2", offsets="float32"),
        Convention(
            "transformers-v2",
            "pad",
            "height",
            "shrink-height",
            "pad-roll",
            "built-nominal",
            -200.0,
            "float32",
        ),
    )
}
"""The named conventions of Swin V2: those of V1 with other constants, but for that of transformers."""

NAMED = CONVENTIONS | CONVENTIONS_V2
"""The named conventions of either version."""


def convention_named(name: str | Convention) -> Convention:
    """Returns the convention with this name, or a name with changes: ``timm,shift=never``.

    Without a name the changes are to canonical: ``image=drop,mask_value=-100``.  A convention that
    is none of the named ones gets a name by its changes.

    Errors: ``ValueError`` in one sentence for an unknown name, decision or value.

    >>> convention_named("timm").grid
    'built-ceil'
    >>> convention_named("timm,shift=never").shift
    'never'
    """
    if isinstance(name, Convention):
        return name if name == NAMED.get(name.name) else convention_named(write_convention(name))
    if not isinstance(name, str):
        raise ValueError(f"a convention is a name, got {name!r}: use one of {', '.join(NAMED)}")
    if name in NAMED:
        return NAMED[name]
    first, *changes = name.split(",")
    if "=" in first:
        first, changes = CANONICAL.name, [first, *changes]
    if first not in NAMED:
        hint = nearest(first, NAMED)
        raise ValueError(f"a convention is one of {', '.join(NAMED)}, got {first!r}: use {hint}")
    values: dict[str, Any] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or key not in (*DECISIONS, "mask_value") or key in values:
            raise ValueError(
                f"a convention's changes are to {', '.join(DECISIONS)} or mask_value, each once, got "
                f"{change!r}: write decision=value"
            )
        values[key] = _read_number(value) if key == "mask_value" else value
    return replace(NAMED[first], name=name, **values)


def _read_number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"a mask adds a number, got mask_value={word}: use -inf or -100") from None


def write_convention(convention: Convention) -> str:
    """Returns the name by which `convention_named` returns a convention: that of the nearest, with changes.

    >>> write_convention(Convention("mine", shift="never", mask_value=-100.0))
    'detection'
    >>> write_convention(Convention("mine", "drop", shift="never"))
    'canonical,image=drop,shift=never'
    """
    changes = {name: differences(named, convention) for name, named in NAMED.items()}
    nearest_name = min(changes, key=lambda name: len(changes[name]))
    return ",".join([nearest_name, *(f"{key}={value}" for key, value in changes[nearest_name].items())])


def nearest(word: str, words: Any) -> str:
    """Returns the word of a list that is nearest to a mistyped one, quoted; if none is near, "a listed name".

    >>> nearest("tim", ["timm", "official"])
    "'timm'"
    """
    from difflib import get_close_matches

    close = get_close_matches(word, list(words), 1)
    return repr(close[0]) if close else "a listed name"


def keep_constants(convention: Convention) -> Convention:
    """Returns the canonical convention with another's decisions on constants.

    >>> keep_constants(NAMED["timm-v2"]).offsets
    'float32'
    """
    return replace(CANONICAL, offsets=convention.offsets, clamp=convention.clamp)


def differences(one: Convention, other: Convention) -> dict[str, str]:
    """Returns the fields in which two conventions differ, with the values of the second.

    >>> differences(CONVENTIONS["canonical"], CONVENTIONS["detection"])
    {'shift': 'never', 'mask_value': -100.0}
    """
    keys = [field.name for field in fields(Convention) if field.name != "name"]
    return {key: getattr(other, key) for key in keys if getattr(one, key) != getattr(other, key)}
