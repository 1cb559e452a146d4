"""Planted slowdowns of `swin_torch`'s operator, each an adapter, and the operator as it is: ``plain``."""

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
    """`swin_torch` with a slowdown after each run of its operator."""

    def __init__(self, slowdown: Callable[[float], Work], convention: str = "canonical") -> None:
        """``slowdown`` makes, from the seconds of a run, the work that is added."""
        super().__init__(convention=convention)
        self.slowdown = slowdown

    def prepare(self, name: str, *args: Any, **kwargs: Any) -> Work:
        """The operator made ready, and the slowdown."""
        run = super().prepare(name, *args, **kwargs)
        added = self.slowdown(min(interleaved.timed(run)() for _ in range(30)))

        def both() -> None:
            run()
            added()

        return both


def nothing(_seconds: float) -> Work:
    """No slowdown."""
    return lambda: None


def waiting(seconds: float) -> Work:
    """A busy wait."""

    def wait() -> None:
        end = perf_counter() + SLOWDOWN * seconds
        while perf_counter() < end:
            pass

    return wait


def sleeping(seconds: float) -> Work:
    """A sleep, which takes a little longer than it is asked to."""
    return lambda: sleep(SLOWDOWN * seconds)


def copying(seconds: float) -> Work:
    """A copy of as many numbers as take that long."""
    one = np.ones(1 << 14)
    other = np.empty_like(one)

    def copy() -> None:
        for _ in range(times):
            np.copyto(other, one)

    times = 1
    times = round(SLOWDOWN * seconds / min(interleaved.timed(copy, 100)() for _ in range(30)))
    return copy


plain = Planted(nothing)
busy_wait = Planted(waiting)
short_sleep = Planted(sleeping)
extra_copy = Planted(copying)
soft_mask = Planted(nothing, "timm")  # its mask adds -100, ours is hard
