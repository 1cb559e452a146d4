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
    estimate_width,
    group,
    make_label,
    make_paragraph,
    make_tag,
    split_lines,
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

    def draw(self, width: float) -> tuple[list[Element], float]:
        """Returns the panel, drawn at the origin, and its height."""
        head = make_paragraph(self.heading, 0, HEADING, width, HEADING, font_weight="bold")
        top = 1.35 * HEADING * len(head) + 8 + self.above
        foot = top + self.height + 1.5 * NOTE
        note = make_paragraph(self.note, 0, foot, width, NOTE, fill=FAINT) if self.note else []
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

    def draw(self) -> list[Element]:
        """Returns the colour or line with its words, drawn at the origin."""
        words = make_label(self.words, 22, 11, NOTE)
        if self.line:
            dashes = {"stroke_dasharray": self.dashes} if self.dashes else {}
            swatch = make_tag("path", d="M0 7H15", stroke=self.line, stroke_width=2.5, **dashes)
            return [swatch, words]
        swatch = make_tag(
            "rect", width=14, height=14, fill=self.fill or PAPER, stroke=FAINT, stroke_width=0.7
        )
        return [swatch, *[grid.hatch_cells(np.ones((1, 1)), 14)] * self.hatched, words]

    @property
    def width(self) -> float:
        """Returns the width of the entry."""
        return 22 + estimate_width(self.words, NOTE) + 14


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
    parts = make_paragraph(title, MARGIN, top + TITLE, width, TITLE, font_weight="bold")
    top += 1.35 * TITLE * len(parts)
    parts += make_paragraph(sizes, MARGIN, top + HEADING, width, HEADING, fill=FAINT)
    top += 1.35 * HEADING * len(split_lines(sizes, width, HEADING)) + 18
    for start in range(0, len(panels), columns):
        drawn = [panel.draw(column) for panel in panels[start : start + columns]]
        for place, (elements, _) in enumerate(drawn):
            parts.append(group(elements, MARGIN + place * (column + GAP), top))
        top += max(height for _, height in drawn) + 18
    legend, height = _lay_out_keys(keys, width)
    parts.append(group(legend, MARGIN, top))
    top += height + 6
    parts += make_paragraph(caption, MARGIN, top + NOTE, width, NOTE, fill=FAINT)
    top += 1.35 * NOTE * len(split_lines(caption, width, NOTE)) + MARGIN - 6
    return _frame(f"{title}: {sizes}", caption, parts, width + 2 * MARGIN, top)


def _lay_out_keys(keys: list[Key], width: float) -> tuple[list[Element], float]:
    """Returns the keys in rows, and their height."""
    parts, x, y = [], 0.0, 0.0
    for key in keys:
        if x and x + key.width > width:
            x, y = 0.0, y + 21
        parts.append(group(key.draw(), x, y))
        x += key.width
    return parts, y + 21 if keys else 0.0


def _frame(title: str, caption: str, parts: list[Element], width: float, height: float) -> Element:
    width, height = round(width), round(height)
    back = make_tag(
        "rect", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=8, fill=PAPER, stroke="#d0d7de"
    )
    return make_tag(
        "svg", make_tag("title", title), make_tag("desc", caption), back, *parts,
        viewBox=f"0 0 {width} {height}", width=width, height=height, role="img", aria_label=title,
        font_family=FONT, fill=INK,
    )  # fmt: skip
