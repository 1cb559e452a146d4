"""Draws the mask of the shifted windows: one matrix for each class of windows."""

from __future__ import annotations

from math import prod
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from swin_reference.windows import shifted_window_mask

from swin_properties.reports.drawing import grid, palette
from swin_properties.reports.drawing.card import Key, Panel, draw_card
from swin_properties.reports.drawing.layout import Layout
from swin_properties.reports.drawing.svg import group
from swin_properties.reports.drawing.windows import make_region_keys

CLASSES = ("interior", "right", "bottom", "corner")


def group_windows(layout: Layout) -> dict[str, list[int]]:
    """Returns the windows of each class that occurs.

    The corner is the last window of all; bottom and right are the last ones on an axis.

    >>> group_windows(Layout((4, 6), (2, 2), (1, 1)))
    {'interior': [0, 1], 'right': [2], 'bottom': [3, 4], 'corner': [5]}
    """
    rows, columns = (g // m for g, m in zip(layout.padded, layout.window, strict=True))
    found: dict[str, list[int]] = {}
    for place, (i, j) in enumerate(np.ndindex(rows, columns)):
        found.setdefault(CLASSES[2 * (i == rows - 1) + (j == columns - 1)], []).append(place)
    return {name: found[name] for name in CLASSES if name in found}


def draw_mask(layout: Layout) -> Element:
    """Draws the N x N matrix of the mask for each class of windows; rows are queries, columns are keys."""
    matrices = shifted_window_mask(*layout.padded, layout.window, layout.shift)
    cell = grid.fit_cells(prod(layout.window), 288, 22)
    found, groups = layout.cut(layout.regions_rolled), group_windows(layout)
    panels = [
        _draw_panel(name, places, matrices, found, cell, layout.window[1]) for name, places in groups.items()
    ]
    return draw_card(
        "Mask of the shifted windows",
        layout.words,
        "A row is the query's token, a column the key's, numbered row by row in the window. Two tokens see "
        "each other if their regions, the colours along the sides, are the same.",
        panels,
        [Key("0: may attend", palette.VISIBLE), Key("\N{MINUS SIGN}\N{INFINITY}: may not", palette.HIDDEN),
         *[key for key in make_region_keys(layout) if not key.hatched]],
    )  # fmt: skip


def _draw_panel(
    name: str, places: list[int], matrices: Any, regions: Any, cell: float, row_length: int
) -> Panel:
    matrix, sides = matrices[places[0]], np.array(palette.REGIONS)[regions[places[0]]]
    tokens, strip = len(matrix), max(6.0, min(cell, 10.0))
    hidden = int((matrix < 0).sum())
    colours = np.where(matrix < 0, palette.HIDDEN, palette.VISIBLE)
    words = np.where(matrix < 0, "\N{MINUS SIGN}\N{INFINITY}", "0")
    names = [str(token) for token in range(tokens)]
    parts = [
        *grid.fill_cells(colours, cell),
        *grid.draw_mesh(matrix.shape, cell),
        *(grid.write_cells(words, colours, cell, 9) if cell >= 16 else []),
        grid.draw_borders(matrix, cell, palette.SHIFTED, stroke_width=1),
        group(_draw_side(sides[None, :], cell, strip, across=True), 0, -strip - 3),
        group(_draw_side(sides[:, None], cell, strip, across=False), -strip - 3, 0),
        group(grid.draw_ruler(names, cell, True, row_length), 0, -strip - 3),
        group(grid.draw_ruler(names, cell, False, row_length), -strip - 3, 0),
    ]
    note = f"{hidden} of {tokens**2} pairs hidden" if hidden else f"all {tokens**2} pairs visible"
    side = tokens * cell
    return Panel(_write_heading(name, places), side, side, parts, note, left=strip + 28, above=strip + 18)


def _draw_side(colours: Any, cell: float, strip: float, across: bool) -> list[Element]:
    """Draws the regions of the tokens as a strip along a side of the matrix."""
    parts = grid.fill_cells(colours, cell)
    scale = f"scale(1 {strip / cell:.4f})" if across else f"scale({strip / cell:.4f} 1)"
    for part in parts:
        part.set("transform", scale)
    return parts


def _write_heading(name: str, places: list[int]) -> str:
    """Returns the class with its windows, shortened if there are many."""
    shown = ", ".join(map(str, places[:4])) + (", ..." if len(places) > 4 else "")
    return f"{name.capitalize()}: window{'s' * (len(places) > 1)} {shown}"
