"""The gallery: wrong Swins, each the oracle with one thing replaced.  Importing this enters them all."""

from swin_properties.bugs import (
    attention,
    blocks,
    heads,
    inplace,
    layers,
    mask,
    narrow,
    network,
    patches,
    positions,
    resizing,
    state,
    v2_attention,
    v2_blocks,
    v2_position,
    windows,
)
from swin_properties.bugs.gallery import GALLERY, Bug, touched

__all__ = [
    "GALLERY",
    "Bug",
    "attention",
    "blocks",
    "heads",
    "inplace",
    "layers",
    "mask",
    "narrow",
    "network",
    "patches",
    "positions",
    "resizing",
    "state",
    "touched",
    "v2_attention",
    "v2_blocks",
    "v2_position",
    "windows",
]
