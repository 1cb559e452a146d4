"""``swin-oracle check``: judges an implementation; the exit code is the verdict."""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from typing import Any

from rich.console import Console

from swin_properties.adapters import peers
from swin_properties.api import judge, make_runner
from swin_properties.commands.screen import complain
from swin_properties.commands.words import Work, add_convention, add_dtype, add_implementation
from swin_properties.judging.one_law import EFFORTS
from swin_properties.judging.own_process import TIMEOUT
from swin_properties.judging.report import Report
from swin_properties.judging.run import make_request
from swin_properties.reports import files, html, json, junit, known_failures, terminal

FORMS = {"json": json.text, "junit": junit.text, "html": html.page}
"""For each option that names a file: the function that returns the text of a report."""


DESCRIPTION = """Asks an implementation every law on many small cases and prints a verdict. For a law that is
broken it prints the law, the smallest case that breaks it, what was seen there, and the command that shows it
again. Exit code: 0 the implementation conforms; 1 a law is broken; 2 nothing could be judged."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "judge an implementation of Swin Transformer by all laws"
    check = commands.add_parser("check", help=words, description=DESCRIPTION)
    check.set_defaults(prepare=prepare)
    add_implementation(check)
    only = "ask one law, or those that match a pattern such as 'swin_block/*' (swin-oracle laws lists all)"
    check.add_argument("--only", metavar="LAW", help=only)
    case = "ask on one case alone, as the line `again:` of a broken law writes it; needs --only"
    check.add_argument("--case", help=case)
    add_dtype(check)
    add_convention(check)
    check.add_argument("--seed", type=int, default=0, help="the seed that the cases are drawn by (default 0)")
    effort = "how many cases each law is asked on (default: default)"
    check.add_argument("--effort", choices=EFFORTS, default="default", help=effort)
    require = "callables that must be offered; exit code 1 if one is not"
    check.add_argument("--require", metavar="NAME,...", default="", help=require)
    failures = "a TOML file of laws that may be broken, each with a reason; they do not change the exit code"
    check.add_argument("--known-failures", metavar="FILE", help=failures)
    isolate = "run the implementation in its own process, so that a crash or a hang breaks one law only"
    check.add_argument("--isolate", action="store_true", help=isolate)
    seconds = f"how long one case may take, with --isolate (default {TIMEOUT:g})"
    check.add_argument("--timeout", type=float, metavar="SECONDS", help=seconds)
    check.add_argument("--json", metavar="FILE", help="also write the report as JSON")
    check.add_argument("--junit", metavar="FILE", help="also write the report as JUnit XML, for CI")
    check.add_argument("--html", metavar="FILE", help="also write the report as an HTML page with pictures")


def prepare(args: argparse.Namespace) -> Work:
    """Checks the arguments and loads the implementation; the work judges and prints the verdict."""
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
    failures = [] if args.known_failures is None else known_failures.read(args.known_failures)
    shipped = known_failures.read_shipped(args.implementation)
    paths = {form: path for form in FORMS if (path := getattr(args, form)) is not None}
    files.check_paths(paths.values(), [args.implementation.partition(":")[0], args.known_failures])
    runner = make_runner(request)

    def work(console: Console) -> int:
        bar = terminal.Bar(console, len(request.laws))
        with closing(runner), bar.progress:
            report = known_failures.mark(judge(request, runner, bar), failures, shipped)
        if shipped:
            file = peers.declared(args.implementation)
            note = f"{args.implementation} may break {len(shipped)} laws, for the reasons in {file}"
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        terminal.print_report(report, console)
        return _write_files(report, paths) or report.exit_code

    return work


def _timeout(isolate: bool, seconds: float | None) -> float | None:
    """Returns the seconds that a case may take; None without isolation."""
    if seconds is None:
        return TIMEOUT if isolate else None
    if not isolate:
        raise ValueError("--timeout needs a process of its own, --isolate is missing: add --isolate")
    if not 0 < seconds <= 86400:
        raise ValueError(f"--timeout is over 0 and at most 86400 seconds, got {seconds:g}: give another")
    return seconds


def _write_files(report: Report, paths: dict[str, str]) -> int:
    """Writes the files of a report; returns 2 where one cannot be written, else 0."""
    for form, path in paths.items():
        try:
            files.write(path, FORMS[form](report))
        except OSError as error:
            complain(f"a report's file can be written, {path} cannot: {error.strerror}")
            return 2
    return 0
