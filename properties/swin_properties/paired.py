"""Interleaved measurement: runs in rounds of rotated order, judged by their minima beside an anchor.

Sequential runs measure the machine's mood.  Here every round runs each candidate once, the order rotated, and
the anchor, whose work never changes: when its own times spread, the machine was disturbed, and no ratio of
that measurement counts.  On a machine that others share evenly every anchor takes as long as the next; so its
least time is that on the processor, which waiting does not lengthen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from time import perf_counter, thread_time

import numpy as np

ROUNDS = 15
"""The least number of rounds whose minima are known to be steady: fewer gave false alarms."""

DISTURBED = 0.25
"""The anchor's spread over which the machine was disturbed: quiet gave up to 0.07, busy loops over 1."""

SAMPLE, ANCHOR = 2e-3, 20e-3
"""Seconds that a sample takes at least, and an anchor about: one under 2 ms slips between disturbances."""

Run = Callable[[], object]
"""What is measured: its work is done when it returns, or when the `wait` of its sample does."""

Sample = Callable[[], float]
"""A run that gives the seconds that it took; they may have been taken in another process."""

Anchor = Callable[[], tuple[float, float]]
"""A run that gives the seconds that it took, and of these the seconds that it had the processor."""


@dataclass(frozen=True)
class Paired:
    """The seconds of every round: of each candidate by name, and of the anchor.

    >>> paired = Paired({"old": (2.0, 4.0), "new": (3.0, 3.0)}, anchor=(10.0, 10.5))
    >>> paired.best("old"), paired.ratio("new", "old"), paired.spread("old"), paired.disturbed
    (2.0, 1.5, 1.0, False)
    """

    times: dict[str, tuple[float, ...]]
    anchor: tuple[float, ...]
    anchor_on_cpu: tuple[float, ...] = ()
    """The seconds that it had the processor in these rounds, and in those before them."""

    def best(self, name: str) -> float:
        """The least seconds of a candidate."""
        return min(self.times[name])

    def ratio(self, name: str, base: str) -> float:
        """min(name) / min(base): over 1 where ``name`` is slower."""
        return self.best(name) / self.best(base)

    def ratio_range(self, name: str, base: str) -> tuple[float, float]:
        """The quartiles of name / base, round by round: what a plot shows beside the ratio of minima.

        >>> Paired({"old": (2.0,) * 5, "new": (2.0, 2.5, 3.0, 3.5, 4.0)}, (1.0,)).ratio_range("new", "old")
        (1.25, 1.75)
        """
        ratios = np.divide(self.times[name], self.times[base])
        low, high = np.quantile(ratios, (0.25, 0.75))
        return float(low), float(high)

    def spread(self, name: str) -> float:
        """max / min - 1 of a candidate."""
        return max(self.times[name]) / min(self.times[name]) - 1

    @property
    def disturbance(self) -> float:
        """max / min - 1 of the anchor; it can take no less than it had the processor.

        >>> Paired({}, anchor=(3.0, 3.0), anchor_on_cpu=(2.0, 1.5)).disturbance
        1.0
        """
        return max(self.anchor) / min(self.anchor + self.anchor_on_cpu) - 1

    @property
    def disturbed(self) -> bool:
        """Whether the machine was: then the answer is "inconclusive"."""
        return self.disturbance > DISTURBED


def nothing() -> None:
    """The wait of a run that returns when its work is done."""


def measured(
    runs: Mapping[str, Run], rounds: int = ROUNDS, least: float = SAMPLE, wait: Run = nothing
) -> Paired:
    """Measures runs of this process, each warmed up and repeated until a sample takes ``least`` seconds.

    Times are of one run.  ``wait`` is called once a sample, within its time: waiting for a GPU takes as long
    as a small kernel.  Errors: ``ValueError`` for too few rounds or no runs.

    >>> paired = measured({"sum": lambda: sum(range(100))}, least=1e-5)
    >>> len(paired.times["sum"]), len(paired.anchor), paired.best("sum") > 0
    (15, 15, True)
    """
    for run in runs.values():
        run()
    wait()
    samples = {name: timed(run, repeats(timed(run, wait=wait)(), least), wait) for name, run in runs.items()}
    return interleaved(samples, anchor(), rounds)


def interleaved(
    samples: Mapping[str, Sample], anchor: Anchor, rounds: int = ROUNDS, patience: int = 1
) -> Paired:
    """Every round takes the anchor, then each sample once, the order rotated from round to round.

    While the machine is disturbed it goes on, for ``patience`` times as many rounds at most: what counts are
    the last ``rounds``, all of them.

    Errors: ``ValueError`` for too few rounds or no samples.
    """
    check_rounds(rounds)
    if not samples:
        raise ValueError("a measurement has at least one run, got none: give it one")
    times: dict[str, list[float]] = {name: [] for name in samples}
    anchors: list[float] = []
    on_cpu: list[float] = []
    for turn in range(rounds * patience):
        passed, had = anchor()
        anchors.append(passed)
        on_cpu.append(had)
        for name in rotated(list(samples), turn):
            times[name].append(samples[name]())
        last = {name: tuple(seconds[-rounds:]) for name, seconds in times.items()}
        found = Paired(last, tuple(anchors[-rounds:]), tuple(on_cpu))
        if turn + 1 >= rounds and not found.disturbed:
            break
    return found


def check_rounds(rounds: int) -> None:
    """Errors: ``ValueError`` for fewer rounds than minima need to be steady."""
    if rounds < ROUNDS:
        raise ValueError(
            f"minima are steady over at least {ROUNDS} rounds, got {rounds}: ask for {ROUNDS} or more"
        )


def rotated(names: list[str], turn: int) -> list[str]:
    """The names in the order of a round.

    >>> rotated(["a", "b", "c"], 0), rotated(["a", "b", "c"], 4)
    (['a', 'b', 'c'], ['b', 'c', 'a'])
    """
    first = turn % len(names)
    return names[first:] + names[:first]


def timed(run: Run, repeats: int = 1, wait: Run = nothing) -> Sample:
    """The run as a sample: the mean seconds of a run, of ``repeats`` in a row and the wait for them."""

    def sample() -> float:
        start = perf_counter()
        for _ in range(repeats):
            run()
        wait()
        return (perf_counter() - start) / repeats

    return sample


def repeats(seconds: float, least: float = SAMPLE) -> int:
    """How many runs of ``seconds`` make a sample of ``least`` seconds.

    >>> repeats(1e-4), repeats(1.0)
    (20, 1)
    """
    return max(1, ceil(least / max(seconds, 1e-9)))


def anchor(seconds: float = ANCHOR) -> Anchor:
    """Work that never changes, of about ``seconds``: small matrix products, on one thread at this size."""
    matrices = np.full((64, 64, 64), 0.125)
    out = np.empty_like(matrices)

    def work() -> None:
        np.matmul(matrices, matrices, out=out)

    once = min(timed(work)() for _ in range(20))
    number = repeats(once, seconds)

    def sample() -> tuple[float, float]:
        start, start_on_cpu = perf_counter(), thread_time()
        for _ in range(number):
            work()
        on_cpu = thread_time() - start_on_cpu
        return perf_counter() - start, on_cpu

    return sample
