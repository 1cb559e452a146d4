"""Makes the elements of a picture, all by one function, so that all text is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

FONT = "Helvetica, Arial, sans-serif"
INK, FAINT, PAPER = "#1b1f24", "#57606a", "#ffffff"
LETTER = 0.56
"""The width of a letter divided by the font size, rather too large than too small."""


def make_tag(name: str, *children: Element | str, **attributes: object) -> Element:
    """Returns an element; ``_`` in an attribute's name is written ``-``, and dropped at the end.

    >>> ElementTree.tostring(make_tag("text", "a < b", text_anchor="end", x=1.50, class_="note"))
    b'<text text-anchor="end" x="1.5" class="note">a &lt; b</text>'
    """
    element = Element(
        name, {key.strip("_").replace("_", "-"): _write_value(v) for key, v in attributes.items()}
    )
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + clean(child)
        else:
            element.text = (element.text or "") + clean(child)
    return element


def clean(text: str) -> str:
    """Returns a text without control characters and halves of surrogate pairs.

    >>> clean("red: \\x1b[31m")
    'red: \\ufffd[31m'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def write_number(value: float) -> str:
    """Returns a number with at most two decimals.

    >>> write_number(3.0), write_number(0.128)
    ('3', '0.13')
    """
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


def _write_value(value: object) -> str:
    return write_number(value) if isinstance(value, (int, float)) else clean(str(value))


def make_label(
    text: str, x: float, y: float, size: float = 12, fill: str = INK, **attributes: object
) -> Element:
    """Returns one line of text with its baseline at (x, y)."""
    return make_tag("text", text, x=x, y=y, font_size=size, fill=fill, **attributes)


def group(parts: Iterable[Element], x: float = 0, y: float = 0) -> Element:
    """Returns parts moved to (x, y)."""
    return make_tag("g", *parts, transform=f"translate({write_number(x)} {write_number(y)})")


def estimate_width(text: str, size: float) -> float:
    """Returns the width of a line of text, rather too large than too small.

    >>> round(estimate_width("window", 10), 1)
    33.6
    """
    return len(text) * size * LETTER


def split_lines(text: str, width: float, size: float) -> list[str]:
    """Returns a text in lines that fit a width.

    >>> split_lines("true shifted window", 65, 10)
    ['true', 'shifted', 'window']
    """
    return wrap(text, max(8, int(width / size / LETTER)))


def make_paragraph(
    text: str, x: float, y: float, width: float, size: float, **attributes: object
) -> list[Element]:
    """Returns a text in as many lines as the width needs; the baseline of the first is at y."""
    return [
        make_label(line, x, y + 1.35 * size * row, size, **attributes)  # type: ignore[arg-type]
        for row, line in enumerate(split_lines(text, width, size))
    ]


def make_document(picture: Element) -> str:
    """Returns a picture as the text of an SVG file."""
    picture.set("xmlns", "http://www.w3.org/2000/svg")
    ElementTree.indent(picture)
    return ElementTree.tostring(picture, encoding="unicode") + "\n"
