"""Draws relative positions: the index of every pair of tokens, and the table of offsets."""

from __future__ import annotations

from math import prod
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from swin_reference.relative_position import relative_position_index

from swin_properties.reports.drawing import grid, palette
from swin_properties.reports.drawing.card import Key, Panel, draw_card
from swin_properties.reports.drawing.layout import Layout, write_size


def draw_relative_position(layout: Layout, token: tuple[int, int] | None = None) -> Element:
    """Draws the index matrix and the offset table, with the row of one query marked in both."""
    mh, mw = layout.window
    h, w = choose_token(token, layout.window, "window")
    index, query = relative_position_index(layout.window), h * mw + w
    rows = (2 * mh - 1) * (2 * mw - 1)
    return draw_card(
        "Relative position index",
        f"window {write_size(layout.window)}, {rows} offsets",
        f"The bias of a pair of tokens is the table's row for their offset, query minus key; framed: "
        f"the {mh * mw} rows that the query at ({h}, {w}), token {query}, looks up.",
        [_draw_matrix(index, query, rows, mw), _draw_table(index, layout.window, query, rows)],
        [Key(f"the query at ({h}, {w})", line=palette.CHOSEN), *_scale(rows)],
    )


def choose_token(token: tuple[int, int] | None, grid_size: tuple[int, int], what: str) -> tuple[int, int]:
    """Returns the token asked for, or the one in the middle.

    Errors: ``ValueError`` for a token outside.

    >>> choose_token(None, (4, 7), "grid")
    (2, 3)
    """
    h, w = token or (grid_size[0] // 2, grid_size[1] // 2)
    if not (0 <= h < grid_size[0] and 0 <= w < grid_size[1]):
        raise ValueError(
            f"--token is in the {what} of {write_size(grid_size)}, got {h}x{w}: rows and columns count from 0"
        )
    return h, w


def _draw_matrix(index: Any, query: int, rows: int, row_length: int) -> Panel:
    tokens = len(index)
    cell = grid.fit_cells(tokens, 400, 26)
    colours = _choose_colours(index, rows)
    names = [str(token) for token in range(tokens)]
    parts = [
        *grid.fill_cells(colours, cell),
        *grid.write_cells(index.astype(str), colours, cell, 11),
        *grid.draw_ruler(names, cell, True, row_length),
        *grid.draw_ruler(names, cell, False, row_length),
        grid.draw_frame(slice(query, query + 1), slice(0, tokens), cell, palette.CHOSEN, min(3.0, cell)),
    ]
    side = tokens * cell
    note = "row: the query's token, column: the key's"
    return Panel(f"Index, {tokens} x {tokens}", side, side, parts, note, left=28, above=14)


def _draw_table(index: Any, window: tuple[int, int], query: int, rows: int) -> Panel:
    """Draws the rows of the bias table by offset, as the index matrix uses them."""
    mh, mw = window
    h, w = np.divmod(np.arange(prod(window)), mw)
    table = np.empty((2 * mh - 1, 2 * mw - 1), int)
    table[np.subtract.outer(h, h) + mh - 1, np.subtract.outer(w, w) + mw - 1] = index
    cell = grid.fit_cells(max(table.shape), 400, 30)
    colours = _choose_colours(table, rows)
    used = np.argwhere(np.isin(table, index[query]))
    (top, left), (bottom, right) = used.min(0), used.max(0) + 1
    dh, dw = ([str(d).replace("-", "\N{MINUS SIGN}") for d in range(1 - m, m)] for m in window)
    parts = [
        *grid.fill_cells(colours, cell),
        *grid.write_cells(table.astype(str), colours, cell, 11),
        *grid.draw_ruler(dw, cell, across=True),
        *grid.draw_ruler(dh, cell, across=False),
        grid.draw_frame(slice(top, bottom), slice(left, right), cell, palette.CHOSEN, min(3.0, cell)),
    ]
    height, width = (side * cell for side in table.shape)
    note = "row: offset dh along the height, column: offset dw along the width"
    return Panel(
        f"Table rows by offset, {write_size(table.shape)}", width, height, parts, note, left=28, above=14
    )


def _choose_colours(index: Any, rows: int) -> Any:
    scale = np.array([palette.find_colour(row / max(rows - 1, 1)) for row in range(rows)])
    return scale[index]


def _scale(rows: int) -> list[Key]:
    """Returns the two ends of the colour scale."""
    ends = [Key("row 0", palette.find_colour(0.0)), Key(f"row {rows - 1}", palette.find_colour(1.0))]
    return ends if rows > 1 else [Key("row 0", palette.find_colour(0.0))]
