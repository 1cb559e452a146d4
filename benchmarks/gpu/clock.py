"""Clocks: how much time a part has left, and how long its runs take.  A rehearsal invents the times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from time import monotonic

from swin_timing import interleaved
from swin_timing.interleaved import ROUNDS, Run, Timings

LONGEST_STEP = 1e-3
"""The most seconds between two readings of an invented clock."""


class Clock:
    """Tells real time."""

    def now(self) -> float:
        """Returns the seconds since some moment."""
        return monotonic()

    def measure(self, runs: Mapping[str, Run], wait: Run) -> Timings:
        """Measures runs in interleaved rounds."""
        return interleaved.measure(runs, wait=wait)


class InventedClock(Clock):
    """Tells an invented time, which advances a little at each reading; runs each thing once."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)
        self._now = 0.0

    def now(self) -> float:
        """Returns a time that is later than at the last reading."""
        self._now += self._random.uniform(0.0, LONGEST_STEP)
        return self._now

    def measure(self, runs: Mapping[str, Run], wait: Run) -> Timings:
        """Runs each once, and invents the times."""
        for run in runs.values():
            run()
        wait()
        times = {name: tuple(self._invent() for _ in range(ROUNDS)) for name in runs}
        return Timings(times, (1.0,) * ROUNDS)

    def _invent(self) -> float:
        before = self.now()
        return self.now() - before


@dataclass(frozen=True)
class Deadline:
    """Holds the moment by which a part must end.

    >>> readings = iter([0.0, 1.0, 9.0])
    >>> deadline = Deadline.within(5.0, lambda: next(readings))
    >>> deadline.left(), deadline.left()
    (4.0, -4.0)
    """

    at: float
    now: Callable[[], float]

    @classmethod
    def within(cls, seconds: float, now: Callable[[], float]) -> Deadline:
        """Returns the deadline in ``seconds`` from now."""
        return cls(now() + seconds, now)

    def left(self) -> float:
        """Returns the seconds that are left."""
        return self.at - self.now()
