"""Draws how far a network is from the oracle along its depth: from the image on, and each step alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from xml.etree.ElementTree import Element

from swin_properties.budget.budget import RHO_LIMIT, RHO_MAX_LIMIT, Deviation
from swin_properties.locate.compare import Found, Location
from swin_properties.reports.drawing.card import Key, Panel, draw_card
from swin_properties.reports.drawing.palette import CHOSEN, REGULAR
from swin_properties.reports.drawing.svg import FAINT, INK, make_label, make_tag

STEP, HEIGHT, LEFT, BELOW = 30.0, 220.0, 42.0, 62.0
LEAST, MOST = 1e-2, 1e12
"""The smallest and the largest share of a limit that is drawn; others are drawn there."""

LETTER = 11.0
WHOLE, ALONE, WRONG = "#2c7fb8", INK, CHOSEN


def draw_depth(location: Location, title: str, sizes: str) -> Element:
    """Draws both lines over the steps of a network, or over its stages where no more is known."""
    found = location.steps if any(one.place.kind == "block" for one in location.steps) else location.stages
    shares = [measure(one) for step in found for one in (step.whole, step.alone) if one is not None]
    low = floor(log10(min([*shares, RHO_LIMIT])))
    high = max(ceil(log10(max([*shares, RHO_LIMIT]))), low + 1, 1)

    def place(share: float) -> float:
        return HEIGHT * (high - log10(share)) / (high - low)

    width = STEP * len(found)
    columns = [STEP * (number + 0.5) for number in range(len(found))]
    parts = [*_draw_scale(low, high, place, width), *_write_names(found, columns)]
    for values, colour in (([step.whole for step in found], WHOLE), ([step.alone for step in found], ALONE)):
        parts += _draw_line(columns, values, colour, place)
    for x, step in zip(columns, found, strict=True):
        if step.beyond:
            y = place(measure(step.alone)) if step.alone is not None else 0.0
            parts.append(make_tag("circle", cx=x, cy=y, r=8, fill="none", stroke=WRONG, stroke_width=2.5))
    return draw_card(
        title,
        sizes,
        "How many error budgets a step is off. A ring is a step that computes something else than the oracle "
        "from the same input; from there on the error goes through the network.",
        [Panel("Error in budgets, step by step", width, HEIGHT + BELOW, parts, left=LEFT)],
        [
            Key("from the image on", line=WHOLE),
            Key("each step alone, on its own input", line=ALONE),
            Key("the limit", line=REGULAR, dashes="5 4"),
            Key("beyond its budget", line=WRONG),
        ],
        columns=1,
    )


def measure(found: Deviation) -> float:
    """Returns which share of its limits a deviation uses, inside what is drawn.

    >>> measure(Deviation(0.5, 16.0, (), 0.0, 0.0))
    2.0
    """
    return min(max(found.rho / RHO_LIMIT, found.rho_max / RHO_MAX_LIMIT, LEAST), MOST)


def _draw_scale(low: int, high: int, place: object, width: float) -> list[Element]:
    assert callable(place)
    parts, every = [], max(1, (high - low) // 6)
    for exponent in range(low, high + 1):
        y = place(10.0**exponent)
        if (exponent % every) == 0:
            parts.append(make_tag("path", d=f"M0 {y:.1f}H{width:.1f}", stroke="#d0d7de", stroke_width=0.7))
            words = f"{10.0**exponent:g}"
            parts.append(make_label(words, -6, y + 4, LETTER, FAINT, text_anchor="end"))
    y = place(RHO_LIMIT)
    limit = make_tag(
        "path", d=f"M0 {y:.1f}H{width:.1f}", stroke=REGULAR, stroke_width=1.5, stroke_dasharray="5 4"
    )
    return [*parts, limit]


def _write_names(found: Sequence[Found], columns: Sequence[float]) -> list[Element]:
    parts = []
    for x, step in zip(columns, found, strict=True):
        colour, weight = (WRONG, "bold") if step.beyond else (FAINT, "normal")
        turned = f"translate({x + 4:.1f} {HEIGHT + 10:.1f}) rotate(90)"
        parts.append(make_label(step.place.words, 0, 0, LETTER, colour, transform=turned, font_weight=weight))
    return parts


def _draw_line(
    columns: Sequence[float], values: Sequence[Deviation | None], colour: str, place: object
) -> list[Element]:
    """Draws a line through the values that are known, with a point at each."""
    assert callable(place)
    points = [(x, place(measure(one))) for x, one in zip(columns, values, strict=True) if one is not None]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    line = make_tag("path", d=path, fill="none", stroke=colour, stroke_width=2)
    return [line, *(make_tag("circle", cx=x, cy=y, r=3, fill=colour) for x, y in points)]
