"""How much time a part has left, and how long its runs take.  In a rehearsal the clock lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from time import monotonic

from swin_timing.interleaved import ROUNDS, Paired, Run, measured

LONGEST_LIE = 1e-3
"""Seconds that pass at most between two readings of a clock that lies."""


class Clock:
    """Real time."""

    def now(self) -> float:
        """Returns the seconds since some moment."""
        return monotonic()

    def measured(self, runs: Mapping[str, Run], wait: Run) -> Paired:
        """Measures runs in interleaved rounds."""
        return measured(runs, wait=wait)


class LyingClock(Clock):
    """Time that passes at random, a little at each reading: what a rehearsal measures takes one run each."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)
        self._now = 0.0

    def now(self) -> float:
        """Returns a time that is later than at the last reading."""
        self._now += self._random.uniform(0.0, LONGEST_LIE)
        return self._now

    def measured(self, runs: Mapping[str, Run], wait: Run) -> Paired:
        """Runs each once, and makes the times up."""
        for run in runs.values():
            run()
        wait()
        times = {name: tuple(self._lie() for _ in range(ROUNDS)) for name in runs}
        return Paired(times, (1.0,) * ROUNDS)

    def _lie(self) -> float:
        before = self.now()
        return self.now() - before


@dataclass(frozen=True)
class Deadline:
    """The moment by which a part is to be done.

    >>> readings = iter([0.0, 1.0, 9.0])
    >>> deadline = Deadline.within(5.0, lambda: next(readings))
    >>> deadline.left(), deadline.left()
    (4.0, -4.0)
    """

    at: float
    now: Callable[[], float]

    @classmethod
    def within(cls, seconds: float, now: Callable[[], float]) -> Deadline:
        """Returns the deadline in so many seconds."""
        return cls(now() + seconds, now)

    def left(self) -> float:
        """Returns the seconds that are left."""
        return self.at - self.now()
