"""``swin-oracle check``: the table of laws, and the verdict as exit code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from swin_properties import catalogue, html, implementations, runner, terminal
from swin_properties.commands.words import Work, add_dtype
from swin_properties.drawing import files
from swin_properties.registry import Law
from swin_properties.report import LawResult, Report
from swin_properties.shapes import SHAPES


def add(commands: Any) -> None:
    """The command's words and options."""
    check = commands.add_parser("check", help="judge an implementation by the laws")
    check.set_defaults(prepare=prepare)
    check.add_argument("implementation", help="module, module:attribute, file.py or file.py:attribute")
    check.add_argument("--only", metavar="LAW", help="one law, or a pattern such as 'swin_block/*'")
    check.add_argument("--case", help="ask that law on this one case, as a fall prints it")
    add_dtype(check)
    check.add_argument("--seed", type=int, default=0, help="another draw of cases (default 0)")
    check.add_argument("--effort", choices=sorted(runner.EFFORTS), default="default", help="how many cases")
    check.add_argument("--require", metavar="NAME,...", default="", help="callables that must be offered")
    check.add_argument("--html", metavar="FILE.html", help="write the verdict as a page for people as well")


def prepare(args: argparse.Namespace) -> Work:
    """Checks the words; the work judges, and prints the verdict."""
    required = [name for name in args.require.split(",") if name]
    if unknown := [name for name in required if name.partition(".")[0] not in SHAPES]:
        raise ValueError(
            f"--require takes callables of the adapter, got {', '.join(unknown)}: "
            f"use some of {', '.join(SHAPES)}"
        )
    if args.seed < 0:
        raise ValueError(f"a seed is at least 0, got {args.seed}: use a larger one")
    laws = catalogue.chosen(args.only)
    if args.case is not None and len(laws) != 1:
        raise ValueError(f"--case asks one law, --only chose {len(laws)}: name one law with --only")
    case = None if args.case is None else laws[0].kind.parse(args.case)
    html_file = None if args.html is None else files.writable(args.html, ".html")
    judged = implementations.judged(args.implementation, args.dtype)

    def work(console: Console) -> int:
        with terminal.progress_bar(console) as bar:
            task = bar.add_task("", total=len(laws))

            def advance(law: Law, result: LawResult) -> None:
                bar.update(task, advance=1, description=f"{law.name} {result.status}")

            report = runner.run(
                judged, laws, args.implementation, args.effort, args.seed, case, required, advance
            )
        terminal.print_report(report, console)
        return report.exit_code if html_file is None else _write_page(report, html_file, console)

    return work


def _write_page(report: Report, file: Path, console: Console) -> int:
    """Writes the verdict's page; the exit code is the verdict's, or 2 when the page could not be written."""
    try:
        files.write(file, html.page(report))
    except ValueError as error:
        print(f"swin-oracle: {error}", file=sys.stderr)
        return 2
    console.print(f"wrote {file}", markup=False, highlight=False, soft_wrap=True)
    return report.exit_code
