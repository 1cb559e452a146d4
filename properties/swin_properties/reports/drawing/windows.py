"""Draws a grid: its windows before and after the roll, and its regions after the roll."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from swin_properties.reports.drawing import grid, palette
from swin_properties.reports.drawing.card import Key, Panel, draw_card
from swin_properties.reports.drawing.layout import REGION_LETTERS, REGION_NAMES, Layout
from swin_properties.reports.drawing.svg import PAPER, make_label

DASHES = "6 5"
HALO: dict[str, Any] = {
    "stroke": PAPER,
    "stroke_width": 3,
    "stroke_linejoin": "round",
    "paint_order": "stroke",
}


def draw_windows(layout: Layout) -> Element:
    """Draws the tokens before and after the roll, with the borders of the regular and the shifted windows."""
    regular, true = layout.number_windows(shifted=False), layout.number_windows(shifted=True)
    real, names = layout.real, layout.names
    cell = grid.fit_cells(max(layout.padded))
    before = _draw_tokens(layout.regions, names, true, regular, real, cell)
    moved = [layout.roll_table(table) for table in (names, true, real)]
    after = _draw_tokens(layout.regions_rolled, moved[0], moved[1], regular, moved[2], cell)
    height, width = (side * cell for side in layout.padded)
    return draw_card(
        "Regular and shifted windows",
        layout.words,
        "The roll moves the first rows and columns to the other side, so that cutting at the regular "
        "borders gives the true shifted windows: whole ones alone, the pieces at the edges together.",
        [
            Panel("Before the roll", width, height, before),
            Panel(f"After the roll by ({_subtract(layout.shift[0])}, {_subtract(layout.shift[1])})",
                  width, height, after),
        ],
        [
            Key("true shifted windows", line=palette.SHIFTED),
            Key("regular windows", line=palette.REGULAR, dashes=DASHES),
            *make_region_keys(layout),
        ],
    )  # fmt: skip


def _draw_tokens(regions: Any, names: Any, true: Any, regular: Any, real: Any, cell: float) -> list[Element]:
    colours = np.array(palette.REGIONS)[regions]
    return [
        *grid.fill_cells(colours, cell),
        *([] if real.all() else [grid.hatch_cells(~real, cell)]),
        *grid.draw_mesh(colours.shape, cell),
        *grid.write_cells(np.where(real, names, ""), colours, cell, 10),
        grid.draw_borders(true, cell, palette.SHIFTED, stroke_width=min(3.0, 1 + cell / 12)),
        grid.draw_borders(regular, cell, palette.REGULAR, False, stroke_width=1.8, stroke_dasharray=DASHES),
    ]


def draw_regions(layout: Layout) -> Element:
    """Draws the grid after the roll, coloured by the side that each token came from (paper: figure 4)."""
    cell = grid.fit_cells(max(layout.padded), 420, 48)
    found, real = layout.regions_rolled, layout.roll_table(layout.real)
    parts = [
        *grid.fill_cells(np.array(palette.REGIONS)[found], cell),
        *([] if real.all() else [grid.hatch_cells(~real, cell)]),
        *grid.draw_mesh(layout.padded, cell),
        grid.draw_borders(layout.number_windows(shifted=False), cell, palette.SHIFTED, stroke_width=2.5),
        *_write_letters(layout, cell),
        *_write_numbers(layout, cell),
    ]
    height, width = (side * cell for side in layout.padded)
    return draw_card(
        "Regions after the roll",
        layout.words,
        "Two tokens of a window may attend to each other only if they are in the same region: tokens of "
        "different regions are not neighbours in the image.",
        [Panel("After the roll, cut into windows", width, height, parts)],
        [*make_region_keys(layout, letters=True), Key("windows", line=palette.SHIFTED)],
    )


def _subtract(shift: int) -> str:
    return f"\N{MINUS SIGN}{shift}" if shift else "0"


def _write_letters(layout: Layout, cell: float) -> list[Element]:
    """Writes the letter of a region into the middle of each part of it inside a window."""
    pieces = 4 * layout.number_windows(shifted=False) + layout.regions_rolled
    parts = []
    for piece in np.unique(pieces):
        h, w = np.nonzero(pieces == piece)
        size = min(22.0, 0.8 * cell * min(np.ptp(h) + 1, np.ptp(w) + 1))
        if size >= 8:
            letter = REGION_LETTERS[piece % 4]
            x, y = (w.mean() + 0.5) * cell, (h.mean() + 0.5) * cell + 0.36 * size
            parts.append(make_label(letter, x, y, size, font_weight="bold", text_anchor="middle", **HALO))
    return parts


def _write_numbers(layout: Layout, cell: float) -> list[Element]:
    """Writes the number of each window into its corner, if there is space."""
    if cell * layout.window[1] < 60 or cell < 14:
        return []
    rows, columns = np.indices(layout.padded)
    corners = zip(layout.cut(rows)[:, 0], layout.cut(columns)[:, 0], strict=True)
    return [
        make_label(f"window {place}", column * cell + 5, row * cell + 13, 10, **HALO)
        for place, (row, column) in enumerate(corners)
    ]


def make_region_keys(layout: Layout, letters: bool = False) -> list[Key]:
    """Returns the legend of the regions that occur, and of padding if there is any."""
    keys = [
        Key(f"{REGION_LETTERS[n]}: {REGION_NAMES[n]}" if letters else REGION_NAMES[n], palette.REGIONS[n])
        for n in np.unique(layout.regions)
    ]
    return keys if layout.real.all() else [*keys, Key("padding", hatched=True)]
