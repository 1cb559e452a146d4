"""``swin-oracle check``: judges an implementation; the exit code is the verdict."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import Any

from rich.console import Console

from swin_properties.adapters import exports, peers
from swin_properties.adapters.exports.onnx_file import RUNTIMES
from swin_properties.adapters.remote import TIMEOUT, find_program
from swin_properties.adapters.scope import WHOLES
from swin_properties.api import judge, make_runner
from swin_properties.commands.screen import Screen, complain
from swin_properties.commands.words import (
    Work,
    add_convention,
    add_device,
    add_dtype,
    add_export,
    add_implementation,
    find_source,
    name_implementation,
    read_options,
)
from swin_properties.judging.jobs import MOST, PairGone
from swin_properties.judging.one_law import EFFORTS, SHRINK
from swin_properties.judging.report import Report
from swin_properties.judging.run import Request, Watcher, ask_laws, choose_asked, make_request
from swin_properties.judging.usual import check_case
from swin_properties.laws.law import LAWS
from swin_properties.reports import files, html, json, junit, known_failures, terminal
from swin_properties.reports.progress import Progress

WHOLE = tuple(f"{name}/oracle" for name in WHOLES)
"""The laws of what a file computes as a whole."""

FORMS = ("json", "junit", "html")
"""The options that name a file of a report."""

DESCRIPTION = """Asks an implementation every law on many small cases and prints a verdict. For a law that is
broken it prints the law, the smallest case that breaks it, what was seen there, and the command that shows it
again. Exit code: 0 the implementation conforms; 1 a law is broken; 2 nothing could be judged."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "judge an implementation of Swin Transformer by all laws"
    check = commands.add_parser("check", help=words, description=DESCRIPTION)
    check.set_defaults(prepare=prepare)
    add_implementation(check, program=True)
    only = (
        "ask one law, or those that match a pattern such as 'swin_block/*' (swin-oracle laws lists all); "
        "several are separated by commas, and asked in this order"
    )
    check.add_argument("--only", metavar="LAW", help=only)
    case = "ask on one case alone, as the line `again:` of a broken law writes it; needs --only"
    check.add_argument("--case", help=case)
    add_dtype(check)
    add_device(check)
    add_convention(check)
    check.add_argument("--seed", type=int, default=0, help="the seed that the cases are drawn by (default 0)")
    effort = "how many cases each law is asked on (default: default)"
    check.add_argument("--effort", choices=EFFORTS, default="default", help=effort)
    require = "callables that must be offered; exit code 1 if one is not"
    check.add_argument("--require", metavar="NAME,...", default="", help=require)
    failures = "a TOML file of laws that may be broken, each with a reason; they do not change the exit code"
    check.add_argument("--known-failures", metavar="FILE", help=failures)
    own = "give the implementation a process of its own also with --case (else that is the default)"
    check.add_argument("--own-process", action="store_true", help=own)
    here = "ask in this process, for a debugger: a crash or a hang of the implementation ends the command"
    check.add_argument("--in-process", action="store_true", help=here)
    seconds = f"how long a call may take, the first of its sizes ten times as long (default {TIMEOUT:g})"
    check.add_argument("--timeout", type=float, metavar="SECONDS", help=seconds)
    shrink = f"how long smaller cases of a broken law are looked for (default {SHRINK:g})"
    check.add_argument("--shrink", type=float, metavar="SECONDS", default=SHRINK, help=shrink)
    jobs = f"how many pairs of processes share the laws (default: the cores, at most {MOST}; 1 on a GPU)"
    check.add_argument("-j", "--jobs", type=int, metavar="N", default=0, help=jobs)
    every = "tell all broken laws in full, and show a row for each law, also for those that are not offered"
    check.add_argument("--all", action="store_true", help=every)
    trace = "also print where the exceptions come from that the implementation raised"
    check.add_argument("--traceback", action="store_true", help=trace)
    few = "draw cases of a few sizes only, for an implementation that compiles each shape; it sees less"
    check.add_argument("--few-shapes", action="store_true", help=few)
    add_export(check)
    check.add_argument("--json", metavar="FILE", help="also write the report as JSON")
    check.add_argument("--junit", metavar="FILE", help="also write the report as JUnit XML, for CI")
    check.add_argument("--html", metavar="FILE", help="also write the report as an HTML page with pictures")


def prepare(args: argparse.Namespace) -> Work:
    """Checks the arguments and loads the implementation; the work judges and prints the verdict."""
    # Cases are tiny: threads would cost more than they give.  Read when the implementation's library loads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    required = [name for name in args.require.split(",") if name]
    own_process = choose_process(args)
    options = read_options(args)
    request = make_request(
        name_implementation(args),
        args.only,
        args.dtype,
        args.seed,
        args.effort,
        required,
        args.case,
        args.timeout,
        args.convention,
        find_program(args.program) if args.program else (),
        own_process,
        args.jobs,
        args.shrink,
        args.device,
        options,
        args.few_shapes,
    )
    failures = [] if args.known_failures is None else known_failures.read(args.known_failures)
    shipped = known_failures.read_shipped(request.implementation)
    paths = {form: path for form in FORMS if (path := getattr(args, form)) is not None}
    files.check_paths(
        paths.values(), [find_source(args), *args.program, args.known_failures, args.checkpoint]
    )
    told = Progress(Screen(stderr=True), request.implementation)
    with told:
        runner = make_runner(request)
        if request.case is not None:
            with ExitStack() as stack:
                stack.callback(runner.close)
                check_case(request.laws[0], runner.implementation, request.case)
                stack.pop_all()
    words = terminal.describe_convention(runner.convention, runner.chosen)
    told.load(
        len(choose_asked(request, runner)),
        f"{runner.precision}{terminal.name_device(runner.device)}, {words}",
    )

    def work(console: Console) -> int:
        try:
            with closing(runner), told:
                report = known_failures.mark(judge(request, runner, told), failures, shipped)
                report = add_unoptimised(report, request)
        except PairGone as gone:
            print(f"swin-oracle: {gone}", file=sys.stderr)
            return 2
        failed = _write_files(report, paths, args.all)
        if shipped:
            file = peers.declared(args.implementation)
            note = f"{args.implementation} may break {len(shipped)} laws, for the reasons in {file}"
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        terminal.print_report(report, console, args.all, args.traceback)
        return failed or report.exit_code

    return work


def add_unoptimised(report: Report, request: Request) -> Report:
    """Returns the report with what an ONNX file gives, asked with the runtime's graph optimisation off.

    What an optimisation gets wrong differs from one version of a runtime to the next.
    """
    asked = [result.law for result in report.results if result.law in WHOLE and request.case is None]
    runtime = dict(request.options).get("runtime", RUNTIMES[0])
    if not asked or "optimisation" in dict(request.options) or runtime != RUNTIMES[0]:
        return report
    if not exports.is_onnx(request.implementation):
        return report
    options = (*request.options, ("optimisation", "off"))
    again = replace(request, laws=(LAWS[asked[0]],), effort="quick", options=options, jobs=1)
    with closing(make_runner(again)) as runner:
        (result,) = ask_laws(again, runner, Watcher()).results
    return replace(report, unoptimised=result)


def choose_process(args: argparse.Namespace) -> bool:
    """Tells whether the implementation has its own process: unless one case is asked, or it is told not to.

    Errors: ``ValueError`` in one sentence for words that contradict each other.
    """
    if args.in_process and args.own_process:
        raise ValueError("an implementation has a process of its own or not, got both: leave out one option")
    if args.in_process and args.program:
        raise ValueError("a program has a process of its own, got --in-process: leave it out")
    if args.in_process and args.jobs > 1:
        raise ValueError(f"--jobs are processes, got {args.jobs} with --in-process: leave out one option")
    return bool(args.program or args.own_process or not (args.in_process or args.case))


def _write_files(report: Report, paths: dict[str, str], every: bool) -> int:
    """Writes the files of a report; returns 2 where one cannot be written, else 0."""
    forms: dict[str, Callable[[Report], str]] = {
        "json": json.text,
        "junit": junit.text,
        "html": partial(html.page, every=every),
    }
    for form, path in paths.items():
        try:
            files.write(path, forms[form](report))
        except OSError as error:
            complain(f"a report's file can be written, {path} cannot: {error.strerror}")
            return 2
    return 0
