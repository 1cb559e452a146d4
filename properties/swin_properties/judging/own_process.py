"""Asks an implementation that has a process of its own: what it does to that process breaks one law only."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic

from swin_reference.config import convention_named

from swin_properties.adapters.implementation import CANONICAL, Implementation
from swin_properties.adapters.load import load_in_precision
from swin_properties.adapters.process import ProcessGone
from swin_properties.adapters.remote import TIMEOUT, Launch, Remote
from swin_properties.cases.case import Case
from swin_properties.judging.compare import CaseResult
from swin_properties.judging.implementation import load_implementation
from swin_properties.judging.one_law import mark_broken, quote_law, run_case
from swin_properties.judging.report import NOT_ASKED, LawResult, Report
from swin_properties.judging.run import Explain, InProcess, Request, Watcher, make_command
from swin_properties.judging.sequence import find_shortest, list_earlier
from swin_properties.laws.law import LAWS, Law
from swin_properties.laws.version import __version__

MOST_CONFIRMED = 8
"""How many broken laws are asked once more, each alone, before the others are taken to be like them."""

SHORTEN = 120.0
"""The seconds of a run in which shorter sequences of laws are tried for those that keep state."""

MOST_NAMED = 20
"""The most laws that the line ``again:`` names; where there are more, it asks all that were asked."""

KEEPS_STATE = "broken only after other calls: it keeps state; then "
"""What is said of a law that is not broken in a fresh process."""


class LastCase(Watcher):
    """Remembers the cases of a law, and tells another watcher."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.cases: list[Case] = []

    def before_case(self, law: Law, case: Case) -> None:
        """Remembers the case."""
        self.cases.append(case)
        self.watcher.before_case(law, case)


class OwnProcess(InProcess):
    """A `Runner` that judges here and asks there: if the process is gone, the law it was asked is broken."""

    remote: Remote

    def __init__(self, request: Request, explain: Explain, judged_by: tuple[str, str] | None = None) -> None:
        """``judged_by``: the convention and where it is from, if that is known already.

        Errors: ``ValueError`` in one sentence for an implementation that does not start.
        """
        adapter = "" if request.program else request.import_string
        self.remote = Remote(Launch(request.program, adapter, __version__), request.timeout or TIMEOUT)
        self.asked: list[str] = []
        """The laws that the process was asked, in this order."""
        self.gone: set[str] = set()
        """The laws on which the process was gone."""
        self.seconds = SHORTEN
        self.sequences: list[list[str]] = []
        """The sequences that were found for other laws: they are tried first."""
        try:
            implementation = self._load(request, judged_by)
        except BaseException:
            self.remote.close()
            raise
        super().__init__(request, implementation, explain)

    def _load(self, request: Request, judged_by: tuple[str, str] | None) -> Implementation:
        try:
            if judged_by is None:
                return load_implementation(self.remote, request.dtype, request.convention, request.device)
            convention, chosen = judged_by
            found, precision = load_in_precision(self.remote, request.dtype, request.device)
            if chosen == "as asked" and callable(getattr(found, "with_convention", None)):
                found = found.with_convention(convention)
            return Implementation(found, precision, convention_named(convention), chosen)
        except ProcessGone as gone:
            if request.convention is not None or judged_by is not None:
                why = f"an implementation must answer when it is loaded, {self.remote.import_string} did not"
                raise ValueError(f"{why}: {gone}") from None
            found, precision = load_in_precision(self.remote, request.dtype, request.device)
            return Implementation(found, precision, CANONICAL, "assumed: it died when networks were asked")

    def ask(self, law: Law, watcher: Watcher) -> LawResult:
        """Asks one law; if the process is gone, the law is broken on the case that was asked last."""
        if self.remote.exhausted:
            return make_unasked(law, self.remote.deaths)
        last = LastCase(watcher)
        self.asked.append(law.name)
        try:
            return super().ask(law, last)
        except ProcessGone as gone:
            return self._mark_gone(law, last.cases, gone)

    def _mark_gone(self, law: Law, cases: list[Case], gone: ProcessGone) -> LawResult:
        self.gone.add(law.name)
        case = cases[-1] if cases else law.kind()  # type: ignore[call-arg]
        timeout = f" --timeout {self.request.timeout:g}" if self.request.timeout else ""
        words = f"--only {quote_law(law.name)} --case {shlex.quote(str(case))} --own-process{timeout}"
        result = LawResult(law.name, law.sentence, "holds", cases=len(cases))

        def reproduce(_: str) -> str:
            return make_command(self.request, self, words)

        return mark_broken(result, case, CaseResult(seen=str(gone)), reproduce)

    def ask_again(self, results: list[LawResult]) -> list[LawResult]:
        """Asks broken laws once more, each alone in a fresh process.

        Where the first ones are broken again, the others are not asked.
        """
        if self.request.case is not None:
            return results
        found = {result.law: result for result in results}
        for batch in split_broken(results, self.gone):
            again = [self.ask_alone(found[name], list_earlier(name, self.asked, self.gone)) for name in batch]
            found |= {result.law: result for result in again}
            if not any(keeps_state(result) for result in again):
                break
        return list(found.values())

    def ask_alone(self, result: LawResult, earlier: Sequence[str]) -> LawResult:
        """Asks a broken law on its smallest case in a fresh process; says if it holds there.

        ``earlier`` are the laws that the process had been asked before.
        """
        law, counterexample = LAWS[result.law], result.counterexample
        assert counterexample is not None
        if self.remote.exhausted:
            return result
        effort, seed = f"--effort {self.request.effort}", f"--seed {self.request.seed}"
        try:
            self.remote.restart()
            again = run_case(law, self.implementation, counterexample.case, str)
            if again.status == "broken":
                return result
            self.remote.restart()
            alone = super().ask(law, Watcher())
            only: str | None = law.name
            if alone.status != "broken":
                shortest = self.shorten(law, earlier)
                only = self.request.only
                if shortest and len(shortest) <= MOST_NAMED:
                    only = ",".join([*shortest, law.name])
        except ProcessGone:
            return result
        words = f"--only {shlex.quote(only)} {effort}" if only else effort
        line = make_command(self.request, self, f"{words} {seed} --jobs 1")
        seen = KEEPS_STATE + counterexample.seen
        return replace(result, counterexample=replace(counterexample, seen=seen, reproduce=line))

    def shorten(self, law: Law, earlier: Sequence[str]) -> list[str] | None:
        """Returns the fewest earlier laws found after which a law is broken in a fresh process."""

        def shows(laws: Sequence[str]) -> bool:
            try:
                self.remote.restart()
                for name in laws:
                    super(OwnProcess, self).ask(LAWS[name], Watcher())
                return super(OwnProcess, self).ask(law, Watcher()).status == "broken"
            except ProcessGone:
                return False

        start = monotonic()
        until = start + self.seconds
        known = [some for some in self.sequences if set(some) <= set(earlier)]
        found = (find_shortest(some, shows, until) for some in [*known, earlier])
        shortest = next((some for some in found if some), None)
        if shortest and shortest not in self.sequences:
            self.sequences.append(shortest)
        self.seconds -= min(self.seconds, monotonic() - start)
        return shortest

    def diagnosis(self, report: Report) -> str:
        """Says what explains the broken laws, but for those on which the process was gone."""
        results = [result for result in report.results if result.law not in self.gone]
        if not any(result.status == "broken" for result in results):
            return ""
        try:
            return super().diagnosis(replace(report, results=results))
        except ProcessGone as gone:
            return f"Not known: when the laws were asked again, {gone}."

    def add_usual(self, result: LawResult) -> LawResult:
        """Adds nothing to a law on which the process was gone, or that is broken only after other calls."""
        if result.law in self.gone or keeps_state(result):
            return result
        try:
            return super().add_usual(result)
        except ProcessGone:
            return result

    def close(self) -> None:
        """Ends the process."""
        with suppress(OSError):
            self.remote.close()


def make_unasked(law: Law, deaths: int) -> LawResult:
    """Returns the result of a law that was not asked, for the process died too often."""
    return LawResult(law.name, law.sentence, "not offered", missing=(f"{NOT_ASKED}it died {deaths} times",))


def keeps_state(result: LawResult) -> bool:
    """Tells whether a law was broken only after other calls."""
    return result.counterexample is not None and result.counterexample.seen.startswith(KEEPS_STATE)


def split_broken(results: Iterable[LawResult], gone: set[str]) -> list[list[str]]:
    """Returns the laws to ask once more: the first ones, and the others in case these keep state."""
    names = [result.law for result in results if result.status == "broken" and result.law not in gone]
    return [batch for batch in (names[:MOST_CONFIRMED], names[MOST_CONFIRMED:]) if batch]
