"""Checkpoints: the names of the weights, and reading and writing files of them.  No mathematics."""

from swin_reference.checkpoint.layout_names import LAYOUTS
from swin_reference.checkpoint.layouts import from_layout, to_layout
from swin_reference.checkpoint.loading import Checkpoint, load
from swin_reference.checkpoint.names import RECOMPUTED, flatten, matched, unflatten
from swin_reference.checkpoint.writing import save

__all__ = [
    "LAYOUTS",
    "RECOMPUTED",
    "Checkpoint",
    "flatten",
    "from_layout",
    "load",
    "matched",
    "save",
    "to_layout",
    "unflatten",
]
