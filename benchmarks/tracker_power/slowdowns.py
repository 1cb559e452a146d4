"""Adapters of `swin_torch` with planted slowdowns, and one without: ``plain``."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, sleep
from typing import Any

import numpy as np
from swin_timing import interleaved

from swin_torch import Adapter

SLOWDOWN = 0.08

Work = Callable[[], Any]


class Planted(Adapter):
    """Runs a callable of `swin_torch` and then a slowdown."""

    def __init__(self, slowdown: Callable[[float], Work], convention: str = "canonical") -> None:
        """``slowdown`` takes the seconds of a run and returns the work to add."""
        super().__init__(convention=convention)
        self.slowdown = slowdown

    def prepare(self, name: str, *args: Any, **kwargs: Any) -> Work:
        """Returns the prepared callable followed by the slowdown."""
        run = super().prepare(name, *args, **kwargs)
        added = self.slowdown(min(interleaved.make_sample(run)() for _ in range(30)))

        def both() -> None:
            run()
            added()

        return both


def add_nothing(_seconds: float) -> Work:
    """Adds no slowdown."""
    return lambda: None


def add_wait(seconds: float) -> Work:
    """Adds a busy wait."""

    def wait() -> None:
        end = perf_counter() + SLOWDOWN * seconds
        while perf_counter() < end:
            pass

    return wait


def add_sleep(seconds: float) -> Work:
    """Adds a sleep, which takes a little longer than asked."""
    return lambda: sleep(SLOWDOWN * seconds)


def add_copy(seconds: float) -> Work:
    """Adds a copy of as many numbers as take that long."""
    one = np.ones(1 << 14)
    other = np.empty_like(one)

    def copy() -> None:
        for _ in range(times):
            np.copyto(other, one)

    times = 1
    times = round(SLOWDOWN * seconds / min(interleaved.make_sample(copy, 100)() for _ in range(30)))
    return copy


plain = Planted(add_nothing)
busy_wait = Planted(add_wait)
short_sleep = Planted(add_sleep)
extra_copy = Planted(add_copy)
soft_mask = Planted(add_nothing, "timm")  # its mask adds -100, ours is hard
