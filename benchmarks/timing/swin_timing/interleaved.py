"""Interleaved measurement: runs in rounds of rotated order, judged by their minima beside an anchor.

Sequential runs measure the machine's mood.  Here every round runs each candidate once, the order rotated, and
the anchor, whose work never changes: when its own times spread, the machine was disturbed, and no ratio of
that measurement counts.  On a machine that others share evenly every anchor takes as long as the next; so its
least time is that on the processor, which waiting does not lengthen.  And where other work keeps the other
cores busy, the machine was disturbed whatever the anchor says: cores share caches and memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from time import perf_counter, process_time, thread_time

import numpy as np

from swin_timing.machine_load import machine_seconds, other_work

ROUNDS = 15
"""The least number of rounds whose minima are known to be steady: fewer gave false alarms."""

DISTURBED = 0.25
"""The anchor's spread over which the machine was disturbed: quiet gave up to 0.07, busy loops over 1.

Also the share of all cores' time that other work may take.
"""

SAMPLE, ANCHOR = 2e-3, 20e-3
"""Seconds that a sample takes at least, and an anchor about: one under 2 ms slips between disturbances."""

Run = Callable[[], object]
"""What is measured: its work is done when it returns, or when the `wait` of its sample does."""

Sample = Callable[[], float]
"""A run that gives the seconds that it took; they may have been taken in another process."""

Anchor = Callable[[], tuple[float, float]]
"""A run that gives the seconds that it took, and of these the seconds that it had the processor."""


Clock = Callable[[], float]
"""The seconds that something had a processor until now."""


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
    """The seconds that it had the processor in these rounds, and in those that do not count."""
    other_work: float = 0.0
    """The share of all cores' time that went to other processes, where the system tells it."""

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
        return self.disturbance > DISTURBED or self.other_work > DISTURBED


def nothing() -> None:
    """The wait of a run that returns when its work is done."""


def measured(
    runs: Mapping[str, Run],
    rounds: int = ROUNDS,
    least: float = SAMPLE,
    wait: Run = nothing,
    patience: int = 1,
) -> Paired:
    """Measures runs of this process, each warmed up and repeated until a sample takes ``least`` seconds.

    Times are of one run.  ``wait`` is called once a sample, within its time: waiting for a GPU takes as long
    as a small kernel.  ``patience`` is that of `interleaved`.

    Errors: ``ValueError`` for too few rounds or no runs.

    >>> paired = measured({"sum": lambda: sum(range(100))}, least=1e-5)
    >>> len(paired.times["sum"]), len(paired.anchor), paired.best("sum") > 0
    (15, 15, True)
    """
    for run in runs.values():
        run()
    wait()
    samples = {name: timed(run, repeats(timed(run, wait=wait)(), least), wait) for name, run in runs.items()}
    return interleaved([samples], anchor(), rounds, patience)


def interleaved(
    groups: Sequence[Mapping[str, Sample]],
    anchor: Anchor,
    rounds: int = ROUNDS,
    patience: int = 1,
    clock: Clock = process_time,
    turns: int = 1,
) -> Paired:
    """Every round takes the anchor, then each sample of a group, the order rotated; group after group.

    Of so many ``turns`` a round keeps the least.

    A group's samples are those of the other groups by the same names, made anew, in other processes say.
    What counts are the rounds in which the anchor was quiet, ``rounds`` of each group; waiting for them takes
    ``patience`` times as many at most, and then all of them tell that the machine was disturbed; ``clock``
    gives the processor's seconds that this process has had, and those that take the samples for it.

    Errors: ``ValueError`` for too few rounds, of all groups together, or no samples.
    """
    check_rounds(rounds * len(groups))
    if not all(groups):
        raise ValueError("a measurement has at least one run, got none: give it one")
    done: list[tuple[float, dict[str, float]]] = []
    on_cpu: list[float] = []
    machine, ours = machine_seconds(), clock()
    for number in range(rounds * patience * len(groups)):
        passed, had = anchor()
        on_cpu.append(had)
        done.append((passed, _round(groups[number % len(groups)], number // len(groups), turns)))
        limit = (1 + DISTURBED) * min([*on_cpu, *(passed for passed, _ in done)])
        quiet = [
            [one for one in done[first :: len(groups)] if one[0] <= limit] for first in range(len(groups))
        ]
        if all(len(of_group) >= rounds for of_group in quiet):
            done = [one for of_group in quiet for one in of_group]
            break
        if len(done) == rounds * len(groups) and sum(map(len, quiet)) * patience < len(done):
            break  # at this rate there would not be enough
    times = {name: tuple(seconds[name] for _, seconds in done) for name in groups[0]}
    others = other_work(machine, machine_seconds(), clock() - ours)
    return Paired(times, tuple(passed for passed, _ in done), tuple(on_cpu), others)


def _round(samples: Mapping[str, Sample], number: int, turns: int) -> dict[str, float]:
    """The least seconds of each sample in a round."""
    taken = [
        {name: samples[name]() for name in rotated(list(samples), number + turn)} for turn in range(turns)
    ]
    return {name: min(one[name] for one in taken) for name in samples}


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


@contextmanager
def on_one_core(processes: Sequence[int] = ()) -> Iterator[None]:
    """This thread, and processes by their number, stay on the core that is fastest now, where a system can.

    Cores that others share, or that are made unequal, would otherwise tell one candidate from the next.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        core = min(before, key=_time_on)
        for process in (0, *processes):
            os.sched_setaffinity(process, {core})
        yield
    finally:
        os.sched_setaffinity(0, before)


def _time_on(core: int) -> float:
    """The seconds of an anchor on a core."""
    os.sched_setaffinity(0, {core})
    sample = anchor(ANCHOR / 4)
    return min(sample()[0] for _ in range(3))


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
