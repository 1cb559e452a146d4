"""The catalogue: importing this package enters every law, in the order in which a reader checks."""

from swin_properties.laws import (
    windows,
    mask,
    relative_position,
    resizing,
    layers,
    patches,
    attention,
    algebra,
    symmetry,
    block,
    network,
    invariance,
    state,
    gradients,
)

__all__ = [
    "algebra",
    "attention",
    "block",
    "gradients",
    "invariance",
    "layers",
    "mask",
    "network",
    "patches",
    "relative_position",
    "resizing",
    "state",
    "symmetry",
    "windows",
]
