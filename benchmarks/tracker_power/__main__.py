"""What `swin-oracle compare` catches and what it cries wolf at: planted slowdowns and A/A runs.

    python -m benchmarks.tracker_power [--trials 20] [--write benchmarks/tracker-power.md]

A trial is what the command does with one case: both sides in processes of their own, interleaved, measured
until there is a verdict; every measurement starts them anew.  The operator is `swin_torch`'s shifted
window attention; the slowdowns are the adapters of `benchmarks.tracker_power.slowdowns`.
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
from swin_timing.interleaved import Anchor, Paired
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
    """The process whose operator is another than it is asked for."""

    planted = "plain"

    def prepare(self, case: Case, prepares: bool) -> float:
        """Makes that one ready."""
        return super().prepare(asked(self.planted), prepares)


def asked(name: str) -> Case:
    """The question to one of the slowdowns."""
    return QUESTION.asked_of(f"{slowdowns.__file__}:{name}")


@dataclass
class Trials:
    """What was planted, and the measurements of each trial."""

    planted: str
    measurements: list[list[Paired]]

    @property
    def verdicts(self) -> Counter[str]:
        """How many trials ended in each verdict."""
        return Counter(map(judging.verdict, self.measurements))

    @property
    def quiet(self) -> list[Paired]:
        """The measurements that count."""
        return [one for trial in self.measurements for one in trial if not one.disturbed]

    @property
    def row(self) -> str:
        """Its line of the page."""
        counts = " | ".join(str(self.verdicts[word]) for word in ("slower", "same", "faster", "inconclusive"))
        ratios = [one.ratio(HEAD, BASE) for one in self.quiet]
        low, middle, high = np.quantile(ratios, (0, 0.5, 1)) if ratios else [float("nan")] * 3
        seen = f"{middle:.3f} ({low:.3f} to {high:.3f})" if ratios else "none"
        return f"{HEADS[self.planted]} | {len(self.measurements)} | {counts} | {len(ratios)} | {seen}"


@contextmanager
def pairs(planted: str) -> Iterator[list[Pair]]:
    """New processes, as the command starts them for every measurement."""
    root = Path(__file__).resolve().parents[2]
    tree = Tree("this file", root, tuple(Repository.around(root).path(root)), ".", root)

    def start() -> tuple[Process, Process]:
        head = Head(tree)
        head.planted = planted
        return Process(tree), head

    with process.started(start, [asked(name).implementation for name in ("plain", planted)]) as found:
        yield found


def trials(planted: str, number: int, anchor: Anchor, rounds: int) -> Trials:
    """Trials of one slowdown."""
    found = Trials(planted, [])
    for _ in range(number):
        measurements: list[Paired] = []
        while not judging.verdict(measurements):
            with pairs(planted) as started:
                measurements.append(process.measure(started, asked("plain"), True, anchor, rounds))
        found.measurements.append(measurements)
    return found


@contextmanager
def busy_loops() -> Iterator[None]:
    """A loop on every core."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def page(quiet: list[Trials], beside: list[Trials], rounds: int, load: float) -> str:
    """The page that shows them."""
    head = "planted | trials | slower | same | faster | inconclusive | measurements that count | their ratios"
    line = "--- | " * 7 + "---"
    repository = Repository.around(Path(__file__).parent)
    machine = f"{history.cpu()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    versions = f"NumPy {np.__version__}, torch {torch.__version__}"
    same = [found for found in quiet + beside if found.planted == "plain"]
    uncounted = [one for found in same for trial in found.measurements for one in trial if one.disturbed]
    return PAGE.format(
        sizes=SIZES,
        machine=f"{machine}, {versions}, commit {repository.commit('HEAD')[:12]}",
        milliseconds=1e3
        * min(one.best(BASE) for found in quiet for trial in found.measurements for one in trial),
        load=load,
        rounds=rounds,
        alarms=judging.ALARM,
        spread=interleaved.DISTURBED,
        tries=judging.TRIES,
        patience=judging.PATIENCE,
        pairs=judging.PAIRS,
        rates="\n".join(rate(found) for found in quiet),
        table="\n".join([head, line, *(found.row for found in quiet)]),
        beside="\n".join([head, line, *(found.row for found in beside)]),
        lost=sum(found.verdicts["inconclusive"] for found in quiet),
        all=sum(map(len, (found.measurements for found in quiet))),
        uncounted=len(uncounted),
        cried=sum(judging.change(one) != "same" for one in uncounted),
    )


def rate(found: Trials) -> str:
    """The detection or false-alarm rate of the trials that had a verdict."""
    verdicts = found.verdicts
    answered = sum(verdicts.values()) - verdicts["inconclusive"]
    alarms = verdicts["slower"] + (verdicts["faster"] if found.planted == "plain" else 0)
    word = "false alarms" if found.planted == "plain" else "detected"
    return f"- {HEADS[found.planted]}: {alarms} of {answered} {word}"


PAGE = """# What `swin-oracle compare` catches

Written by `make tracker-power`; do not edit.

A trial is what the command does with one case: the shifted window attention of `swin_torch` at {sizes} of
Swin-T, once as it is and once with a slowdown after it, each in {pairs} processes of its own, on one core.
{rounds} interleaved rounds of each pair; an alarm when the ratio of minima passes {alarms:.0%}; it stands if
a second measurement, from other processes, agrees. A round counts when its anchor took no more than
{spread:.0%} longer than the quickest; a measurement goes on for up to {patience} times as many rounds until
so many counted; without them it does not count, nor where other work took over {spread:.0%} of all cores'
time. After {tries} measurements without a verdict the trial is inconclusive.

Machine: {machine}. Load average {load:.1f} at the start. The shortest run of the operator took
{milliseconds:.1f} ms.

Of the trials that had a verdict:

{rates}

The machine was too disturbed for a verdict in {lost} of {all} trials. Of the {uncounted} A/A measurements
that did not count, {cried} would have alarmed: why they do not count.

{table}

## Beside a busy loop on every core

Nothing may pass and nothing may alarm here: every trial is to be inconclusive.

{beside}
"""


def main() -> None:
    """Runs the trials and prints or writes the page."""
    parser = argparse.ArgumentParser(description="the detection and false-alarm rates of swin-oracle compare")
    parser.add_argument("--trials", type=int, default=20, help="A/A, and of slowdowns together (default 20)")
    parser.add_argument(
        "--rounds", type=int, default=interleaved.ROUNDS, help=f"default {interleaved.ROUNDS}"
    )
    parser.add_argument("--write", metavar="FILE", help="where the page goes (default: standard output)")
    args = parser.parse_args()
    load, anchor = os.getloadavg()[0], interleaved.anchor()
    quiet = []
    for name in HEADS:
        number = args.trials if name == "plain" else -(-args.trials // 3)  # three slowdowns of 8 %
        quiet.append(trials(name, number, anchor, args.rounds))
        print(quiet[-1].row, file=sys.stderr, flush=True)
    with busy_loops():
        few = max(1, args.trials // 4)
        beside = [trials(name, few, anchor, args.rounds) for name in ("plain", "busy_wait")]
    text = page(quiet, beside, args.rounds, load)
    if args.write:
        files.write(args.write, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
