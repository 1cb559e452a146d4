"""Judging from Python: puts the rooms together, the only file that knows them all."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from typing import Any

from swin_properties.adapters.load import find_name
from swin_properties.adapters.remote import read_program
from swin_properties.bugs import kills
from swin_properties.bugs.causes.components import find_first_wrong
from swin_properties.bugs.causes.explain import explain
from swin_properties.judging import jobs as shared
from swin_properties.judging.implementation import load_implementation
from swin_properties.judging.one_law import SHRINK
from swin_properties.judging.own_process import OwnProcess
from swin_properties.judging.report import Report
from swin_properties.judging.run import InProcess, Request, Runner, Watcher, ask_laws, make_request


def make_runner(request: Request, implementation: Any = None) -> Runner:
    """Returns what asks the implementation of a request: in this process, or in its own.

    ``implementation`` is the object that the request names, where there is one.

    Errors: ``ValueError`` in one sentence for an implementation that does not load.
    """
    if not request.own_process:
        found = request.import_string if implementation is None else implementation
        return InProcess(
            request,
            load_implementation(found, request.dtype, request.convention, request.device),
            explain,
        )
    first = OwnProcess(request, explain)
    number = shared.choose_jobs(request, first.device)
    return first if number == 1 else shared.Jobs(first, request, explain, number)


def judge(request: Request, runner: Runner, watcher: Watcher) -> Report:
    """Asks every law of a request; returns the report, with what explains it and what a pass is worth."""
    report = ask_laws(request, runner, watcher)
    if request.case is not None:
        return report
    implementation = runner.implementation
    one_size = implementation.scope.has_one_size
    caught = kills.catches_in_one(report, implementation) if one_size else kills.catches(report)
    report = replace(report, caught="" if request.few_shapes else caught)
    if not report.of("broken"):
        return report
    watcher.begin("looking for the cause")
    report = replace(report, cause=runner.diagnosis(report), first=find_first(report))
    watcher.begin("looking for usual cases that are wrong")
    return runner.find_usual(report)


def find_first(report: Report) -> str:
    """Returns the component that is wrong first; where numbers are wrong, not one that only raises."""
    broken = [result for result in report.of("broken") if result.counterexample]
    numeric = [result for result in broken if result.counterexample and result.counterexample.kind == "wrong"]
    place = find_first_wrong(report, numeric or broken)
    return "" if place is None else place.name


def check(
    implementation: Any,
    *,
    only: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    effort: str = "default",
    require: Iterable[str] = (),
    convention: str | None = None,
    own_process: bool = False,
    jobs: int = 1,
    shrink: float = SHRINK,
    device: str | None = None,
    few_shapes: bool = False,
) -> Report:
    """Judges an implementation, an import string or an object, by the laws; needs no pytest.

    A list of strings is the command of a program that speaks docs/protocol.md, such as ``["./mine"]``.

    It judges in this process.  With ``own_process`` the implementation, which is then an import string, has a
    process of its own, and ``jobs`` such pairs share the laws, as in the command.  Smaller cases of a broken
    law are looked for ``shrink`` seconds.  ``device`` is where a torch adapter computes, if not where it is.
    ``few_shapes``: cases have a few sizes only, for what compiles each.

    Errors: ``ValueError`` in one sentence for an implementation that does not load or words that are wrong.

    >>> check("swin_reference", only="layer_norm/eps", effort="quick").exit_code
    0
    >>> check("swin_reference", only="layer_norm/eps", effort="quick", own_process=True).exit_code
    0
    """
    program = read_program(implementation)
    name = find_name(implementation)
    own_process = own_process or bool(program)
    if own_process and not isinstance(implementation, str) and not program:
        raise ValueError(f"own_process takes an import string, got {name}: give module:attribute or file.py")
    if jobs != 1 and not own_process:
        raise ValueError(f"jobs are processes, got jobs={jobs} in this process: give own_process=True")
    request = make_request(
        name,
        only,
        dtype,
        seed,
        effort,
        require,
        convention=convention,
        program=program,
        own_process=own_process,
        jobs=jobs,
        shrink=shrink,
        device=device,
        few_shapes=few_shapes,
    )
    with closing(make_runner(request, None if program else implementation)) as runner:
        return judge(request, runner, Watcher())
