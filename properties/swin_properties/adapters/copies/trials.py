"""Trials: which of the ways to compute a callable gives what it has to give, on small cases."""

from __future__ import annotations

import re
import sys
import traceback
from dataclasses import dataclass, replace
from inspect import Parameter
from typing import Any

import numpy as np
from swin_reference.config import CONVENTIONS

from swin_properties.adapters.answers import Declined, read_reason
from swin_properties.adapters.contract import (
    CONTRACT,
    list_parameters,
    result_shape,
)
from swin_properties.adapters.copies.parts import Parts
from swin_properties.adapters.copies.templates import Candidate
from swin_properties.adapters.copies.written import ADAPTER_FILE, Recognised, compile_adapter
from swin_properties.cases.case import Case, GridCase, NetCase
from swin_properties.cases.case_v2 import with_v2


def make_cases(
    grid: tuple[int, int], window: tuple[int, int], image: tuple[int, int], patch: tuple[int, int]
) -> dict[type[Case], Any]:
    """Returns a case of each type with these sides, for both versions."""
    shift = window[0] // 2, window[1] // 2
    return with_v2(
        {
            GridCase: GridCase(grid=grid, window=window, shift=shift, heads=2, head_dim=4),
            NetCase: NetCase(
                image=image, patch=patch, window=window, depths=(2, 1), heads=(2, 4), embed_dim=8, classes=5
            ),
        }
    )


RECTANGLES = make_cases((8, 12), (4, 2), image=(32, 64), patch=(2, 4))
"""The sizes of the first trial: windows and grids with sides of their own."""

SQUARE_WINDOWS = make_cases((8, 12), (4, 4), image=(32, 64), patch=(2, 2))
SQUARES = make_cases((8, 8), (4, 4), image=(32, 32), patch=(2, 2))

Trials = tuple[tuple[dict[type[Case], Any], dict[str, Any]], ...]


TRIALS: Trials = (
    (RECTANGLES, {}),
    (SQUARE_WINDOWS, {"square_windows": True}),
    (SQUARES, {"square_windows": True, "square_grids": True}),
)
"""The sizes that are tried, one after the other, and the scope of what takes only those."""


def try_ways(found: Recognised, parts: Parts, name: str, ways: list[Candidate], trials: Trials) -> None:
    """Finds the first way that gives what the callable has to give, else one that gives anything.

    Where none runs, the reason is that of the way that came farthest.
    """
    runs: list[tuple[Candidate, dict[str, Any]]] = []
    shape: tuple[int, ...] = ()
    on_rectangles = (-2, False), ""
    farthest, reason = (-2, False), "no way to it is known"
    for cases, scope in trials:
        for way in ways:
            outcome = try_way(found, parts, name, way, cases)
            if outcome.fits:
                limits = dict(scope)
                if takes_pairs(way):  # it takes windows of any sides: where it raises, a law will say so
                    limits.pop("square_windows", None)
                accept(found, name, way, limits)
                if "square_grids" in limits:
                    why = f"{name} raises on others: {on_rectangles[1]}"
                    found.notes.append(f"grids with equal sides only, as {why}")
                return
            if cases is SQUARE_WINDOWS and outcome.rank > on_rectangles[0]:
                on_rectangles = outcome.rank, outcome.reason
            if not outcome.reason:
                runs.append((way, scope))
                shape = outcome.shape
            elif outcome.rank > farthest:
                farthest, reason = outcome.rank, outcome.reason
    if runs and not name.endswith("transformer"):
        accept(found, name, *runs[0])  # its shape is wrong, which a law will say
    elif runs:
        found.refused[name] = f"its network gives the shape {shape}, logits are (B, classes)"
    else:
        found.refused[name] = reason


@dataclass(frozen=True)
class Outcome:
    """Why a way does not run, empty if it does; where it stopped; whether its result has the right shape."""

    reason: str = ""
    line: int = 0
    fits: bool = False
    shape: tuple[int, ...] = ()

    @property
    def rank(self) -> tuple[int, bool]:
        """How much the reason tells: where it stopped, and whether more is wrong than the form of a size."""
        return self.line, not re.search(r"'(tuple|list)'|values to unpack|subscriptable", self.reason)


def takes_pairs(way: Candidate) -> bool:
    """Tells whether a way gives a window as a pair."""
    return not re.search(r"side\((config\.)?window_size", way.body)


def accept(found: Recognised, name: str, way: Candidate, scope: dict[str, Any]) -> None:
    """Takes a way, and the scope of what it takes."""
    found.methods[name] = (write_parameters(name, way), way)
    found.scope |= scope


def write_parameters(name: str, way: Candidate) -> str:
    """Returns the parameters of a callable: of those that may be left out, the ones that its body uses."""
    words = [
        p.replace(annotation=Parameter.empty)
        for p in list_parameters(name)
        if p.default is p.empty or re.search(rf"\b{p.name}\b", way.body)
    ]
    return ", ".join(map(str, words))


def try_way(
    found: Recognised, parts: Parts, name: str, way: Candidate, cases: dict[type[Case], Any]
) -> Outcome:
    """Returns what came of a way on a case."""
    arguments = CONTRACT[name].arguments(cases[CONTRACT[name].kind])
    methods = dict(found.methods) | {name: (write_parameters(name, way), way)}
    adapter = compile_adapter(replace(found, methods=methods), parts)
    try:
        result = getattr(adapter, name)(*to_float32(arguments))
    except Declined as declined:
        return Outcome(str(declined), -1)
    except (Exception, SystemExit) as error:
        return Outcome(f"{type(error).__name__}: {read_reason(error)}", find_line(error))
    shape = result_shape(name, arguments, CONVENTIONS["canonical"])
    if isinstance(shape, list):
        if not isinstance(result, list) or not result:
            return Outcome("it gives no maps", sys.maxsize)
        return Outcome(fits=[np.shape(x) for x in result] == [tuple(one) for one in shape])
    if not isinstance(result, np.ndarray):
        return Outcome(f"it gives a {type(result).__name__}", sys.maxsize)
    return Outcome(fits=result.shape == tuple(shape), shape=result.shape)


def run(found: Recognised, parts: Parts, name: str, *arguments: Any) -> Any:
    """Returns what a callable that is recognised gives; None where it raises."""
    try:
        return getattr(compile_adapter(found, parts), name)(*to_float32(arguments))
    except (Exception, SystemExit):
        return None


def find_line(error: BaseException) -> int:
    """Returns the line of the adapter in which an exception was raised."""
    lines = [
        frame.lineno or 0
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(ADAPTER_FILE)
    ]
    return lines[-1] if lines else 0


def to_float32(value: Any) -> Any:
    """Returns arguments as an adapter in float32 is given them."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32) if value.dtype.kind == "f" else value
    if isinstance(value, dict):
        return {key: to_float32(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "depths"):
        return type(value)(to_float32(child) for child in value)
    return value
