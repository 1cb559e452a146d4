"""Several pairs of processes share the laws: one that judges, and the implementation's own beside it."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from selectors import EVENT_READ, DefaultSelector
from time import monotonic
from typing import Any, BinaryIO, ClassVar

from swin_properties.adapters.process import close_all, describe_exit, read_free_memory
from swin_properties.cases.case import Case, NetCase
from swin_properties.judging.own_process import OwnProcess, keeps_state, make_unasked, split_broken
from swin_properties.judging.report import LawResult, Report
from swin_properties.judging.run import Explain, Request, Watcher
from swin_properties.judging.sequence import list_earlier
from swin_properties.laws.law import LAWS, Law

MOST = 4
"""The most pairs that are started where nobody says how many."""

MEMORY = 3 << 30
"""The bytes of free memory that a pair needs."""

LENGTH = 8
"""The bytes before an answer that say how long it is."""

TELL = 0.3
"""After how many seconds a pair tells again how many cases it has asked."""

LAWS_OF_A_PAIR = 8
"""A pair is started for so many laws: for fewer, its start takes longer than it saves."""

BOOT = (
    "import json, os, sys; sys.path[:] = json.loads(os.environ.pop('SWIN_ORACLE_PATH')); "
    "from swin_properties.judging import jobs; jobs.serve()"
)


def choose_jobs(request: Request, device: str) -> int:
    """Returns how many pairs share the laws of a request.

    These are as many as asked for, but at most one for `LAWS_OF_A_PAIR` laws.  Where nothing is said, they
    are as many as the cores, at most `MOST`, at most one for `MEMORY` of free memory, and 1 on a GPU.
    """
    useful = max(1, len(request.laws) // LAWS_OF_A_PAIR)
    if request.jobs:
        return min(request.jobs, useful)
    if device.partition(":")[0] != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    room = read_free_memory() // MEMORY or 1
    return max(1, min(cores, MOST, room, useful))


class Pair:
    """A process that judges, with the implementation's own beside it."""

    living: ClassVar[set[Pair]] = set()
    """The pairs that run, which `Jobs.close` and `close_pairs` end."""

    def __init__(self, request: Request, explain: Explain, judged_by: tuple[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"SWIN_ORACLE_PATH": json.dumps(sys.path)},
            start_new_session=True,  # Ctrl-C is the first process's to answer
        )
        self.living.add(self)
        self.asked: list[Law] = []
        self.history: list[str] = []
        self.say((request, explain, judged_by))

    def say(self, what: Any) -> None:
        """Sends a question."""
        assert self.process.stdin is not None
        with suppress(OSError):  # it ended: the answer says so
            pickle.dump(what, self.process.stdin)
            self.process.stdin.flush()

    def hear(self) -> Any:
        """Returns the next answer.

        Errors: `PairGone` where the judging process itself ended.
        """
        try:
            answer = pickle.loads(self._read(int.from_bytes(self._read(LENGTH), "little")))
        except (EOFError, pickle.UnpicklingError, OSError):
            raise PairGone(
                f"a judging process answers, one {describe_exit(self.process.wait())}: give it more memory, "
                "or fewer --jobs"
            ) from None
        if isinstance(answer, str):
            raise PairGone(answer)
        return answer

    def _read(self, size: int) -> bytes:
        """Returns the next bytes of the answers, and reads no more: the selector must see what follows."""
        assert self.process.stdout is not None
        data = bytearray()
        while len(data) < size:
            if not (some := os.read(self.process.stdout.fileno(), size - len(data))):
                raise EOFError
            data += some
        return bytes(data)

    def close(self) -> None:
        """Ends both processes."""
        if self not in self.living:
            return
        self.process.terminate()  # it ends the implementation's process
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10.0)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        self.living.discard(self)


class PairGone(ValueError):
    """A judging process ended, or could not start the implementation again: nothing is judged."""


def close_pairs() -> None:
    """Ends every pair that is left."""
    for pair in list(Pair.living):
        pair.process.terminate()
    for pair in list(Pair.living):
        pair.close()


class Jobs:
    """A `Runner` whose laws are shared by pairs of processes; this process asks until one of them answers."""

    def __init__(self, first: OwnProcess, request: Request, explain: Explain, number: int) -> None:
        """``first`` has loaded the implementation; the others load it as it was found to be."""
        self.first, self.request, self.explain, self.number = first, request, explain, number
        self.precision, self.convention, self.chosen = first.precision, first.convention, first.chosen
        self.implementation, self.device = first.implementation, first.device
        self.missing, self.scope, self.read = first.missing, first.scope, first.read
        self.pairs: list[Pair] = []
        self.histories: dict[str, list[str]] = {}
        """For each law, the laws that the process which was asked it was asked, in this order."""
        self.deaths = 0

    def _start(self) -> None:
        if not self.pairs:
            judged_by = self.convention, self.chosen
            request = replace(self.request, laws=())
            self.pairs = [Pair(request, self.explain, judged_by) for _ in range(self.number)]

    def ask_each(self, laws: Sequence[Law], watcher: Watcher) -> list[LawResult]:
        """Asks laws, each by the next pair that is free: one pair takes the shortest, the others the longest.

        Until the pairs have started, the shortest laws are asked here, so that there is a verdict at once.
        """

        def keep(law: Law, answer: Any) -> None:
            result, deaths, gone = answer
            found[law.name] = result
            self.deaths += deaths
            if gone:
                self.first.gone.add(law.name)
            watcher.after_law(law, result)

        found: dict[str, LawResult] = {}

        def ask(law: Law, pair: Pair) -> Any:
            watcher.before_law(law)
            pair.history.append(law.name)
            self.histories[law.name] = pair.history
            return "ask", law.name

        def ask_here(law: Law) -> None:
            watcher.before_law(law)
            self.histories[law.name] = self.first.asked
            deaths = self.first.remote.deaths
            result = self.first.ask(law, watcher)
            keep(law, (result, self.first.remote.deaths - deaths, law.name in self.first.gone))

        longest_first = sorted(laws, key=_measure)[::-1]
        self._share(longest_first, ask, keep, watcher, ask_here)
        return [found[law.name] for law in laws]

    def ask_again(self, results: list[LawResult]) -> list[LawResult]:
        """Asks broken laws once more, as `OwnProcess.ask_again` does."""
        if self.request.case is not None:
            return results
        found = {result.law: result for result in results}
        for batch in split_broken(results, self.first.gone):

            def keep(law: Law, answer: Any) -> None:
                found[law.name] = answer[0]

            def ask(law: Law, _: Pair) -> Any:
                history = self.histories[law.name]
                return "again", (found[law.name], list_earlier(law.name, history, self.first.gone))

            self._share([LAWS[name] for name in batch], ask, keep, Watcher())
            if not any(keeps_state(found[name]) for name in batch):
                break
        return list(found.values())

    def _share(
        self,
        laws: list[Law],
        question: Callable[[Law, Pair], Any],
        keep: Callable[[Law, Any], None],
        watcher: Watcher,
        ask_here: Callable[[Law], None] | None = None,
    ) -> None:
        """Gives each pair that is free the next law, and takes the answers as they come.

        ``ask_here`` asks a law in this process, as long as no pair has answered.
        """
        self._start()
        left = list(laws)
        with DefaultSelector() as selector:
            for pair in self.pairs:
                selector.register(pair.process.stdout, EVENT_READ, pair)  # type: ignore[arg-type]
            waiting = 0
            for pair in self.pairs:
                waiting += self._give(pair, left, question, keep)
            while ask_here and left and not selector.select(0.0) and not self.first.remote.exhausted:
                ask_here(left.pop())
            self.first.close()  # its process is not needed until something is to be explained
            while waiting:
                for key, _ in selector.select():
                    pair = key.data
                    answer = pair.hear()
                    if isinstance(answer, int):
                        watcher.count_cases(pair.asked[0], answer)
                        continue
                    waiting -= 1
                    keep(pair.asked.pop(0), answer)
                    waiting += self._give(pair, left, question, keep)

    def _give(self, pair: Pair, left: list[Law], question: Callable[[Law, Pair], Any], keep: Any) -> int:
        """Gives a pair the next law; where the process died too often, the laws left are not asked."""
        most = self.first.remote.most_deaths
        while left and self.deaths >= most:
            law = left.pop(0)
            keep(law, (make_unasked(law, most), 0, False))
        if not left:
            return 0
        pair.asked.append(left.pop(-1 if pair is self.pairs[0] else 0))
        pair.say(question(pair.asked[-1], pair))
        return 1

    def diagnosis(self, report: Report) -> str:
        """Says what explains the broken laws."""
        return self.first.diagnosis(report)

    def find_usual(self, report: Report) -> Report:
        """Returns the report with usual cases of broken laws."""
        return self.first.find_usual(report)

    def close(self) -> None:
        """Ends all processes."""
        for pair in self.pairs:
            if pair in Pair.living:
                pair.process.terminate()
        for pair in self.pairs:
            pair.close()
        self.first.close()


def _measure(law: Law) -> tuple[bool, bool, bool]:
    """Returns what tells a law that takes long from one that does not."""
    return (
        issubclass(law.kind, NetCase),
        law.tier == "gradient",
        law.name.endswith(("/oracle", "/definition")),
    )


class _Counter(Watcher):
    """Tells the first process how many cases were asked."""

    def __init__(self, answers: BinaryIO) -> None:
        self.answers = answers
        self.cases = 0
        self.told = monotonic()

    def before_case(self, law: Law, case: Case) -> None:
        """Counts a case, and tells the number where it was not told for a while."""
        self.cases += 1
        if monotonic() - self.told > TELL:
            self.told = monotonic()
            _tell(self.cases, self.answers)


def _tell(what: Any, answers: BinaryIO) -> None:
    """Sends an answer, its length first."""
    data = pickle.dumps(what)
    answers.write(len(data).to_bytes(LENGTH, "little") + data)
    answers.flush()


def serve() -> None:
    """Runs in a judging process: answers questions until its input ends."""
    signal.signal(signal.SIGTERM, _end)
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import swin_properties.laws  # noqa: F401 -- enters the laws

    try:
        _answer(questions, answers)
    except EOFError:
        pass
    finally:
        close_all()


def _answer(questions: BinaryIO, answers: BinaryIO) -> None:
    request, explain, judged_by = pickle.load(questions)
    try:
        runner = OwnProcess(request, explain, judged_by)
    except ValueError as error:
        _tell(str(error), answers)
        return
    while True:
        verb, what = pickle.load(questions)
        deaths = runner.remote.deaths
        if verb == "ask":
            result = runner.ask(LAWS[what], _Counter(answers))
            gone = what in runner.gone
        else:
            result, gone = runner.ask_alone(*what), False
        _tell((result, runner.remote.deaths - deaths, gone), answers)


def _end(*_: object) -> None:
    close_all()
    os._exit(143)
