"""Judging from Python: puts the rooms together, the only file that knows them all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from swin_properties.adapters.load import find_name
from swin_properties.bugs import diagnosis, kills
from swin_properties.judging.implementation import load_implementation
from swin_properties.judging.own_process import OwnProcess
from swin_properties.judging.report import Report
from swin_properties.judging.run import InProcess, Request, Runner, Watcher, ask_laws, make_request


def make_runner(request: Request, implementation: Any = None) -> Runner:
    """Returns what asks the implementation of a request: in this process, or in its own with a timeout.

    ``implementation`` is the object that the request names, where there is one.

    Errors: ``ValueError`` in one sentence for an implementation that does not load.
    """
    if request.timeout is not None:
        return OwnProcess(request, diagnosis.explain)
    found = request.implementation if implementation is None else implementation
    return InProcess(
        request, load_implementation(found, request.dtype, request.convention), diagnosis.explain
    )


def judge(request: Request, runner: Runner, watcher: Watcher) -> Report:
    """Asks every law of a request; returns the report, with what explains it and what a pass is worth."""
    report = ask_laws(request, runner, watcher)
    if request.case is not None:
        return report
    return replace(report, cause=runner.diagnosis(report), caught=kills.catches(report))


def check(
    implementation: Any,
    *,
    only: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    effort: str = "default",
    require: Iterable[str] = (),
    convention: str | None = None,
) -> Report:
    """Judges an implementation, an import string or an object, by the laws; needs no pytest.

    Errors: ``ValueError`` in one sentence for an implementation that does not load or words that are wrong.

    >>> check("swin_reference", only="layer_norm/eps", effort="quick").exit_code
    0
    """
    name = find_name(implementation)
    request = make_request(name, only, dtype, seed, effort, require, convention=convention)
    return judge(request, make_runner(request, implementation), Watcher())
