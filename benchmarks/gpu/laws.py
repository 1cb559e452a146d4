"""Judges the kernels by the laws in each precision: first at real sizes, then on quick effort's drawn cases.

Most of a case's time goes to the oracle on the CPU and to the compiler, so many processes work at once.  A
process that the kernels kill, hang or break is replaced, and the law that it was asked counts as broken.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Lock, Thread
from typing import Any

from benchmarks.gpu import goals
from benchmarks.gpu.part import NO_TIME, Part, end_with_parent, make_reason

PRECISIONS = "bfloat16", "float32", "float16", "tf32"

GRIDS = (
    "grid=56x56 window=7x7 shift=3x3 heads=3 head_dim=32",
    "grid=14x14 window=7x7 shift=3x3 heads=12 head_dim=32",
    "grid=50x38 window=7x7 shift=3x3 heads=2 head_dim=32",
    "grid=56x56 window=8x8 shift=4x4 heads=2 head_dim=32",
    "grid=50x38 window=12x12 shift=6x6 heads=1 head_dim=32",
    "grid=50x38 window=16x16 shift=8x8 heads=1 head_dim=32",
)
"""Sizes of real networks, for every kernel, with whole and padded grids and every class of windows."""

SMALL = "grid=14x14 window=7x7 shift=3x3 heads=1 head_dim=32", "grid=12x12 window=12x12 shift=6x6 head_dim=32"
"""Sizes for laws that take long: a window of one tile, and one of several."""

NETWORK = "image=224x224 patch=4x4 window=7x7 depths=2x2x6x2 heads=3x6x12x24 embed_dim=96 classes=1000"

GRIDS_V2 = (
    "grid=64x64 window=8x8 shift=4x4 heads=3 head_dim=32",
    "grid=16x16 window=8x8 shift=4x4 heads=12 head_dim=32",
    "grid=50x38 window=8x8 shift=4x4 heads=2 head_dim=32",
    "grid=50x38 window=16x16 shift=8x8 heads=1 head_dim=32",
)
"""Sizes of real networks of Swin V2, whose windows are 8 and 16."""

NETWORK_V2 = "image=256x256 patch=4x4 window=8x8 depths=2x2x6x2 heads=3x6x12x24 embed_dim=96 classes=1000"

REAL = (
    *(("swin_block/oracle", case) for case in GRIDS),
    *(("shifted_window_attention/oracle", case) for case in GRIDS),
    *(("swin_v2_block/oracle", case) for case in GRIDS_V2),
    *(("shifted_cosine_window_attention/oracle", case) for case in GRIDS_V2),
    *(("swin_block/gradient", case) for case in SMALL),
    *(("swin_v2_block/gradient", case) for case in SMALL),
    *(("swin_block/branches", case) for case in GRIDS),
    *(("swin_block/locality", case) for case in GRIDS),
    *(("patch_merging/oracle", case) for case in GRIDS[:3]),
    ("swin_v2_patch_merging/oracle", GRIDS_V2[0]),
    ("swin_transformer/oracle", NETWORK),
    ("swin_v2_transformer/oracle", NETWORK_V2),
)
"""The laws at real sizes."""

REDUCED = (
    ("swin_block/oracle", "grid=7x7 window=4x4 shift=2x2 heads=1 head_dim=16"),
    ("shifted_window_attention/oracle", "grid=9x9 window=9x9 shift=4x4 head_dim=16"),
    ("swin_v2_block/oracle", "grid=7x7 window=4x4 shift=2x2 heads=1 head_dim=16"),
)
"""The same in a rehearsal."""

BY_KERNELS = "shifted_window_attention/*", "shifted_cosine_*", "swin_*", "patch_merging/*"
"""The laws that depend on the kernels: they are asked first."""

MOST_PROCESSES = 11
"""The most processes that answer: others compile meanwhile."""

CASE = 100.0
"""The most seconds of a case: the oracle's whole network takes 20 on a slow core."""

START = 90.0
"""The most seconds that a process takes to load the implementation."""


@dataclass(frozen=True)
class Task:
    """Holds a law, a precision, and a case; None draws cases."""

    precision: str
    law: str
    case: str | None = None


def run(part: Part) -> None:
    """Asks every law, with several processes at once, while time is left."""
    queues = {
        precision: deque(list_tasks(precision, part.reduced)) for precision in choose_precisions(part.reduced)
    }
    findings = Findings(part, queues)
    findings.write()
    os.environ["OMP_NUM_THREADS"] = "1"
    rivals = [] if part.reduced else start_compilers()  # the GPU has little to do meanwhile
    cores = max(1, min(MOST_PROCESSES, (os.cpu_count() or 2) - 2)) if not part.reduced else 1
    threads = [
        Thread(
            target=work,
            args=(part, findings, list(queues)[number % len(queues) :] + list(queues)),
            daemon=True,
        )
        for number in range(cores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(None if part.reduced else max(0.0, part.deadline.left()))
    findings.close()
    for rival in rivals:
        rival.kill()


def start_compilers() -> list[Any]:
    """Starts processes that compile the rivals which the part ``goals`` times."""
    context = get_context("spawn")
    found = [context.Process(target=goals.compile_ahead, args=(name,)) for name in goals.list_compiled()]
    for process in found:
        process.start()
    return found


def choose_precisions(reduced: bool) -> tuple[str, ...]:
    """Returns the precisions that are asked."""
    return ("bfloat16",) if reduced else PRECISIONS


def list_tasks(precision: str, reduced: bool) -> Iterator[Task]:
    """Yields the tasks of a precision, the most important first."""
    from swin_properties.laws import choosing

    real = REDUCED if reduced else REAL
    yield from (Task(precision, law, case) for law, case in real)
    first = [law.name for pattern in BY_KERNELS for law in choosing.choose_laws(pattern)]
    if reduced:
        yield Task(precision, "swin_block/residual")
        return
    yield from (Task(precision, name) for name in first)
    yield from (Task(precision, law.name) for law in choosing.choose_laws() if law.name not in first)


class Findings:
    """Collects what the processes found, and writes it after each answer."""

    def __init__(self, part: Part, queues: dict[str, deque[Task]]) -> None:
        self.part, self.queues, self.lock = part, queues, Lock()
        self.asked = dict.fromkeys(queues, 0)
        self.closed = False
        self.real: list[dict[str, Any]] = []
        self.drawn: dict[str, dict[str, Any]] = {
            name: {"held": 0, "largest_rho": 0.0, "broken": {}, "not offered": []} for name in queues
        }

    def take(self, precision: str) -> Task | None:
        """Returns the next task of a precision, None if none is left."""
        with self.lock:
            if self.closed or not self.queues[precision]:
                return None
            self.asked[precision] += 1
            return self.queues[precision].popleft()

    def keep(self, task: Task, answer: dict[str, Any]) -> None:
        """Adds an answer, and writes all down."""
        with self.lock:
            if self.closed:
                return
            self.asked[task.precision] -= 1
            if task.case is not None:
                about = {"precision": task.precision, "law": task.law, "case": task.case}
                self.real.append(about | answer)
            else:
                self._count(self.drawn[task.precision], task.law, answer)
            if answer["status"] == "broken":
                print(
                    f"{task.precision} {task.law} {task.case or ''} is broken: {answer['seen']}", flush=True
                )
            self.write()

    def _count(self, found: dict[str, Any], law: str, answer: dict[str, Any]) -> None:
        if answer["status"] == "broken":
            found["broken"][law] = answer
        elif answer["status"] == "held":
            found["held"] += 1
            found["largest_rho"] = max(found["largest_rho"], answer["rho"] or 0.0)
        else:
            found["not offered"].append(law)

    def close(self) -> None:
        """Writes all down, and takes no more answers: time is over."""
        with self.lock:
            self.closed = True
            for precision, queue in self.queues.items():
                if left := len(queue) + self.asked[precision]:
                    self.part.record.leave_out(f"{left} laws in {precision}", NO_TIME)
            self.write()

    def write(self) -> None:
        """Writes all that is known into the part's file."""
        self.part.record.add("real sizes", self.real)
        self.part.record.add("quick effort", self.drawn)


def work(part: Part, findings: Findings, order: list[str]) -> None:
    """Takes tasks, precision by precision, and lets a process answer them."""
    for precision in dict.fromkeys(order):
        asked: LawProcess | None = None
        try:
            while part.deadline.left() > 0 and (task := findings.take(precision)):
                asked = asked or LawProcess(precision, part.reduced)
                answer = asked.answer(task)
                findings.keep(task, answer)
                if answer.get("process is over"):
                    asked.close()
                    asked = None
        except (OSError, ValueError) as error:
            part.record.leave_out(f"laws in {precision}", make_reason(error))
        finally:
            if asked:
                asked.close()


class LawProcess:
    """Starts a process that answers tasks of one precision."""

    def __init__(self, precision: str, reduced: bool) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, precision, reduced), daemon=True)
        self.process.start()
        theirs.close()
        if (ready := self._next(START)) != "ready":
            self.close()
            raise ValueError(str(ready))

    def answer(self, task: Task) -> dict[str, Any]:
        """Returns what a law found; if the process ended, the law is broken."""
        case = task.case or ""
        with suppress(OSError):  # the process ended: the next message says how
            self.connection.send(task)
        while True:
            try:
                said = self._next(CASE)
            except EOFError as gone:
                return {"status": "broken", "seen": str(gone), "case": case, "process is over": True}
            if isinstance(said, dict):
                return said
            case = said

    def _next(self, seconds: float) -> Any:
        if wait([self.connection, self.process.sentinel], seconds):
            with suppress(EOFError, OSError):
                if self.connection.poll():
                    return self.connection.recv()
            self.process.join(5)
            raise EOFError(f"the process ended with exit code {self.process.exitcode}")
        raise EOFError(f"the process did not answer within {seconds:g} s")

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def serve(connection: Connection, precision: str, reduced: bool) -> None:
    """Runs in the process: loads the kernels' adapter, announces each case, and answers tasks."""
    end_with_parent()
    from swin_properties.judging.implementation import load_implementation
    from swin_properties.judging.one_law import EFFORTS, run_case, run_law
    from swin_properties.laws import choosing
    from swin_properties.laws.law import LAWS

    choosing.choose_laws()
    name = "swin_torch" if reduced else "swin_torch:cuda"
    try:
        judged = load_implementation(name, precision, "canonical")
    except ValueError as error:
        connection.send(str(error))
        return
    connection.send("ready")
    again = partial("{} {}".format, f"swin-oracle check {name} --dtype {precision}")
    announce = partial(_announce, connection)
    while True:
        try:
            task: Task = connection.recv()
        except EOFError:
            return
        law = LAWS[task.law]
        if task.case is None:
            result = run_law(law, judged, EFFORTS["quick"], 0, again, announce)
        else:
            result = run_case(law, judged, law.kind.parse(task.case), again, announce)
        found: dict[str, Any] = {"status": WORDS[result.status], "cases": result.cases, "rho": result.rho}
        if result.counterexample is not None:
            seen = result.counterexample.seen
            found |= {"seen": seen, "case": str(result.counterexample.case)}
            found["again"] = result.counterexample.reproduce
            found["process is over"] = "CUDA error" in seen  # after it every call fails
        connection.send(found)


WORDS = {"holds": "held", "broken": "broken", "not offered": "not offered", "known failure": "broken"}


def _announce(connection: Connection, case: Any) -> None:
    connection.send(str(case))
