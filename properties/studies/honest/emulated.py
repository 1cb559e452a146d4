"""An array that rounds every operation's result to a precision: NumPy computing as half hardware would."""

from __future__ import annotations

from typing import Any

import numpy as np
from swin_properties.budget.precision import PRECISIONS, Precision

TF32_BITS = 11


class Emulated(np.ndarray):
    """An ndarray carried in float32, or float64, whose every floating result is rounded to a precision.

    Matmuls and sums accumulate in the carrier and round once, as hardware does; tf32 rounds a matmul's
    inputs to 11 bits, and nothing else.

    >>> x = emulate(np.array([1.0, 2.0**-9]), PRECISIONS["bfloat16"])
    >>> float(x.sum())
    1.0
    """

    precision: Precision

    def __array_finalize__(self, parent: Any) -> None:
        """Hands the precision on to views and copies."""
        if isinstance(parent, Emulated):
            self.precision = parent.precision

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any
    ) -> Any:
        """Computes in the carrier, then rounds."""
        precision = next(x.precision for x in (*inputs, *(out or ())) if isinstance(x, Emulated))
        plain = [_carried(x, precision) for x in inputs]
        if ufunc is np.matmul and precision.matmul_input:
            plain = [round_to_bits(x, TF32_BITS).astype(precision.dtype) for x in plain]
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            result = getattr(ufunc, method)(*plain, **kwargs)
        if out is not None:
            out[0].view(np.ndarray)[...] = precision.rounded(result)
            return out[0]
        floats = isinstance(result, (np.ndarray, np.generic)) and np.issubdtype(result.dtype, np.floating)
        return emulate(result, precision) if floats else result

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Keeps the results of NumPy's other functions emulated, also where these lose the subclass."""
        result = super().__array_function__(func, types, args, kwargs)
        if type(result) is np.ndarray and np.issubdtype(result.dtype, np.floating):
            return emulate(result, self.precision)
        return result


def emulate(x: Any, precision: Precision) -> Any:
    """``x`` rounded to a precision, as an array that goes on rounding to it."""
    view = np.asarray(precision.rounded(np.asarray(x)), precision.dtype).view(Emulated)
    view.precision = precision
    return view


def round_to_bits(x: Any, bits: int) -> Any:
    """``x`` rounded to a number of significant bits.

    >>> float(round_to_bits(np.array(1.01), 8))
    1.0078125
    """
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.round(fraction * 2.0**bits) / 2.0**bits, exponent)


def find_accumulator(precision: Precision) -> Precision:
    """The precision in which kernels keep running sums: float32, or float64 for itself."""
    return PRECISIONS["float64" if precision.name == "float64" else "float32"]


def _carried(x: Any, precision: Precision) -> Any:
    """A plain operand in the carrier's type; constants too, as a framework casts them."""
    x = x.view(np.ndarray) if isinstance(x, Emulated) else x
    if isinstance(x, (np.ndarray, np.generic)) and np.issubdtype(x.dtype, np.floating):
        return x.astype(precision.dtype)
    return x
