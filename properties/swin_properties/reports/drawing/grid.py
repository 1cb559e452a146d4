"""Draws a grid of cells: their colours, the borders between them, and the text in them."""

from __future__ import annotations

from itertools import groupby
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from swin_properties.reports.drawing.palette import choose_ink
from swin_properties.reports.drawing.svg import FAINT, LETTER, make_label, make_tag, write_number

SMALLEST_LETTER = 7.5


def fit_cells(longest: int, room: float = 320, largest: float = 36) -> float:
    """Returns the side of a cell, so that the longest row or column fits.

    >>> fit_cells(4), fit_cells(64)
    (36, 5.0)
    """
    return min(largest, room / longest)


def fill_cells(colours: Any, cell: float) -> list[Element]:
    """Draws the colours of the cells: one path for each colour, neighbours in a row together."""
    paths: dict[str, list[str]] = {}
    for row, line in enumerate(colours):
        start = 0
        for colour, run in groupby(line):
            length = len(list(run))
            x, y, w, h = (write_number(v * cell) for v in (start, row, length, 1))
            paths.setdefault(str(colour), []).append(f"M{x} {y}h{w}v{h}h-{w}z")
            start += length
    return [
        make_tag("path", d="".join(steps), fill=colour, shape_rendering="crispEdges")
        for colour, steps in paths.items()
    ]


def draw_borders(
    labels: Any, cell: float, stroke: str = FAINT, outside: bool = True, **style: object
) -> Element:
    """Draws lines where the labels of two neighbours differ, and around the grid."""
    steps = []
    for axis in (0, 1):
        table = np.moveaxis(np.asarray(labels), axis, 0)
        edge = np.ones((1, table.shape[1]), bool) & outside
        differs = np.concatenate([edge, table[1:] != table[:-1], edge])
        for place, line in enumerate(differs):
            start = 0
            for drawn, run in groupby(line):
                length = len(list(run))
                if drawn:
                    at, low, high = (write_number(v * cell) for v in (place, start, start + length))
                    steps.append(f"M{low} {at}H{high}" if axis == 0 else f"M{at} {low}V{high}")
                start += length
    return make_tag("path", d="".join(steps), fill="none", stroke=stroke, stroke_linecap="square", **style)


def draw_mesh(shape: tuple[int, ...], cell: float) -> list[Element]:
    """Draws thin lines between all cells, if the cells are large enough."""
    if cell < 4:
        return []
    every = np.arange(shape[0] * shape[1]).reshape(shape)
    return [draw_borders(every, cell, "#1b1f24", stroke_width=0.5, stroke_opacity=min(0.25, cell / 50))]


def hatch_cells(where: Any, cell: float) -> Element:
    """Draws diagonal lines over the cells that ``where`` marks."""
    steps = []
    for row, column in np.argwhere(where):
        x, y, half = column * cell, row * cell, cell / 2
        for a, b, c, d in ((0, half, half, 0), (0, cell, cell, 0), (half, cell, cell, half)):
            steps.append(
                f"M{write_number(x + a)} {write_number(y + b)}L{write_number(x + c)} {write_number(y + d)}"
            )
    return make_tag("path", d="".join(steps), stroke="#57606a", stroke_width=max(0.5, cell / 30), fill="none")


def write_cells(words: Any, colours: Any, cell: float, largest: float = 12) -> list[Element]:
    """Writes text into the cells, all in one size; writes nothing if it would not be legible."""
    longest = max((len(word) for line in words for word in line), default=0)
    size = min(largest, cell * 0.6, cell * 0.86 / (LETTER * max(longest, 1)))
    if size < SMALLEST_LETTER:
        return []
    return [
        make_label(
            word, (column + 0.5) * cell, (row + 0.5) * cell + 0.36 * size, size, choose_ink(colour),
            text_anchor="middle",
        )
        for row, (line, shades) in enumerate(zip(words, colours, strict=True))
        for column, (word, colour) in enumerate(zip(line, shades, strict=True))
        if word
    ]  # fmt: skip


def draw_frame(rows: slice, columns: slice, cell: float, stroke: str, width: float = 2.5) -> Element:
    """Draws a frame around a rectangle of cells."""
    height, length = rows.stop - rows.start, columns.stop - columns.start
    x, y, w, h = (write_number(v * cell) for v in (columns.start, rows.start, length, height))
    return make_tag("rect", x=x, y=y, width=w, height=h, fill="none", stroke=stroke, stroke_width=width)


def draw_ruler(names: list[str], cell: float, across: bool, multiple: int = 1) -> list[Element]:
    """Writes the names of rows or columns: all of them, or every few where space is short."""
    size = min(11.0, max(8.0, cell * 0.6))
    needed = size * LETTER * max(map(len, names)) + 2 if across else size * 1.1
    step = max(1, int(-(-needed // cell)))
    if step > 1:
        step = -(-step // multiple) * multiple
    marks = range(0, len(names), step)
    if across:
        return [make_label(names[i], (i + 0.5) * cell, -5, size, FAINT, text_anchor="middle") for i in marks]
    return [
        make_label(names[i], -5, (i + 0.5) * cell + 0.36 * size, size, FAINT, text_anchor="end")
        for i in marks
    ]
