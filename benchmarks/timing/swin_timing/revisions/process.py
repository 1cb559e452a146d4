"""The processes of two revisions, from the side that tells them what to run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryFile
from time import process_time
from typing import Any, Self

from swin_timing import interleaved
from swin_timing.interleaved import Anchor, Paired, Sample
from swin_timing.revisions.inputs import Case
from swin_timing.revisions.judging import BASE, HEAD, PAIRS, PATIENCE

WORKER = Path(__file__).with_name("worker.py")
LONG = 50e-3
"""Seconds of a run from which on the pairs of a measurement share its rounds: it would take minutes."""

MOST_TURNS = 8
"""Times that a round takes a short sample, as long as its anchor about: minima of more runs are steadier."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Tree:
    """A revision written aside, and how its process starts."""

    revision: str
    """As the user named it."""
    folder: Path
    path: tuple[str, ...]
    """Where Python looks for its packages first."""
    inside: str
    elsewhere: Path
    """The repository that it came from: what is imported from there would be of another revision."""


class Process:
    """A tree's worker: one question at a time; it ends with the block that it is used in."""

    def __init__(self, tree: Tree) -> None:
        """Starts it."""
        self.tree = tree
        self.errors = TemporaryFile("w+", errors="replace")  # noqa: SIM115 -- closed with the process
        path = os.pathsep.join([*tree.path, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            # -P: not the folder of the worker itself
            [sys.executable, "-P", str(WORKER), str(tree.folder), str(tree.elsewhere)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=tree.folder / tree.inside,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is the first process's to answer
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def ask(self, verb: str, *words: Any) -> dict[str, Any]:
        """The worker's answer.

        Errors: ``ValueError`` for what the implementation raised, or if it ended its process.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps([verb, *words]), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._ending()}
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def load(self, implementation: str) -> dict[str, Any]:
        """What an implementation offers in this revision.

        Errors: ``ValueError`` where it does not load.
        """
        try:
            return self.ask("load", implementation)
        except ValueError as error:
            raise ValueError(
                f"a revision's implementation is importable, {implementation} of {self.tree.revision} raised "
                f"{error}: check that revision, and its folders on PYTHONPATH"
            ) from None

    def prepare(self, case: Case, prepares: bool) -> float:
        """Makes the case ready; the least seconds of a run.

        Errors: ``ValueError`` for what the implementation raised.
        """
        question = case.question
        try:
            return float(
                self.ask("prepare", case.implementation, question.call, question.arguments, prepares)[
                    "seconds"
                ]
            )
        except ValueError as error:
            raise ValueError(
                f"a case that is timed returns, {case.name} of {self.tree.revision} raised {error}: "
                "leave it out by -k, or repair it"
            ) from None

    def sample(self, repeats: int) -> Sample:
        """The mean seconds of a run, of so many in a row."""
        return lambda: float(self.ask("run", repeats)["seconds"])

    def _ending(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines()
        return f"an end of its process: exit code {code}" + (f", saying {said[-1]}" if said else "")


class Pair:
    """Both revisions' processes, which never run at the same time."""

    def __init__(self, base: Process, head: Process) -> None:
        self.processes = {BASE: base, HEAD: head}

    def load(self, implementation: str) -> dict[str, dict[str, Any]]:
        """What an implementation offers in both."""
        return {side: process.load(implementation) for side, process in self.processes.items()}

    def prepare(self, case: Case, prepares: bool) -> float:
        """Makes the case ready in both; the least seconds of a run."""
        return min(process.prepare(case, prepares) for process in self.processes.values())

    def samples(self, repeats: int) -> dict[str, Sample]:
        """A run of so many in a row, on both sides."""
        return {side: process.sample(repeats) for side, process in self.processes.items()}

    def count(self) -> dict[str, dict[str, int]]:
        """The counters of the case that was measured last, on both sides."""
        return {side: process.ask("count") for side, process in self.processes.items()}


@contextmanager
def started(
    start: Callable[[], tuple[Process, Process]], implementations: Iterable[str]
) -> Iterator[list[Pair]]:
    """New pairs of processes; they load implementations on as many cores as there are, then all stay on one.

    Errors: ``ValueError`` where one does not load.
    """
    with ExitStack() as stack:
        pairs = [Pair(*map(stack.enter_context, start())) for _ in range(PAIRS)]
        processes = [process for pair in pairs for process in pair.processes.values()]
        with ThreadPoolExecutor(os.cpu_count()) as side_by_side:
            for implementation in implementations:
                list(side_by_side.map(Process.load, processes, repeat(implementation)))
        stack.enter_context(interleaved.on_one_core([process.process.pid for process in processes]))
        yield pairs


def measure(pairs: Sequence[Pair], case: Case, prepares: bool, anchor: Anchor, rounds: int) -> Paired:
    """The case in all pairs, interleaved; a sample is as many runs in all, of 2 ms at least.

    Each pair has ``rounds``; where a run is long, all of them together.
    """
    processes = [process for pair in pairs for process in pair.processes.values()]
    seconds = min(pair.prepare(case, prepares) for pair in pairs)
    repeats = interleaved.repeats(seconds)
    if seconds > LONG:
        rounds = -(-rounds // len(pairs))
    turns = int(min(MOST_TURNS, max(1, interleaved.ANCHOR / (repeats * seconds))))
    groups = [pair.samples(repeats) for pair in pairs]

    def clock() -> float:
        return process_time() + sum(float(process.ask("clock")["seconds"]) for process in processes)

    return interleaved.interleaved(groups, anchor, rounds, PATIENCE, clock, turns)
