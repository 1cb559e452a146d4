"""Times several runs in turn, beside a run whose work never changes, and says when the machine was disturbed.

Runs that are timed one after the other measure what else the machine did meanwhile.  So every round takes
each run once, in rotated order, and one anchor: work that is always the same.  The ratio of the least times
counts.  Where the anchor's own times spread, other work disturbed the machine and no ratio of that
measurement counts.

Two more signs count as a disturbance.  Where other processes take an equal share of every round, all anchors
take equally long; so the anchor's processor time is compared as well, which waiting does not lengthen.  And
where other processes keep the other cores busy, they slow the shared caches and memory, whatever the anchor
shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from time import perf_counter, process_time, thread_time

import numpy as np

from swin_timing.machine_load import compute_other_work, read_core_seconds

ROUNDS = 15
"""The least number of rounds: the minima of fewer rounds gave false alarms."""

DISTURBED = 0.25
"""The spread of the anchor above which the machine counts as disturbed.

Quiet machines gave up to 0.07, busy loops more than 1.  Also the largest share of all cores' time that other
processes may take.
"""

SAMPLE, ANCHOR = 2e-3, 20e-3
"""The least seconds of a sample, and about those of an anchor: below 2 ms both miss disturbances."""

Run = Callable[[], object]
"""What is timed.  Its work is done when it returns, or when the `wait` of its sample returns."""

Sample = Callable[[], float]
"""A function that runs something and returns the seconds of one run; another process may measure them."""

Anchor = Callable[[], tuple[float, float]]
"""A function that runs the anchor's work and returns its seconds and its processor seconds."""

Clock = Callable[[], float]
"""A function that returns the processor seconds that something has used until now."""


@dataclass(frozen=True)
class Timings:
    """Holds the seconds of every round: those of each run, by name, and those of the anchor.

    >>> timings = Timings({"old": (2.0, 4.0), "new": (3.0, 3.0)}, anchor=(10.0, 10.5))
    >>> timings.best("old"), timings.ratio("new", "old"), timings.spread("old"), timings.disturbed
    (2.0, 1.5, 1.0, False)
    """

    times: Mapping[str, tuple[float, ...]]
    anchor: tuple[float, ...]
    anchor_on_cpu: tuple[float, ...] = ()
    """The anchor's processor seconds, in these rounds and in those that do not count."""
    other_work: float = 0.0
    """The share of all cores' time that other processes took; 0 where the system does not tell."""

    def best(self, name: str) -> float:
        """Returns the least seconds of a run."""
        return min(self.times[name])

    def ratio(self, name: str, base: str) -> float:
        """Returns min(name) / min(base): more than 1 where ``name`` is slower."""
        return self.best(name) / self.best(base)

    def ratio_range(self, name: str, base: str) -> tuple[float, float]:
        """Returns the first and third quartile of name / base over the rounds.

        >>> Timings({"old": (2.0,) * 5, "new": (2.0, 2.5, 3.0, 3.5, 4.0)}, (1.0,)).ratio_range("new", "old")
        (1.25, 1.75)
        """
        ratios = np.divide(self.times[name], self.times[base])
        low, high = np.quantile(ratios, (0.25, 0.75))
        return float(low), float(high)

    def spread(self, name: str) -> float:
        """Returns max / min - 1 of a run."""
        return max(self.times[name]) / min(self.times[name]) - 1

    @property
    def disturbance(self) -> float:
        """The anchor's max / min - 1, where the minimum includes its processor seconds.

        >>> Timings({}, anchor=(3.0, 3.0), anchor_on_cpu=(2.0, 1.5)).disturbance
        1.0
        """
        return max(self.anchor) / min(self.anchor + self.anchor_on_cpu) - 1

    @property
    def disturbed(self) -> bool:
        """Whether other work disturbed the machine, so that this measurement counts for nothing."""
        return self.disturbance > DISTURBED or self.other_work > DISTURBED


def do_nothing() -> None:
    """Does nothing: the wait of a run that returns when its work is done."""


def measure(
    runs: Mapping[str, Run],
    rounds: int = ROUNDS,
    least: float = SAMPLE,
    wait: Run = do_nothing,
    patience: int = 1,
) -> Timings:
    """Times runs of this process: one to warm up, then as many as fill a sample of ``least`` seconds.

    The times are those of one run.  Each sample calls ``wait`` once, within its time, because waiting for a
    GPU takes as long as a small kernel.  ``patience`` is explained in `measure_interleaved`.

    Errors: ``ValueError`` for too few rounds or no runs.

    >>> timings = measure({"sum": lambda: sum(range(100))}, least=1e-5)
    >>> len(timings.times["sum"]), len(timings.anchor), timings.best("sum") > 0
    (15, 15, True)
    """
    for run in runs.values():
        run()
    wait()
    samples = {
        name: make_sample(run, count_repeats(make_sample(run, wait=wait)(), least), wait)
        for name, run in runs.items()
    }
    return measure_interleaved([samples], make_anchor(), rounds, patience)


def measure_interleaved(
    groups: Sequence[Mapping[str, Sample]],
    anchor: Anchor,
    rounds: int = ROUNDS,
    patience: int = 1,
    clock: Clock = process_time,
    turns: int = 1,
) -> Timings:
    """Times samples in rounds: the anchor first, then each sample of one group, in rotated order.

    ``groups``: samples by name; all groups have the same names.  A group may hold the samples of another pair
    of processes.  The groups take turns, one group a round.

    ``rounds``: the quiet rounds that each group needs.  A round is quiet where its anchor was; only quiet
    rounds count.

    ``patience``: at most ``patience`` times as many rounds are taken to find them.  If they are not found,
    all rounds are returned, and they show that the machine was disturbed.

    ``clock``: returns the processor seconds of this process and of those that take samples for it.

    ``turns``: how often a round takes each sample; the least time counts.

    Errors: ``ValueError`` for fewer than `ROUNDS` rounds in all groups together, or no samples.
    """
    check_rounds(rounds * len(groups))
    if not all(groups):
        raise ValueError("a measurement has at least one run, got none: give it one")
    done: list[tuple[float, dict[str, float]]] = []
    on_cpu: list[float] = []
    machine, ours = read_core_seconds(), clock()
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
    others = compute_other_work(machine, read_core_seconds(), clock() - ours)
    return Timings(times, tuple(passed for passed, _ in done), tuple(on_cpu), others)


def _round(samples: Mapping[str, Sample], number: int, turns: int) -> dict[str, float]:
    """Takes each sample ``turns`` times, and returns the least seconds of each."""
    taken = [
        {name: samples[name]() for name in rotate(list(samples), number + turn)} for turn in range(turns)
    ]
    return {name: min(one[name] for one in taken) for name in samples}


def check_rounds(rounds: int) -> None:
    """Refuses fewer than `ROUNDS` rounds.

    Errors: ``ValueError``.
    """
    if rounds < ROUNDS:
        raise ValueError(
            f"minima are steady over at least {ROUNDS} rounds, got {rounds}: ask for {ROUNDS} or more"
        )


def rotate(names: list[str], turn: int) -> list[str]:
    """Returns the names in the order of a round.

    >>> rotate(["a", "b", "c"], 0), rotate(["a", "b", "c"], 4)
    (['a', 'b', 'c'], ['b', 'c', 'a'])
    """
    first = turn % len(names)
    return names[first:] + names[:first]


def make_sample(run: Run, repeats: int = 1, wait: Run = do_nothing) -> Sample:
    """Returns a sample that runs ``repeats`` times, waits once, and gives the mean seconds of a run."""

    def sample() -> float:
        start = perf_counter()
        for _ in range(repeats):
            run()
        wait()
        return (perf_counter() - start) / repeats

    return sample


def count_repeats(seconds: float, least: float = SAMPLE) -> int:
    """Returns how many runs of ``seconds`` fill a sample of ``least`` seconds.

    >>> count_repeats(1e-4), count_repeats(1.0)
    (20, 1)
    """
    return max(1, ceil(least / max(seconds, 1e-9)))


@contextmanager
def stay_on_one_core(processes: Sequence[int] = ()) -> Iterator[None]:
    """Keeps this thread, and processes given by number, on the core that is fastest now.

    Otherwise two runs could differ only because their cores do.  Does nothing where the system cannot bind
    processes to cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        core = min(before, key=_time_core)
        for process in (0, *processes):
            os.sched_setaffinity(process, {core})
        yield
    finally:
        os.sched_setaffinity(0, before)


def _time_core(core: int) -> float:
    """Returns the least seconds of a short anchor on a core."""
    os.sched_setaffinity(0, {core})
    sample = make_anchor(ANCHOR / 4)
    return min(sample()[0] for _ in range(3))


def make_anchor(seconds: float = ANCHOR) -> Anchor:
    """Returns an anchor of about ``seconds``: small matrix products, which run on one thread at this size."""
    matrices = np.full((64, 64, 64), 0.125)
    out = np.empty_like(matrices)

    def work() -> None:
        np.matmul(matrices, matrices, out=out)

    once = min(make_sample(work)() for _ in range(20))
    number = count_repeats(once, seconds)

    def sample() -> tuple[float, float]:
        start, start_on_cpu = perf_counter(), thread_time()
        for _ in range(number):
            work()
        on_cpu = thread_time() - start_on_cpu
        return perf_counter() - start, on_cpu

    return sample
