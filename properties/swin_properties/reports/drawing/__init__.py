"""Draws pictures of Swin at given sizes, as SVG; the oracle computes all that they show."""

from swin_properties.reports.drawing.errors import draw_errors
from swin_properties.reports.drawing.layout import Layout
from swin_properties.reports.drawing.mask import draw_mask
from swin_properties.reports.drawing.receptive_field import draw_receptive_field
from swin_properties.reports.drawing.relative_position import draw_relative_position
from swin_properties.reports.drawing.windows import draw_regions, draw_windows

__all__ = [
    "Layout",
    "draw_errors",
    "draw_mask",
    "draw_receptive_field",
    "draw_regions",
    "draw_relative_position",
    "draw_windows",
]
