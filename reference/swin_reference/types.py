"""The types that the oracle's signatures share: arrays with named axes, and parameters."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:  # only the tests and type checkers read the annotations
    from jaxtyping import Float, Inexact, Int, Real, Shaped
else:
    Float = Inexact = Int = Real = Shaped = Any

__all__ = ["Float", "Inexact", "Int", "Params", "Real", "Shaped"]

Params = Mapping[str, Any]
"""Parameters: a nested dict with the names of the official checkpoint; numbered levels are lists.

``params["layers"][0]["blocks"][1]["attn"]["qkv"]["weight"]`` is ``layers.0.blocks.1.attn.qkv.weight``."""
