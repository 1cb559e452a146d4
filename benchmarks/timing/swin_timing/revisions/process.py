"""Starts the processes of two revisions and tells them what to run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryFile
from time import process_time
from typing import Any, Self

from swin_timing import interleaved, message
from swin_timing.interleaved import Anchor, Sample, Timings
from swin_timing.message import Message
from swin_timing.revisions.inputs import Case
from swin_timing.revisions.judging import BASE, HEAD, PAIRS, PATIENCE

WORKER = Path(__file__).with_name("worker.py")
LONG = 50e-3
"""For runs of more seconds, the pairs of a measurement share its rounds: else it would take minutes."""

MOST_TURNS = 8
"""A round takes a short sample up to this often, about as long as the anchor: that steadies the minima."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Tree:
    """Holds a revision that was written into a folder, and how its process starts."""

    revision: str
    """The revision, as the user named it."""
    folder: Path
    path: tuple[str, ...]
    """The folders that Python searches first."""
    inside: str
    """The folder that the process runs in, relative to ``folder``."""
    elsewhere: Path
    """The repository's checkout.  Nothing may be imported from it: that would be another revision."""


class Process:
    """Runs a tree's worker, which answers one question at a time; ends with the ``with`` block."""

    def __init__(self, tree: Tree) -> None:
        """Starts the worker."""
        self.tree = tree
        self.errors = TemporaryFile("w+", errors="replace")  # noqa: SIM115 -- closed with the process
        path = os.pathsep.join([*tree.path, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            # -P: not the folder of the worker itself
            [sys.executable, "-P", str(WORKER), str(tree.folder), str(tree.elsewhere)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
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
        """Sends a question to the worker and returns its answer.

        Errors: ``ValueError`` where the implementation raised an error, or ended the process.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        reply: Message | None = None
        with suppress(BrokenPipeError):
            message.send(self.process.stdin.fileno(), {"cmd": verb, "arguments": json.dumps(words)})
            reply = message.receive(self.process.stdout.fileno())
        if reply is None:
            raise ValueError(self._describe_end())
        if "error" in reply.words:
            raise ValueError(reply.words["error"])
        answer: dict[str, Any] = json.loads(reply.words["answer"])
        return answer

    def load(self, implementation: str) -> dict[str, Any]:
        """Loads an implementation and returns what it offers in this revision.

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
        """Prepares the case, and returns the least seconds of a run.

        Errors: ``ValueError`` where the implementation raised an error.
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
                f"what is timed runs without an error, {case.name} of {self.tree.revision} raised {error}: "
                "leave it out by -k, or repair it"
            ) from None

    def make_sample(self, repeats: int) -> Sample:
        """Returns a sample: the mean seconds of ``repeats`` runs."""
        return lambda: float(self.ask("run", repeats)["seconds"])

    def _describe_end(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines()
        return f"an end of its process: exit code {code}" + (f", saying {said[-1]}" if said else "")


class Pair:
    """Holds a process of each revision; the two never run at the same time."""

    def __init__(self, base: Process, head: Process) -> None:
        self.processes = {BASE: base, HEAD: head}

    def load(self, implementation: str) -> dict[str, dict[str, Any]]:
        """Loads an implementation in both, and returns what it offers in each."""
        return {side: process.load(implementation) for side, process in self.processes.items()}

    def prepare(self, case: Case, prepares: bool) -> float:
        """Prepares the case in both, and returns the least seconds of a run."""
        return min(process.prepare(case, prepares) for process in self.processes.values())

    def make_samples(self, repeats: int) -> dict[str, Sample]:
        """Returns a sample of ``repeats`` runs for each side."""
        return {side: process.make_sample(repeats) for side, process in self.processes.items()}

    def count(self) -> dict[str, dict[str, int]]:
        """Returns the counters of the case that was prepared last, on both sides."""
        return {side: process.ask("count") for side, process in self.processes.items()}


@contextmanager
def start_pairs(
    start: Callable[[], tuple[Process, Process]], implementations: Iterable[str]
) -> Iterator[list[Pair]]:
    """Starts new pairs of processes, loads implementations in all of them, then binds all to one core.

    Loading uses every core.

    Errors: ``ValueError`` where an implementation does not load.
    """
    with ExitStack() as stack:
        pairs = [Pair(*map(stack.enter_context, start())) for _ in range(PAIRS)]
        processes = [process for pair in pairs for process in pair.processes.values()]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for implementation in implementations:
                list(pool.map(Process.load, processes, repeat(implementation)))
        stack.enter_context(interleaved.stay_on_one_core([process.process.pid for process in processes]))
        yield pairs


def measure(pairs: Sequence[Pair], case: Case, prepares: bool, anchor: Anchor, rounds: int) -> Timings:
    """Times the case in all pairs, interleaved; all samples have as many runs, which take at least 2 ms.

    Each pair takes ``rounds``; where a run is long, all pairs together take ``rounds``.
    """
    processes = [process for pair in pairs for process in pair.processes.values()]
    seconds = min(pair.prepare(case, prepares) for pair in pairs)
    repeats = interleaved.count_repeats(seconds)
    if seconds > LONG:
        rounds = -(-rounds // len(pairs))
    turns = int(min(MOST_TURNS, max(1, interleaved.ANCHOR / (repeats * seconds))))
    groups = [pair.make_samples(repeats) for pair in pairs]

    def clock() -> float:
        return process_time() + sum(float(process.ask("clock")["seconds"]) for process in processes)

    return interleaved.measure_interleaved(groups, anchor, rounds, PATIENCE, clock, turns)
