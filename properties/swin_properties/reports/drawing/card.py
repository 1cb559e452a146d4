"""Draws a picture as a white card: a title, panels side by side, a legend, and a caption of one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np

from swin_properties.reports.drawing import grid
from swin_properties.reports.drawing.svg import (
    FAINT,
    FONT,
    INK,
    PAPER,
    group,
    label,
    lines,
    paragraph,
    tag,
    width_of,
)

MARGIN, GAP = 24.0, 32.0
TITLE, HEADING, NOTE = 18.0, 13.0, 12.0


@dataclass(frozen=True)
class Panel:
    """One drawing of a picture, with its size; ``left`` and ``above`` are the space for its rulers."""

    heading: str
    width: float
    height: float
    parts: list[Element]
    note: str = ""
    left: float = 0
    above: float = 0

    @property
    def box(self) -> float:
        """Returns the width of the panel, which is at least enough for its words."""
        return max(self.left + self.width, 210.0)

    def drawn(self, width: float) -> tuple[list[Element], float]:
        """Returns the panel, drawn at the origin, and its height."""
        head = paragraph(self.heading, 0, HEADING, width, HEADING, font_weight="bold")
        top = 1.35 * HEADING * len(head) + 8 + self.above
        foot = top + self.height + 1.5 * NOTE
        note = paragraph(self.note, 0, foot, width, NOTE, fill=FAINT) if self.note else []
        height = foot + 1.35 * NOTE * len(note) - (0 if note else NOTE)
        return [*head, group(self.parts, self.left, top), *note], height


@dataclass(frozen=True)
class Key:
    """One entry of a legend: a colour, perhaps hatched, or a line."""

    words: str
    fill: str | None = None
    line: str | None = None
    dashes: str | None = None
    hatched: bool = False

    def drawn(self) -> list[Element]:
        """Returns the colour or line with its words, drawn at the origin."""
        words = label(self.words, 22, 11, NOTE)
        if self.line:
            dashes = {"stroke_dasharray": self.dashes} if self.dashes else {}
            swatch = tag("path", d="M0 7H15", stroke=self.line, stroke_width=2.5, **dashes)
            return [swatch, words]
        swatch = tag("rect", width=14, height=14, fill=self.fill or PAPER, stroke=FAINT, stroke_width=0.7)
        return [swatch, *[grid.hatch(np.ones((1, 1)), 14)] * self.hatched, words]

    @property
    def width(self) -> float:
        """Returns the width of the entry."""
        return 22 + width_of(self.words, NOTE) + 14


def draw_card(
    title: str,
    sizes: str,
    caption: str,
    panels: list[Panel],
    keys: list[Key],
    columns: int = 2,
    narrowest: float = 472,
) -> Element:
    """Draws the whole picture; ``sizes`` says in one line for which sizes."""
    columns = min(columns, len(panels))
    column = max(panel.box for panel in panels)
    width = max(columns * column + (columns - 1) * GAP, narrowest, *(key.width for key in keys))
    top = MARGIN
    parts = paragraph(title, MARGIN, top + TITLE, width, TITLE, font_weight="bold")
    top += 1.35 * TITLE * len(parts)
    parts += paragraph(sizes, MARGIN, top + HEADING, width, HEADING, fill=FAINT)
    top += 1.35 * HEADING * len(lines(sizes, width, HEADING)) + 18
    for start in range(0, len(panels), columns):
        drawn = [panel.drawn(column) for panel in panels[start : start + columns]]
        for place, (elements, _) in enumerate(drawn):
            parts.append(group(elements, MARGIN + place * (column + GAP), top))
        top += max(height for _, height in drawn) + 18
    legend, height = _legend(keys, width)
    parts.append(group(legend, MARGIN, top))
    top += height + 6
    parts += paragraph(caption, MARGIN, top + NOTE, width, NOTE, fill=FAINT)
    top += 1.35 * NOTE * len(lines(caption, width, NOTE)) + MARGIN - 6
    return _framed(f"{title}: {sizes}", caption, parts, width + 2 * MARGIN, top)


def _legend(keys: list[Key], width: float) -> tuple[list[Element], float]:
    """Returns the keys in rows, and their height."""
    parts, x, y = [], 0.0, 0.0
    for key in keys:
        if x and x + key.width > width:
            x, y = 0.0, y + 21
        parts.append(group(key.drawn(), x, y))
        x += key.width
    return parts, y + 21 if keys else 0.0


def _framed(title: str, caption: str, parts: list[Element], width: float, height: float) -> Element:
    width, height = round(width), round(height)
    back = tag("rect", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=8, fill=PAPER, stroke="#d0d7de")
    return tag(
        "svg", tag("title", title), tag("desc", caption), back, *parts,
        viewBox=f"0 0 {width} {height}", width=width, height=height, role="img", aria_label=title,
        font_family=FONT, fill=INK,
    )  # fmt: skip
