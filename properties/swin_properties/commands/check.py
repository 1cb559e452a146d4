"""``swin-oracle check``: the table of laws, and the verdict as exit code."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from typing import Any

from rich.console import Console

from swin_properties.adapters import peers
from swin_properties.api import judge, make_runner
from swin_properties.commands.words import Work, add_convention, add_dtype
from swin_properties.judging.one_law import EFFORTS
from swin_properties.judging.own_process import TIMEOUT
from swin_properties.judging.report import Report
from swin_properties.judging.run import make_request
from swin_properties.reports import files, html, json, junit, known_failures, terminal

FORMS = {"json": json.text, "junit": junit.text, "html": html.page}
"""The files that a report is written to: the option, and the text of a report."""


def add(commands: Any) -> None:
    """The command's words and options."""
    check = commands.add_parser("check", help="judge an implementation by the laws")
    check.set_defaults(prepare=prepare)
    check.add_argument("implementation", help="module, module:attribute, file.py or file.py:attribute")
    check.add_argument("--only", metavar="LAW", help="one law, or a pattern such as 'swin_block/*'")
    check.add_argument("--case", help="ask that law on this one case, as a broken law prints it")
    add_dtype(check)
    add_convention(check)
    check.add_argument("--seed", type=int, default=0, help="another draw of cases (default 0)")
    check.add_argument("--effort", choices=sorted(EFFORTS), default="default", help="how many cases")
    check.add_argument("--require", metavar="NAME,...", default="", help="callables that must be offered")
    check.add_argument("--known-failures", metavar="FILE", help="TOML: laws that may be broken, with reasons")
    check.add_argument("--isolate", action="store_true", help="in a process that may hang or die")
    seconds = f"that one case may take, with --isolate (default {TIMEOUT:g})"
    check.add_argument("--timeout", type=float, metavar="SECONDS", help=seconds)
    check.add_argument("--json", metavar="FILE", help="write the report as JSON too")
    check.add_argument("--junit", metavar="FILE", help="write the report as JUnit XML too")
    check.add_argument("--html", metavar="FILE", help="write the report as a page for people too")


def prepare(args: argparse.Namespace) -> Work:
    """Checks the words; the work judges, and prints the verdict."""
    # Cases are tiny: threads would cost more than they give.  Read when the implementation's library loads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    required = [name for name in args.require.split(",") if name]
    timeout = _timeout(args.isolate, args.timeout)
    request = make_request(
        args.implementation,
        args.only,
        args.dtype,
        args.seed,
        args.effort,
        required,
        args.case,
        timeout,
        args.convention,
    )
    failures = known_failures.read(args.known_failures) if args.known_failures else []
    declared = known_failures.declared(args.implementation)
    paths = {form: path for form in FORMS if (path := getattr(args, form))}
    files.checked(paths.values())
    runner = make_runner(request)

    def work(console: Console) -> int:
        bar = terminal.Bar(console, len(request.laws))
        with closing(runner), bar.progress:
            report = known_failures.let(judge(request, runner, bar), failures, declared)
        if declared:
            file = peers.declared(args.implementation)
            note = f"{args.implementation} may break {len(declared)} laws, for the reasons in {file}"
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        terminal.print_report(report, console)
        return _written(report, paths) or report.exit_code

    return work


def _timeout(isolate: bool, seconds: float | None) -> float | None:
    """Seconds a case, None for no isolation."""
    if seconds is None:
        return TIMEOUT if isolate else None
    if not isolate:
        raise ValueError("--timeout ends the implementation's own process: give --isolate as well")
    if not 0 < seconds <= 86400:
        raise ValueError(f"--timeout is over 0 seconds and at most a day, got {seconds:g}: give another")
    return seconds


def _written(report: Report, paths: dict[str, str]) -> int:
    """Writes the report's files; 2 where one cannot be written after all."""
    for form, path in paths.items():
        try:
            files.write(path, FORMS[form](report))
        except OSError as error:
            print(f"swin-oracle: a report's file can be written, {path}: {error.strerror}", file=sys.stderr)
            return 2
    return 0
