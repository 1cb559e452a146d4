"""Asks in a process of its own, which may hang or die: that law is broken, and the run goes on."""

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
from swin_properties.judging.run import Explain, InProcess, Request, Watcher, make_command
from swin_properties.laws.law import LAWS, Law

TIMEOUT = 60.0
"""Seconds that one case may take unless ``--timeout`` says otherwise; loading may always take these."""


class ProcessGone(Exception):
    """The process ended or did not answer in time; the message says which."""


class OwnProcess:
    """A `Runner` that asks in another process, and starts a new one when that process is gone."""

    def __init__(self, request: Request, explain: Explain) -> None:
        self.request = request
        self.explain = explain
        self.timeout = request.timeout or TIMEOUT
        self.process: Any = None
        self.gone: set[str] = set()
        """The laws on which the process ended or did not answer."""
        try:
            self._start()
        except ProcessGone as gone:
            raise ValueError(
                f"an implementation loads, {request.implementation} did not: {gone}: check what it imports"
            ) from None

    def ask(self, law: Law, watcher: Watcher) -> LawResult:
        """Asks one law; if the process is gone, the law is broken on the case that was asked last."""
        cases: list[Case] = []
        try:
            self._send(law.name)
            timeout = max(self.timeout, TIMEOUT)  # before the first case is announced, none of its code runs
            while isinstance(answer := self._answer(timeout), Case):
                cases.append(answer)
                timeout = self.timeout
                watcher.before_case(law, answer)
        except (ProcessGone, ValueError) as gone:
            self.close()
            self.gone.add(law.name)
            result = LawResult(law.name, law.sentence, "holds", cases=len(cases))
            last = cases[-1] if cases else law.kind()  # type: ignore[call-arg]
            return mark_broken(result, last, CaseResult(seen=str(gone)), make_command(self.request, self))
        return answer  # type: ignore[no-any-return]

    def diagnosis(self, report: Report) -> str:
        """Asks a process what explains the broken laws, but for those on which a process was gone."""
        results = [result for result in report.results if result.law not in self.gone]
        if not any(result.status == "broken" for result in results):
            return ""
        try:
            self._send(replace(report, results=results))
            return str(self._answer(max(self.timeout, TIMEOUT)))
        except (ProcessGone, ValueError) as gone:
            self.close()
            return f"Not known: when the laws were asked again, {gone}."

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None

    def _send(self, question: str | Report) -> None:
        """Sends a question to the process, to a new one if the last is gone."""
        if self.process is None or not self.process.is_alive():
            self.close()
            self._start()
        with suppress(OSError):  # the process ended just now: the answer says how
            self.connection.send(question)

    def _start(self) -> None:
        """Starts a new process, which loads the implementation."""
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, replace(self.request, laws=()), self.explain)
        )
        self.process.start()
        theirs.close()
        try:
            ready = self._answer(max(self.timeout, TIMEOUT))
        except ProcessGone:
            self.close()
            raise
        if isinstance(ready, str):
            self.close()
            raise ValueError(ready)
        self.precision, self.convention, self.chosen, self.scope, self.missing = ready

    def _answer(self, timeout: float) -> Any:
        """Returns the next message of the process."""
        if not wait([self.connection, self.process.sentinel], timeout):
            raise ProcessGone(f"the implementation's process did not answer within {timeout:g} s")
        with suppress(EOFError, OSError):
            if self.connection.poll():
                return self.connection.recv()
        self.process.join(timeout)
        raise ProcessGone(f"the implementation's process {_describe_end(self.process.exitcode)}")


def serve(connection: Connection, request: Request, explain: Explain) -> None:
    """Runs in the other process: loads the implementation, announces each case, and answers each question."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process handles Ctrl-C
    try:
        implementation = load_implementation(request.implementation, request.dtype, request.convention)
    except ValueError as error:
        connection.send(str(error))
        return
    runner = InProcess(request, implementation, explain)
    connection.send((runner.precision, runner.convention, runner.chosen, runner.scope, runner.missing))
    watcher = Announcer(connection)
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        report = isinstance(asked, Report)
        connection.send(runner.diagnosis(asked) if report else runner.ask(LAWS[asked], watcher))


class Announcer(Watcher):
    """Sends each case before asking it: if the process ends, the last case sent is the cause."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def before_case(self, law: Law, case: Case) -> None:
        """Sends the case just before the implementation is asked."""
        self.connection.send(case)


def _describe_end(exitcode: int | None) -> str:
    """Returns how a process ended, in words.

    >>> _describe_end(-9), _describe_end(3)
    ('was killed by signal 9 (Killed)', 'ended itself with exit code 3')
    """
    if exitcode is None:
        return "closed its connection without ending"
    if exitcode >= 0:
        return f"ended itself with exit code {exitcode}"
    return f"was killed by signal {-exitcode} ({signal.strsignal(-exitcode)})"
