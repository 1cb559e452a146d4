"""Draws the receptive field: which tokens reach one token, block after block."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from swin_reference.direct import true_windows

from swin_properties.reports.drawing import grid, palette
from swin_properties.reports.drawing.card import Key, Panel, draw_card
from swin_properties.reports.drawing.layout import Layout
from swin_properties.reports.drawing.relative_position import choose_token
from swin_properties.reports.drawing.svg import PAPER, make_tag
from swin_properties.reports.drawing.windows import DASHES

MOST = 6
FAR = "#ffffff"


def find_reached(layout: Layout, token: tuple[int, int], blocks: int) -> Any:
    """Returns which tokens of the grid reach ``token`` through so many blocks, the first of them unshifted.

    From the last block back to the first: all tokens in a window with one that is already known to reach.

    >>> find_reached(Layout((1, 4), (1, 2), (0, 1)), (0, 1), 2)
    array([[ True,  True,  True,  True]])
    """
    reach = np.zeros(layout.grid, bool)
    reach[token] = True
    for block in reversed(range(blocks)):
        shift = layout.shift if block % 2 else (0, 0)
        for tokens in true_windows(*layout.grid, layout.window, shift).values():
            h, w = np.array(tokens).T
            reach[h, w] = reach[h, w].any()
    return reach


def draw_receptive_field(layout: Layout, token: tuple[int, int] | None = None) -> Element:
    """Draws the grid after one block, two, three, ..., as long as the field grows, up to six blocks."""
    h, w = choose_token(token, layout.grid, "grid")
    fields = [find_reached(layout, (h, w), blocks) for blocks in range(MOST + 1)]
    blocks = max(1, *(k for k in range(1, MOST + 1) if not np.array_equal(fields[k], fields[k - 1])), 1)
    panels = [_draw_panel(layout, (h, w), fields[: k + 1]) for k in range(1, blocks + 1)]
    shades = [Key(f"after {_count(k)}", _choose_shade(k)) for k in range(1, blocks + 1)]
    return draw_card(
        f"Receptive field of token ({h}, {w})",
        layout.words,
        f"{_grow(fields[blocks], blocks)}; blocks alternate between regular and shifted windows, the first "
        "is regular.",
        panels,
        [
            Key(f"token ({h}, {w})", palette.CHOSEN),
            *shades,
            Key("true shifted windows", line=palette.SHIFTED),
            Key("regular windows", line=palette.REGULAR, dashes=DASHES),
        ],
        columns=2 if blocks in (1, 2, 4) else 3,
    )


def _draw_panel(layout: Layout, token: tuple[int, int], fields: list[Any]) -> Panel:
    cell = grid.fit_cells(max(layout.grid), 240, 30)
    colours = np.full(layout.grid, FAR)
    for blocks in reversed(range(1, len(fields))):
        colours[fields[blocks]] = _choose_shade(blocks)
    height, width = (slice(0, side) for side in layout.grid)
    regular, true = (
        layout.number_windows(shifted=False)[height, width],
        layout.number_windows(shifted=True)[height, width],
    )
    parts = [
        *grid.fill_cells(colours, cell),
        *grid.draw_mesh(layout.grid, cell),
        grid.draw_borders(true, cell, palette.SHIFTED, stroke_width=min(2.2, 1 + cell / 15)),
        grid.draw_borders(regular, cell, palette.REGULAR, False, stroke_width=1.6, stroke_dasharray=DASHES),
        _mark(token, cell),
    ]
    note = f"{int(fields[-1].sum())} of {fields[-1].size} tokens"
    heading = f"After {_count(len(fields) - 1)}"
    return Panel(heading, layout.grid[1] * cell, layout.grid[0] * cell, parts, note)


def _choose_shade(blocks: int) -> str:
    """Returns the colour of the tokens that a number of blocks reaches first; more blocks, lighter."""
    return palette.BLOCKS[blocks - 1]


def _mark(token: tuple[int, int], cell: float) -> Element:
    """Draws a dot on the token, which is visible on a large grid too."""
    y, x = ((place + 0.5) * cell for place in token)
    return make_tag(
        "circle", cx=x, cy=y, r=max(cell / 3, 3.5), fill=palette.CHOSEN, stroke=PAPER, stroke_width=1.5
    )


def _count(blocks: int) -> str:
    return f"{blocks} block{'s' * (blocks > 1)}"


def _grow(field: Any, blocks: int) -> str:
    if field.all():
        return f"After {_count(blocks)} every token of the grid reaches it"
    return f"After {_count(blocks)} {int(field.sum())} of {field.size} tokens reach it"
