"""Checkpoints: reads, writes and renames the weights of Swin Transformers.  No mathematics."""

from swin_weights.layout_names import LAYOUTS
from swin_weights.layouts import from_layout, to_layout
from swin_weights.loading import Checkpoint, load, understand
from swin_weights.names import RECOMPUTED, flatten, matched, unflatten
from swin_weights.writing import save

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
    "understand",
    "unflatten",
]
