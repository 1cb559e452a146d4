"""The catalogue: importing this package enters every law, in the order in which a reader checks."""

from swin_properties.laws import (
    windows,
    mask,
    relative_position,
    layers,
    patches,
    attention,
    symmetry,
    network,
    gradients,
)

__all__ = [
    "attention",
    "gradients",
    "layers",
    "mask",
    "network",
    "patches",
    "relative_position",
    "symmetry",
    "windows",
]
