"""Measures how often `swin-oracle compare` finds planted slowdowns, and how often it gives false alarms.

    python -m benchmarks.tracker_power [--runs 20] [--write benchmarks/tracker-power.md]

A run is what the command does with one case: it measures both sides, interleaved in processes of their own,
until there is a verdict.  Every measurement starts new processes.  The case is the shifted window attention
of `swin_torch`; the slowdowns are the adapters of `benchmarks.tracker_power.slowdowns`.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from swin_properties.reports import files
from swin_timing import interleaved
from swin_timing.interleaved import Anchor, Timings
from swin_timing.revisions import history, judging, process
from swin_timing.revisions.inputs import QUESTIONS, Case
from swin_timing.revisions.judging import BASE, HEAD
from swin_timing.revisions.process import Pair, Process, Tree
from swin_timing.revisions.trees import Repository

from benchmarks.tracker_power import slowdowns
from benchmarks.tracker_power.slowdowns import SLOWDOWN

SIZES = "stage2"
(QUESTION,) = (q for q in QUESTIONS if q.call == "shifted_window_attention" and q.sizes == SIZES)

HEADS = {
    "plain": "A/A: the same code",
    "busy_wait": f"a busy wait of {SLOWDOWN:.0%}",
    "short_sleep": f"a sleep of {SLOWDOWN:.0%}",
    "extra_copy": f"an extra copy of {SLOWDOWN:.0%}",
    "soft_mask": "the mask adds -100 in place of -inf",
}


class Head(Process):
    """A process that prepares a planted adapter in place of the one it is asked for."""

    planted = "plain"

    def prepare(self, case: Case, prepares: bool) -> float:
        """Prepares the planted adapter."""
        return super().prepare(make_case(self.planted), prepares)


def make_case(name: str) -> Case:
    """Returns the case of one of the slowdowns."""
    return QUESTION.for_implementation(f"{slowdowns.__file__}:{name}")


@dataclass
class Runs:
    """Holds what was planted, and the measurements of each run."""

    planted: str
    measurements: list[list[Timings]]

    @property
    def verdicts(self) -> Counter[str]:
        """The number of runs by verdict."""
        return Counter(map(judging.judge, self.measurements))

    @property
    def quiet(self) -> list[Timings]:
        """The measurements on a quiet machine."""
        return [one for run in self.measurements for one in run if not one.disturbed]

    @property
    def row(self) -> str:
        """Its row of the page."""
        counts = " | ".join(str(self.verdicts[word]) for word in ("slower", "same", "faster", "inconclusive"))
        ratios = [one.ratio(HEAD, BASE) for one in self.quiet]
        low, middle, high = np.quantile(ratios, (0, 0.5, 1)) if ratios else [float("nan")] * 3
        seen = f"{middle:.3f} ({low:.3f} to {high:.3f})" if ratios else "none"
        return f"{HEADS[self.planted]} | {len(self.measurements)} | {counts} | {len(ratios)} | {seen}"


@contextmanager
def start_pairs(planted: str) -> Iterator[list[Pair]]:
    """Starts new processes, as the command does for every measurement."""
    root = Path(__file__).resolve().parents[2]
    tree = Tree("this file", root, tuple(Repository.find(root).find_path(root)), ".", root)

    def start() -> tuple[Process, Process]:
        head = Head(tree)
        head.planted = planted
        return Process(tree), head

    with process.start_pairs(start, [make_case(name).implementation for name in ("plain", planted)]) as found:
        yield found


def measure_runs(planted: str, number: int, anchor: Anchor, rounds: int) -> Runs:
    """Measures runs with one slowdown."""
    found = Runs(planted, [])
    for _ in range(number):
        measurements: list[Timings] = []
        while not judging.judge(measurements):
            with start_pairs(planted) as started:
                measurements.append(process.measure(started, make_case("plain"), True, anchor, rounds))
        found.measurements.append(measurements)
    return found


@contextmanager
def run_busy_loops() -> Iterator[None]:
    """Runs a busy loop on every core."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def make_page(quiet: list[Runs], beside: list[Runs], rounds: int, load: float) -> str:
    """Returns the page."""
    head = "planted | runs | slower | same | faster | inconclusive | measurements that count | their ratios"
    line = "--- | " * 7 + "---"
    repository = Repository.find(Path(__file__).parent)
    machine = f"{history.find_processor_name()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    versions = f"NumPy {np.__version__}, torch {torch.__version__}"
    same = [found for found in quiet + beside if found.planted == "plain"]
    uncounted = [one for found in same for run in found.measurements for one in run if one.disturbed]
    return PAGE.format(
        sizes=SIZES,
        machine=f"{machine}, {versions}, commit {repository.find_commit('HEAD')[:12]}",
        milliseconds=1e3
        * min(one.best(BASE) for found in quiet for run in found.measurements for one in run),
        load=load,
        rounds=rounds,
        alarms=judging.ALARM,
        spread=interleaved.DISTURBED,
        tries=judging.TRIES,
        patience=judging.PATIENCE,
        pairs=judging.PAIRS,
        rates="\n".join(make_rate(found) for found in quiet),
        table="\n".join([head, line, *(found.row for found in quiet)]),
        beside="\n".join([head, line, *(found.row for found in beside)]),
        lost=sum(found.verdicts["inconclusive"] for found in quiet),
        all=sum(map(len, (found.measurements for found in quiet))),
        uncounted=len(uncounted),
        alarmed=sum(judging.judge_one(one) != "same" for one in uncounted),
    )


def make_rate(found: Runs) -> str:
    """Returns the rate of detections or false alarms among the runs with a verdict."""
    verdicts = found.verdicts
    answered = sum(verdicts.values()) - verdicts["inconclusive"]
    alarms = verdicts["slower"] + (verdicts["faster"] if found.planted == "plain" else 0)
    word = "false alarms" if found.planted == "plain" else "detected"
    return f"- {HEADS[found.planted]}: {alarms} of {answered} {word}"


PAGE = """# What `swin-oracle compare` catches

Written by `make tracker-power`; do not edit.

A run is what the command does with one case: the shifted window attention of `swin_torch` at {sizes} of
Swin-T, once as it is and once followed by a slowdown.  Each side has {pairs} processes, all on one core, and
each pair takes {rounds} interleaved rounds.  A measurement alarms where the ratio of minima changed by more
than {alarms:.0%}; the alarm counts if a second measurement in new processes agrees.  A round counts if its
anchor took at most {spread:.0%} longer than the fastest anchor; a measurement takes up to {patience} times as
many rounds to find enough of them.  Without them it does not count, nor where other work took more than
{spread:.0%} of all cores' time.  After {tries} measurements without a verdict the run is inconclusive.

Machine: {machine}. Load average {load:.1f} at the start. The shortest run of the operator took
{milliseconds:.1f} ms.

Of the runs with a verdict:

{rates}

The machine was too disturbed for a verdict in {lost} of {all} runs. Of the {uncounted} A/A measurements
that did not count, {alarmed} would have alarmed.

{table}

## Beside a busy loop on every core

No run may pass and none may alarm here: every run should be inconclusive.

{beside}
"""


def main() -> None:
    """Measures all slowdowns and prints or writes the page."""
    parser = argparse.ArgumentParser(description="the detection and false-alarm rates of swin-oracle compare")
    parser.add_argument("--runs", type=int, default=20, help="A/A, and of slowdowns together (default 20)")
    parser.add_argument(
        "--rounds", type=int, default=interleaved.ROUNDS, help=f"default {interleaved.ROUNDS}"
    )
    parser.add_argument("--write", metavar="FILE", help="where the page goes (default: standard output)")
    args = parser.parse_args()
    load, anchor = os.getloadavg()[0], interleaved.make_anchor()
    quiet = []
    for name in HEADS:
        number = args.runs if name == "plain" else -(-args.runs // 3)  # three slowdowns of 8 %
        quiet.append(measure_runs(name, number, anchor, args.rounds))
        print(quiet[-1].row, file=sys.stderr, flush=True)
    with run_busy_loops():
        few = max(1, args.runs // 4)
        beside = [measure_runs(name, few, anchor, args.rounds) for name in ("plain", "busy_wait")]
    text = make_page(quiet, beside, args.rounds, load)
    if args.write:
        files.write(args.write, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
