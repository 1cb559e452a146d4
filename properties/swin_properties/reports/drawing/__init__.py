"""Pictures of what Swin is, at anybody's sizes, as SVG; all they show is computed by the oracle."""

from swin_properties.reports.drawing.errors import error_picture
from swin_properties.reports.drawing.layout import Layout
from swin_properties.reports.drawing.mask import mask
from swin_properties.reports.drawing.receptive_field import receptive_field
from swin_properties.reports.drawing.relative_position import relative_position
from swin_properties.reports.drawing.windows import regions, windows

__all__ = [
    "Layout",
    "error_picture",
    "mask",
    "receptive_field",
    "regions",
    "relative_position",
    "windows",
]
