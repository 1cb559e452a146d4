"""What an adapter's callable may answer: arrays of real numbers, or that it does not take these sizes."""

from __future__ import annotations

import os
from traceback import format_exception
from typing import Any, Literal

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
"""The folder of what calls an implementation."""

Kind = Literal["wrong", "raised", "refused"]
"""How a law is broken: by a wrong answer, by an exception, or by an answer that the convention rejects."""


class BadAnswer(Exception):
    """The implementation raised, or returned no proper array: whatever law asked it is broken."""

    kind: Kind = "wrong"
    traceback = ""


class Raised(BadAnswer):
    """The implementation raised an exception; ``traceback`` says where."""

    kind = "raised"

    def __init__(self, reason: str, traceback: str = "") -> None:
        super().__init__(reason)
        self.traceback = traceback


class Refused(BadAnswer):
    """The implementation answered what its convention rejects."""

    kind = "refused"


class Declined(Exception):
    """Sizes that the implementation says it does not take, or that its convention rejects as it does.

    An adapter may raise it from a callable, where only the arguments themselves tell.
    """


def check_answer(result: Any, shape: Any, name: str) -> Any:
    """The result of a callable as float64 (or integers, booleans), once it is what adapters return.

    Errors: `BadAnswer` for anything but NumPy arrays of real numbers of the right shape, without NaN.
    """
    if not isinstance(shape, list):
        return _array(result, shape, name)
    if not isinstance(result, (list, tuple)):
        raise BadAnswer(f"{name} returned {_kind(result)}: adapters return a list of NumPy arrays here")
    if len(result) != len(shape):
        raise BadAnswer(f"{name} returned {len(result)} maps: there are {len(shape)} stages")
    return [_array(one, expected, name) for one, expected in zip(result, shape, strict=True)]


def _array(result: Any, shape: tuple[int, ...], name: str) -> Any:
    result = make_plain(result, name)
    if result.shape != tuple(shape):
        raise BadAnswer(f"{name} returned shape {result.shape}: it should be {tuple(shape)}")
    if np.isnan(result).any():
        first = tuple(int(i) for i in np.argwhere(np.isnan(result))[0])
        raise BadAnswer(f"{name} returned NaN, first at {first}")
    return result.astype(np.float64) if result.dtype.kind == "f" else result


def make_plain(result: Any, name: str) -> Any:
    """Returns a result as an array of NumPy's own type, which cannot answer for itself; no copy is made.

    Errors: `BadAnswer` for anything but a NumPy array of real numbers.
    """
    if not issubclass(type(result), np.ndarray):
        raise BadAnswer(f"{name} returned {_kind(result)}: adapters return NumPy arrays, convert it")
    plain = np.ndarray.view(result, np.ndarray)
    if plain.dtype.kind not in "fiub":
        raise BadAnswer(f"{name} returned an array of {plain.dtype}: adapters return real numbers")
    return plain


def read_reason(error: BaseException) -> str:
    """Returns the first line of an exception's message, whatever its ``str`` does."""
    try:
        lines = str.strip(str(error)).splitlines()
    except BaseException as worse:
        return f"(its message raised {type(worse).__name__})"
    return lines[0] if lines else "(no message)"


def format_traceback(error: BaseException) -> str:
    """Returns an exception with the lines of code that it passed, without those that only called it.

    Whatever the exception's own methods do, this returns a text.
    """
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(HERE):
            trace = trace.tb_next
        return "".join(format_exception(type(error), error, trace)).rstrip()
    except BaseException as worse:
        return f"(its traceback raised {type(worse).__name__})"


def _kind(result: Any) -> str:
    kind = type(result)
    return f"a {kind.__module__}.{kind.__qualname__}".replace("a builtins.", "a ")
