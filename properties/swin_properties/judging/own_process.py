"""Asking in a process of its own, which may hang or die: that law is broken, and the run goes on."""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from swin_properties.cases.case import Case
from swin_properties.judging.compare import CaseResult
from swin_properties.judging.implementation import load_implementation
from swin_properties.judging.one_law import mark_broken
from swin_properties.judging.report import LawResult, Report
from swin_properties.judging.run import Explain, InProcess, Request, Watcher, again
from swin_properties.laws.law import LAWS, Law

TIMEOUT = 60.0
"""Seconds that one case may take, unless ``--timeout`` says otherwise; loading always may."""


class Gone(Exception):
    """The process ended, or did not answer in time; says which."""


class OwnProcess:
    """A `Runner` that asks in another process, and in a new one where that is gone."""

    def __init__(self, request: Request, explain: Explain) -> None:
        self.request = request
        self.explain = explain
        self.timeout = request.timeout or TIMEOUT
        self.process: Any = None
        self.gone: set[str] = set()
        """Laws that the implementation did not survive."""
        try:
            self._start()
        except Gone as gone:
            raise ValueError(
                f"an implementation is importable, {request.implementation}: {gone} while it loaded: "
                "check what it imports"
            ) from None

    def ask(self, law: Law, watcher: Watcher) -> LawResult:
        """What one law found; a process that is gone broke it on the case it was last asked."""
        cases: list[Case] = []
        try:
            self._send(law.name)
            timeout = max(self.timeout, TIMEOUT)  # until the first case is known nothing of its code runs
            while isinstance(answer := self._answer(timeout), Case):
                cases.append(answer)
                timeout = self.timeout
                watcher.asking(law, answer)
        except (Gone, ValueError) as gone:
            self.close()
            self.gone.add(law.name)
            result = LawResult(law.name, law.sentence, "holds", cases=len(cases))
            last = cases[-1] if cases else law.kind()  # type: ignore[call-arg]
            return mark_broken(result, last, CaseResult(seen=str(gone)), again(self.request, self))
        return answer  # type: ignore[no-any-return]

    def diagnosis(self, report: Report) -> str:
        """What explains the broken laws that the process survived: it is asked again in its own process."""
        results = [result for result in report.results if result.law not in self.gone]
        if not any(result.status == "broken" for result in results):
            return ""
        try:
            self._send(replace(report, results=results))
            return str(self._answer(max(self.timeout, TIMEOUT)))
        except (Gone, ValueError) as gone:
            self.close()
            return f"None: asked again, {gone}."

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None

    def _send(self, question: str | Report) -> None:
        """Asks the process, a new one where the last is gone."""
        if self.process is None or not self.process.is_alive():
            self.close()
            self._start()
        with suppress(OSError):  # it died just now: the answer says how
            self.connection.send(question)

    def _start(self) -> None:
        """A new process, with the implementation loaded."""
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, replace(self.request, laws=()), self.explain)
        )
        self.process.start()
        theirs.close()
        try:
            ready = self._answer(max(self.timeout, TIMEOUT))
        except Gone:
            self.close()
            raise
        if isinstance(ready, str):
            self.close()
            raise ValueError(ready)
        self.precision, self.convention, self.chosen, self.missing = ready

    def _answer(self, timeout: float) -> Any:
        """The next thing that the process says."""
        if not wait([self.connection, self.process.sentinel], timeout):
            raise Gone(f"the implementation's process did not answer within {timeout:g} s")
        with suppress(EOFError, OSError):
            if self.connection.poll():
                return self.connection.recv()
        self.process.join(timeout)
        raise Gone(f"the implementation's process {_ended(self.process.exitcode)}")


def serve(connection: Connection, request: Request, explain: Explain) -> None:
    """The other process: loads the implementation, announces each case, and answers the laws it is sent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to answer
    try:
        judged = load_implementation(request.implementation, request.dtype, request.convention)
    except ValueError as error:
        connection.send(str(error))
        return
    runner = InProcess(request, judged, explain)
    connection.send((runner.precision, runner.convention, runner.chosen, runner.missing))
    watcher = Announcer(connection)
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        report = isinstance(asked, Report)
        connection.send(runner.diagnosis(asked) if report else runner.ask(LAWS[asked], watcher))


class Announcer(Watcher):
    """Sends each case ahead of asking it: the last one sent is the one that the process died of."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def asking(self, law: Law, case: Case) -> None:
        """Just before the implementation is asked."""
        self.connection.send(case)


def _ended(exitcode: int | None) -> str:
    """How a process ended, in words.

    >>> _ended(-9), _ended(3)
    ('was killed by signal 9 (Killed)', 'ended itself with exit code 3')
    """
    if exitcode is None:
        return "stopped talking without ending"
    if exitcode >= 0:
        return f"ended itself with exit code {exitcode}"
    return f"was killed by signal {-exitcode} ({signal.strsignal(-exitcode)})"
