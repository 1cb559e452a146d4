"""Precisions: the unit roundoffs of each, and rounding of numbers to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Precision:
    """What an implementation computes in.

    ``unit`` is the unit roundoff of a stored result, ``accumulator`` that of a sum inside a matmul,
    ``matmul_input`` that of a matmul's inputs, ``smallest`` the smallest subnormal, ``bits`` the
    significant bits of a stored number.
    """

    name: str
    unit: float
    accumulator: float
    matmul_input: float
    smallest: float
    bits: int

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """The NumPy type that carries arrays of this precision in and out of an adapter."""
        return np.float64 if self.name == "float64" else np.float32

    def rounded(self, x: Any) -> Any:
        """``x`` rounded to this precision, as float64.

        >>> float(PRECISIONS["bfloat16"].rounded(1.01))
        1.0078125
        """
        x = np.asarray(x, dtype=np.float64)
        if self.name == "float64":
            return x
        if self.name in ("float32", "tf32"):
            return x.astype(np.float32).astype(np.float64)
        if self.name == "float16":
            with np.errstate(over="ignore"):
                return x.astype(np.float16).astype(np.float64)
        fraction, exponent = np.frexp(x)
        scale = 2.0**self.bits
        return np.ldexp(np.round(fraction * scale) / scale, exponent)


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("float64", 2.0**-53, 2.0**-53, 0.0, 2.0**-1074, 53),
        Precision("float32", 2.0**-24, 2.0**-24, 0.0, 2.0**-149, 24),
        Precision("tf32", 2.0**-24, 2.0**-24, 2.0**-11, 2.0**-149, 24),
        Precision("float16", 2.0**-11, 2.0**-24, 0.0, 2.0**-24, 11),
        Precision("bfloat16", 2.0**-8, 2.0**-24, 0.0, 2.0**-133, 8),
    )
}
"""The precisions an implementation can declare, by name."""
