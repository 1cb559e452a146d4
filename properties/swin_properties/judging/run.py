"""A run: what is asked of an implementation, and asking it law by law."""

from __future__ import annotations

import itertools
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from swin_reference.config import convention_named

from swin_properties.adapters import exports
from swin_properties.adapters.answers import read_reason
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import Implementation
from swin_properties.adapters.load import describe_kind
from swin_properties.adapters.scope import WHOLES
from swin_properties.cases.case import Case
from swin_properties.judging.one_law import EFFORTS, SHRINK, quote_law, run_case, run_law
from swin_properties.judging.report import LawResult, Report
from swin_properties.judging.usual import add_usual
from swin_properties.laws import choosing
from swin_properties.laws.law import Law

SHRINK_IN_ALL = 300.0
"""How many seconds smaller cases are looked for in a run."""

USUAL_IN_ALL = 15.0
"""How many seconds usual cases are looked for in a run."""

MOST_JOBS = 64
"""The most processes that share the laws."""


OF_EXPORTS = ",".join(f"{name}/*" for name in WHOLES)
"""What is asked of an exported file: it has one network, or one block, and none of its parts."""


@dataclass(frozen=True)
class Request:
    """What is asked: drawn cases, or the one ``case``.

    ``program`` is the command of an implementation that is no Python.  ``own_process``: the implementation
    has its own, where a call may take ``timeout`` seconds.  ``jobs``: how many pairs share the laws, 0 for as
    many as this machine has room for.  ``shrink``: how many seconds smaller cases of a broken law are looked
    for.  ``options`` are those of an exported file.  ``few_shapes``: cases have a few
    sizes only.
    """

    implementation: str
    laws: tuple[Law, ...]
    dtype: str | None
    seed: int
    effort: str
    required: tuple[str, ...]
    case: Case | None = None
    timeout: float | None = None
    convention: str | None = None
    program: tuple[str, ...] = ()
    own_process: bool = False
    jobs: int = 1
    only: str | None = None
    shrink: float = SHRINK
    device: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    few_shapes: bool = False

    @property
    def import_string(self) -> str:
        """What names the implementation where it is loaded: an exported file has its options in it."""
        return exports.add_options(self.implementation, dict(self.options))

    def make_command(self, precision: str, convention: str, words: str = "") -> str:
        """Returns the command that judges the same implementation again, by the laws that ``words`` name.

        ``convention`` is the one it was judged by, empty if it declares it itself.
        """
        line = "swin-oracle check" + (f" {shlex.quote(self.implementation)}" if not self.program else "")
        line += "".join(f" --{word.replace('_', '-')} {shlex.quote(value)}" for word, value in self.options)
        line += f" --dtype {precision}" + f" --convention {convention}" * bool(convention)
        line += f" --device {self.device}" * bool(self.device)
        return f"{line} {words}".rstrip() + (f" -- {shlex.join(self.program)}" if self.program else "")


def make_request(
    implementation: str,
    only: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    effort: str = "default",
    required: Iterable[str] = (),
    case: str | None = None,
    timeout: float | None = None,
    convention: str | None = None,
    program: tuple[str, ...] = (),
    own_process: bool = False,
    jobs: int = 1,
    shrink: float = SHRINK,
    device: str | None = None,
    options: Mapping[str, str] | None = None,
    few_shapes: bool = False,
) -> Request:
    """Checks the words of a request; loads nothing yet.

    Errors: ``ValueError`` in one sentence for an unknown law, effort, callable or convention, or a case that
    cannot be.
    """
    if convention is not None:
        convention_named(convention)
    required = tuple(required)
    if unknown := [name for name in required if name.partition(".")[0] not in CONTRACT]:
        raise ValueError(
            f"--require takes callables of the adapter, got {', '.join(unknown)}: "
            f"use some of {', '.join(CONTRACT)}"
        )
    if seed < 0:
        raise ValueError(f"a seed is at least 0, got {seed}: use a larger one")
    if effort not in EFFORTS:
        raise ValueError(f"an effort is one of {', '.join(EFFORTS)}, got {effort!r}: use one of them")
    if only is None and exports.is_export(implementation):
        only = OF_EXPORTS
    laws = tuple(choosing.choose_in_order(only))
    if case is not None and len(laws) != 1:
        raise ValueError(f"--case asks one law, --only chose {len(laws)}: name one law with --only")
    parsed = None if case is None else laws[0].kind.parse(case)
    if timeout is not None and not 0 < timeout <= 86400:
        raise ValueError(f"--timeout is over 0 and at most 86400 seconds, got {timeout:g}: give another")
    if not 0 <= shrink <= 86400:
        raise ValueError(f"--shrink is at least 0 and at most 86400 seconds, got {shrink:g}: give another")
    if not 0 <= jobs <= MOST_JOBS:
        raise ValueError(f"--jobs is 1 to {MOST_JOBS}, or 0 to leave it open, got {jobs}: give another")
    return Request(
        implementation,
        laws,
        dtype,
        seed,
        effort,
        required,
        parsed,
        timeout,
        convention,
        program,
        own_process or bool(program),
        jobs,
        only,
        shrink,
        device,
        tuple((options or {}).items()),
        few_shapes,
    )


class Watcher:
    """Is told how a run goes on; this one does nothing."""

    def before_law(self, law: Law) -> None:
        """Is called before a law is asked."""

    def before_case(self, law: Law, case: Case) -> None:
        """Is called just before ``law`` is asked on ``case``, where it is asked in this process."""

    def count_cases(self, law: Law, cases: int) -> None:
        """Is told now and then how many cases of a law another process has asked."""

    def after_law(self, law: Law, result: LawResult) -> None:
        """Is called after the last case of a law."""

    def begin(self, what: str) -> None:
        """Is told what is done after all laws were asked."""


@dataclass(frozen=True)
class FileRead:
    """What was read of an implementation: of any, what it was taken for and how it is called.

    Of an exported file, also notes, faults, and whether it is quantised.
    """

    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    quantised: bool = False
    recognised: tuple[str, ...] = ()


class Runner(Protocol):
    """Where an implementation is asked: in this process, or in its own."""

    precision: str
    device: str
    convention: str
    chosen: str
    scope: str
    missing: tuple[str, ...]
    read: FileRead
    implementation: Implementation

    def ask_each(self, laws: Sequence[Law], watcher: Watcher) -> list[LawResult]:
        """Asks laws, and returns what each found, in their order."""

    def ask_again(self, results: list[LawResult]) -> list[LawResult]:
        """Asks broken laws once more, each alone in a fresh process, where there are processes."""

    def diagnosis(self, report: Report) -> str:
        """Says what explains the broken laws of a report, where it can be told."""

    def find_usual(self, report: Report) -> Report:
        """Returns the report with usual cases of broken laws, and what their smallest cases need."""

    def close(self) -> None:
        """Ends what was started."""


Explain = Callable[[Implementation, Report], str]
"""Says what explains the laws that are broken, where it can be told."""


class InProcess:
    """Asks in this process."""

    def __init__(self, request: Request, implementation: Implementation, explain: Explain) -> None:
        self.request = request
        self.explain = explain
        self.implementation = implementation
        implementation.few_shapes = request.few_shapes
        self.shrunk = 0.0
        """How many seconds broken laws took."""
        self.precision = implementation.precision.name
        self.device = implementation.device
        self.convention, self.chosen = implementation.convention.name, implementation.chosen
        self.scope = str(implementation.scope)
        self.missing = tuple(name for name in request.required if not implementation.offers(name))
        adapter = implementation.adapter
        notes, faults = (tuple(getattr(adapter, word, ())) for word in ("notes", "faults"))
        quantised = getattr(adapter, "quantised", False) is True
        self.read = FileRead(notes, faults, quantised, describe_kind(request.import_string, adapter))

    def ask_each(self, laws: Sequence[Law], watcher: Watcher) -> list[LawResult]:
        """Asks laws one after the other."""
        results = []
        for law in laws:
            watcher.before_law(law)
            results.append(self.ask(law, watcher))
            watcher.after_law(law, results[-1])
        return results

    def ask_again(self, results: list[LawResult]) -> list[LawResult]:
        """Returns the results as they are: this process is as it is."""
        return results

    def ask(self, law: Law, watcher: Watcher) -> LawResult:
        """Asks one law on the request's case or on drawn ones, and returns what it found."""
        request, before_case = self.request, partial(watcher.before_case, law)
        reproduce = partial(make_command, request, self)
        if request.case is not None:
            return run_case(law, self.implementation, request.case, reproduce, before_case)
        start = time.monotonic()
        seconds = min(request.shrink, SHRINK_IN_ALL - self.shrunk)
        effort, seed = EFFORTS[request.effort], request.seed
        result = run_law(law, self.implementation, effort, seed, reproduce, before_case, max(0.0, seconds))
        if result.status == "broken":
            self.shrunk += time.monotonic() - start
        return result

    def diagnosis(self, report: Report) -> str:
        """Names the planted bug that does what the implementation does, or the component with the fault."""
        try:
            return self.explain(self.implementation, report)
        except Exception as error:
            return f"Not known: the search for it failed, {type(error).__name__}: {read_reason(error)}."

    def find_usual(self, report: Report) -> Report:
        """Returns the report with usual cases of the broken laws, as many as there is time for."""
        found = {result.law: result for result in report.results}
        end = time.monotonic() + USUAL_IN_ALL
        for result in itertools.chain.from_iterable(report.list_broken()):
            if time.monotonic() < end:
                found[result.law] = self.add_usual(result)
        return replace(report, results=list(found.values()))

    def add_usual(self, result: LawResult) -> LawResult:
        """Returns the result of a broken law with a usual case, and with what its smallest case needs."""

        def again(case: str) -> str:
            words = f"--only {quote_law(result.law)} --case {shlex.quote(case)}"
            return make_command(self.request, self, words)

        return add_usual(result, self.implementation, again)

    def close(self) -> None:
        """Does nothing: nothing was started."""


def make_command(request: Request, runner: Runner, words: str) -> str:
    """Returns the command that judges a runner's implementation again, by the laws that ``words`` name."""
    declared = runner.chosen in ("declared", "assumed")  # then it is chosen again by itself, at no cost
    return request.make_command(runner.precision, "" if declared else runner.convention, words)


def choose_asked(request: Request, runner: Runner) -> Sequence[Law]:
    """Returns the laws of a request; of an exported file, where none were chosen, those of what it holds."""
    if request.only != OF_EXPORTS:
        return request.laws
    holds = runner.implementation.scope.whole
    return [law for law in request.laws if law.name.startswith(f"{holds}/")]


def ask_laws(request: Request, runner: Runner, watcher: Watcher) -> Report:
    """Asks every law of the request; those that are broken once more, alone, where there are processes."""
    results = runner.ask_each(choose_asked(request, runner), watcher)
    if request.own_process and any(result.status == "broken" for result in results):
        watcher.begin("asking broken laws once more, each alone")
    results = runner.ask_again(results)
    implementation, effort, seed = request.implementation, request.effort, request.seed
    return Report(
        implementation,
        runner.precision,
        effort,
        seed,
        results,
        runner.missing,
        convention=runner.convention,
        chosen=runner.chosen,
        scope=runner.scope,
        device=runner.device,
        notes=runner.read.notes,
        faults=runner.read.faults,
        quantised=runner.read.quantised,
        recognised=runner.read.recognised,
        few_shapes=request.few_shapes,
    )
