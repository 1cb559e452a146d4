"""Draws where an output is wrong: over the tokens of the grid, or over the pairs of a window's tokens."""

from __future__ import annotations

from math import isfinite, prod
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from swin_properties.budget.budget import RHO_MAX_LIMIT
from swin_properties.cases.case import GridCase
from swin_properties.judging.compare import Evidence
from swin_properties.judging.report import Counterexample
from swin_properties.reports.drawing import grid, palette
from swin_properties.reports.drawing.card import Key, Panel, draw_card
from swin_properties.reports.drawing.layout import Layout

MATRIX_LAWS = ("shifted_window_mask/", "relative_position_")
STEPS = (1.0, RHO_MAX_LIMIT, 100.0, 10_000.0)
MOST, LARGEST_MATRIX, PHONE, LEGIBLE = 4, 100, 290.0, 22.0
AXES = ("Row and column are pairs of tokens", "Row is the query's token, column the key's")


def draw_errors(law: str, found: Counterexample) -> Element | str:
    """Draws the errors that broke a law, or returns the sentence why there is no picture."""
    evidence, case = found.evidence, found.case
    if evidence is None:
        return "No picture: no two arrays of one shape could be compared."
    shape = np.shape(evidence.got)
    if law.startswith(MATRIX_LAWS):
        least = 3 if law.startswith("shifted_window_mask/") else 2
        if least <= len(shape) <= 3 and shape[-1] == shape[-2] <= LARGEST_MATRIX:
            return _draw_matrices(evidence, getattr(case, "window", ()))
        return "No picture: what differs is not a matrix over the pairs of a window's tokens."
    if not isinstance(case, GridCase) or len(shape) != 4 or shape[1:3] != case.grid:
        return "No picture: what differs does not lie on the tokens of one grid."
    try:
        layout = Layout(case.grid, case.window, case.shift)
    except ValueError as error:
        return f"No picture: {error}."
    return _draw_tokens(layout, evidence)


def divide_errors(evidence: Evidence) -> Any:
    """Returns |got - expected| divided by the budget of each element; 0 or 1 where the law is exact."""
    got, expected = np.asarray(evidence.got), np.asarray(evidence.expected)
    if evidence.beta is None:
        return (got != expected).astype(float)
    with np.errstate(invalid="ignore"):
        apart = np.where(got == expected, 0.0, np.abs(got - expected))
    floor = np.sqrt(np.mean(np.square(evidence.beta)))
    return np.where(np.isnan(apart), np.inf, apart) / np.maximum(evidence.beta, floor)


def _draw_tokens(layout: Layout, evidence: Evidence) -> Element:
    errors = divide_errors(evidence).max(-1)
    item = int(np.argmax(errors.max((1, 2)) if evidence.beta is not None else errors.sum((1, 2))))
    exact, shown = evidence.beta is None, errors[item]
    levels = (shown > 0) * 2 if exact else np.searchsorted(STEPS, shown)
    colours = np.array(palette.ERRORS)[levels]
    words = [[_shorten(value, exact) for value in line] for line in shown]
    cell = grid.fit_cells(max(layout.grid), PHONE, 52)
    height, width = layout.grid
    windows, regions = (
        every[:height, :width] for every in (layout.number_windows(shifted=True), layout.regions)
    )
    parts = [
        *grid.fill_cells(colours, cell),
        *grid.draw_mesh(layout.grid, cell),
        *(grid.write_cells(words, colours, cell, 13) if cell >= LEGIBLE else []),
        grid.draw_borders(windows, cell, palette.SHIFTED, stroke_width=2.5),
        grid.draw_borders(regions, cell, palette.REGULAR, False, stroke_width=2.2, stroke_dasharray="2 5"),
    ]
    note = f"batch item {item} of {len(errors)}, the worst" if len(errors) > 1 else ""
    panel = Panel("Tokens of the image", width * cell, height * cell, parts, note)
    return draw_card(
        "Where it differs",
        layout.words,
        "A token shows whether any of its channels differs."
        if exact
        else "A token shows the worst of its channels, as a multiple of the budget; the limit is 8.",
        [panel],
        [*_make_token_keys(exact), *_make_border_keys(layout)],
        narrowest=PHONE,
    )


def _make_token_keys(exact: bool) -> list[Key]:
    if exact:
        return [Key("the same", palette.ERRORS[0]), Key("\N{NOT EQUAL TO} differs", palette.ERRORS[2])]
    words = ["at most its budget", *(f"up to {step:,.0f} times".replace(",", " ") for step in STEPS[1:])]
    return [Key(w, c) for w, c in zip([*words, "more"], palette.ERRORS, strict=True)]


def _make_border_keys(layout: Layout) -> list[Key]:
    keys = [Key("true shifted windows" if any(layout.shift) else "windows", line=palette.SHIFTED)]
    if np.ptp(layout.regions):
        keys.append(Key("what the roll carries around", line=palette.REGULAR, dashes="2 4"))
    return keys


def _shorten(value: float, exact: bool) -> str:
    """Returns an error in few letters."""
    if exact:
        return "\N{NOT EQUAL TO}" if value else ""
    if not isfinite(value):
        return "\N{INFINITY}"
    return f"{value:.1f}" if value < 100 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def _draw_matrices(evidence: Evidence, window: tuple[int, ...]) -> Element:
    got, expected = (np.asarray(a)[(None,) * (3 - np.ndim(a))] for a in (evidence.got, evidence.expected))
    differing = [int(n) for n in np.flatnonzero((got != expected).any((1, 2)))]
    alone = np.ndim(evidence.got) == 2
    cell = grid.fit_cells(got.shape[-1], 260, 36)
    panels = []
    for place in differing[:MOST]:
        count = int((got[place] != expected[place]).sum())
        heading = "Got minus expected" if alone else f"Matrix {place}: got minus expected"
        panels.append(_draw_matrix(got[place], expected[place], cell, heading, f"{count} elements differ"))
    left_out = len(differing) - MOST
    rest = f"; {left_out} more matrices differ and are not drawn" if left_out > 0 else ""
    more, less = "too large", "too small"
    if got.dtype == bool:
        more, less = "got 1, expected 0", "got 0, expected 1"
    return draw_card(
        "Where it differs",
        f"{got.shape[-1]} x {got.shape[-1]} pairs",
        f"{AXES[got.shape[-1] == prod(window)]}{rest}.",
        panels,
        [
            Key("the same", palette.SAME),
            Key(f"+ {more}", palette.MORE),
            Key(f"\N{MINUS SIGN} {less}", palette.LESS),
        ],
        narrowest=PHONE,
    )


def _draw_matrix(got: Any, expected: Any, cell: float, heading: str, note: str) -> Panel:
    sign = (got > expected) * 1 - (got < expected) * 1
    colours = np.array([palette.SAME, palette.MORE, palette.LESS])[sign]
    words = np.array(["", "+", "\N{MINUS SIGN}"])[sign]
    if got.dtype.kind == "i":
        apart = (got - expected).astype(int)
        words = [[f"{d:+d}".replace("-", "\N{MINUS SIGN}") if d else "" for d in line] for line in apart]
    names = [str(token) for token in range(len(got))]
    parts = [
        *grid.fill_cells(colours, cell),
        *grid.draw_mesh(got.shape, cell),
        *grid.write_cells(words, colours, cell, 13),
        grid.draw_borders(np.zeros(got.shape), cell, palette.SHIFTED, stroke_width=1),
        *grid.draw_ruler(names, cell, True),
        *grid.draw_ruler(names, cell, False),
    ]
    side = len(got) * cell
    return Panel(heading, side, side, parts, note, left=28, above=14)
