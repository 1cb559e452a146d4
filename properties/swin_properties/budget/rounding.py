"""An array that errs like an honest implementation: every operation rounds, at random, once.

Run through the oracle's own code, it tells how far an honest implementation may end from the exact
result, element by element.  (Monte Carlo arithmetic; Parker 1997, Higham & Mary 2019.)

On complex arrays the imaginary part carries a derivative (gradient.py), and stands for the backward pass
that computes the same number from the other end.  There every use of a value becomes a term of a sum:
what is used n times has a gradient of n terms, which honest code adds in the precision of storage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite, prod, sqrt
from typing import Any

import numpy as np

from swin_properties.budget.precision import Precision

EXACT = {
    np.maximum,
    np.minimum,
    np.absolute,
    np.negative,
    np.positive,
    np.conjugate,
    np.isfinite,
    np.isnan,
    np.sign,
}
"""Floating operations that do not round; comparisons do not give floats and are exact anyway."""


class Rounding:
    """A precision and the random numbers that decide how each operation of one run rounds.

    ``bound``: every rounding is as large as it can be, xi = -1 or 1.  Nearly equal numbers round alike: their
    errors do not average out over the tokens, and may all be near the bound at once.
    """

    def __init__(self, precision: Precision, rng: np.random.Generator, bound: bool = False) -> None:
        self.precision = precision
        self.rng = rng
        self.bound = bound

    def array(self, x: Any) -> Any:
        """``x`` as an array that rounds from now on; ``x`` itself is not rounded."""
        return _rounding(np.array(x, dtype=np.result_type(x, np.float64)), self)

    def perturbed(self, z: Any, unit: float, scale: Any) -> Any:
        """z + unit * scale * xi, with xi uniform in (-1, 1); non-finite values stay as they are."""
        kind = z.dtype.kind
        if not unit or kind not in "fc":
            return z
        if kind == "c":
            real = self.perturbed(z.real, unit, np.real(scale))
            return complexes(real, self.perturbed(z.imag, unit, np.imag(scale)))
        # Few calls, and in place: arrays are small, and a run rounds some hundred thousand of them.
        xi = np.asarray(self.rng.random(z.shape, np.float32))
        xi *= 2.0
        xi -= 1.0
        if self.bound:
            np.sign(xi, out=xi)
        moved = np.asarray(unit * scale * xi)
        moved += z
        if isfinite(np.add.reduce(moved, axis=None)):  # no sum is finite where one of its terms is not
            return moved
        return np.where(np.isfinite(z), moved, z)

    def used(self, x: Any, spread: Callable[[Any], Any], unit: float) -> Any:
        """spread(x), which uses ``x`` many times, its derivative erring as the backward sum over the uses.

        dx = sum of n terms errs by n u |dx| where terms are equal, as after a mean, and round alike; and by
        sqrt(n) u of each term, which counts where they cancel.  What is not complex has no derivative.
        """
        y = spread(x)
        uses = y.size / max(x.size, 1)
        if x.dtype.kind != "c" or uses <= 1:
            return y
        once = spread(self.perturbed(x.imag, unit * uses, x.imag))
        return complexes(y.real, self.perturbed(once, unit * sqrt(uses), once))


class Rounded(np.ndarray):
    """An ndarray whose every floating result carries one random rounding error.

    elementwise: z (1 + u xi); A @ B: u_acc sqrt(n) (|A| @ |B|) xi + u z xi'; sum over n:
    u_acc sqrt(n) sum|a| xi + u z xi'.  Maxima, comparisons, indexing and reshaping are exact.
    """

    rounding: Rounding

    def __array_finalize__(self, parent: Any) -> None:
        """Hands the rounding on to views and copies."""
        if isinstance(parent, Rounded):
            self.rounding = parent.rounding

    @np.errstate(invalid="ignore", over="ignore", under="ignore", divide="ignore")
    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any
    ) -> Any:
        """Computes with plain arrays, then perturbs the result as the operation would round it."""
        rounding = next(x.rounding for x in (*inputs, *(out or ())) if isinstance(x, Rounded))
        plain = [_plain(x) for x in inputs]
        if ufunc is np.matmul:
            result = _matmul(rounding, *plain)
        elif ufunc is np.add and method == "reduce":
            result = _sum(rounding, plain[0], **kwargs)
        else:
            if method == "__call__" and any(map(np.iscomplexobj, plain)):
                plain = _broadcast(rounding, plain)
            result = getattr(ufunc, method)(*plain, **kwargs)
            if ufunc not in EXACT and isinstance(result, (np.ndarray, np.generic)):
                result = np.asarray(result)
                result = rounding.perturbed(result, rounding.precision.unit, result)
        return _written(result, out, rounding)

    def __getitem__(self, key: Any) -> Any:
        """Indexing is exact; looking entries up by an array of integers uses each of them many times."""
        result = super().__getitem__(key)
        if isinstance(key, np.ndarray) and key.dtype.kind in "iu" and np.iscomplexobj(result):
            unit = self.rounding.precision.unit
            return _rounding(self.rounding.used(_plain(self), lambda x: x[key], unit), self.rounding)
        return result

    def __array_function__(self, func: Any, types: Iterable[type], args: Any, kwargs: Any) -> Any:
        """Keeps the results of NumPy's other functions rounding, also where these lose the subclass."""
        result = super().__array_function__(func, types, args, kwargs)
        if type(result) is np.ndarray and result.dtype.kind in "fc":
            return _rounding(result, self.rounding)
        return result


def complexes(real: Any, imaginary: Any) -> Any:
    """The complex array of two real ones; where 1j * infinity would make a NaN, it does not."""
    z = np.empty(np.broadcast_shapes(np.shape(real), np.shape(imaginary)), np.complex128)
    z.real, z.imag = real, imaginary
    return z


def _rounding(x: Any, rounding: Rounding) -> Any:
    view = x.view(Rounded)
    view.rounding = rounding
    return view


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, Rounded) else x


def _written(result: Any, out: Any, rounding: Rounding) -> Any:
    """The result as a rounding array, in ``out`` if there is one; booleans and integers stay plain."""
    if out is not None:
        _plain(out[0])[...] = result
        return out[0]
    if isinstance(result, np.ndarray) and result.dtype.kind in "fc":
        return _rounding(result, rounding)
    return result


def _broadcast(rounding: Rounding, inputs: list[Any]) -> list[Any]:
    """Inputs of one shape; those that had another are used many times."""
    arrays = [np.asarray(x) for x in inputs]
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    unit = rounding.precision.unit
    return [
        x if x.shape == shape else rounding.used(x, lambda y: np.broadcast_to(y, shape), unit) for x in arrays
    ]


def _magnitude(a: Any, b: Any) -> Any:
    """sum |a_k| |b_k|, for real and imaginary part of a complex product each."""
    if not (np.iscomplexobj(a) or np.iscomplexobj(b)):
        return np.abs(a) @ np.abs(b)
    a_re, a_im, b_re, b_im = (np.abs(part) for part in (a.real, a.imag, b.real, b.imag))
    return (a_re @ b_re + a_im @ b_im) + 1j * (a_re @ b_im + a_im @ b_re)


def _matmul(rounding: Rounding, a: Any, b: Any) -> Any:
    precision = rounding.precision
    a = rounding.perturbed(np.asarray(a), precision.matmul_input, a)
    b = rounding.perturbed(np.asarray(b), precision.matmul_input, b)
    z = a @ b
    accumulated = rounding.perturbed(z, precision.accumulator * sqrt(a.shape[-1]), _magnitude(a, b))
    if z.dtype.kind == "c":
        accumulated = complexes(accumulated.real, accumulated.imag + _backward(rounding, a, b))
        accumulated = complexes(
            accumulated.real, rounding.perturbed(accumulated.imag, precision.matmul_input, z.imag)
        )
    return rounding.perturbed(accumulated, precision.unit, z)


def _backward(rounding: Rounding, a: Any, b: Any) -> Any:
    """How dA = dZ B^T and dB = A^T dZ err: sums over B's columns and A's rows, as in `Rounding.used`."""
    unit = rounding.precision.accumulator
    da, db = unit * sqrt(b.shape[-1]) * a.imag, unit * sqrt(a.shape[-2]) * b.imag
    once = rounding.perturbed(0 * da, 1.0, da) @ b.real + a.real @ rounding.perturbed(0 * db, 1.0, db)
    terms = np.sqrt(np.square(da) @ np.square(b.real) + np.square(a.real) @ np.square(db))
    return once + rounding.perturbed(0 * terms, 1.0, terms)


def _sum(rounding: Rounding, a: Any, axis: Any = 0, **kwargs: Any) -> Any:
    a = np.asarray(a)
    z = np.asarray(np.add.reduce(a, axis=axis, **kwargs))
    if np.iscomplexobj(a):
        size = np.add.reduce(np.abs(a.real), axis=axis, **kwargs) + 1j * np.add.reduce(
            np.abs(a.imag), axis=axis, **kwargs
        )
    else:
        size = np.add.reduce(np.abs(a), axis=axis, **kwargs)
    axes = range(a.ndim) if axis is None else (axis if isinstance(axis, tuple) else (axis,))
    terms = prod(a.shape[axis] for axis in axes)
    accumulated = rounding.perturbed(z, rounding.precision.accumulator * sqrt(terms), size)
    return rounding.perturbed(accumulated, rounding.precision.unit, z)
