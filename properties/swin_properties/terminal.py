"""The verdict as it prints: a table of laws, what fell, and one line that sums up."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from swin_properties.report import LawResult, Report

MARKS = {"held": "[green]held[/]", "fell": "[bold red]fell[/]", "not offered": "[dim]not offered[/]"}


def progress_bar(console: Console) -> Progress:
    """A bar over the laws, gone when done; nothing where the output is no terminal."""
    return Progress(
        TextColumn("{task.completed}/{task.total} laws"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def print_report(report: Report, console: Console) -> None:
    """Prints the table of laws, every fall with its smallest case, and the verdict."""
    table = Table(box=None, pad_edge=False)
    table.add_column("law", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("cases", justify="right")
    table.add_column("worst rho", justify="right")
    if report.of("not offered"):
        table.add_column("needs", overflow="fold")
    for result in report.results:
        rho = "exact" if result.rho is None else f"{result.rho:.2f}"
        table.add_row(
            result.law,
            MARKS[result.status],
            str(result.cases) if result.cases else "",
            rho if result.cases else "",
            *[escape(", ".join(result.missing))] * bool(report.of("not offered")),
        )
    console.print(table)
    for result in report.of("fell"):
        _print_fall(result, console)
    for name in report.required:
        console.print(f"\n[bold red]required but not offered:[/] {escape(name)}", soft_wrap=True)
    console.print()
    console.print(verdict(report), style="bold red" if report.exit_code else "bold green", soft_wrap=True)


def _print_fall(result: LawResult, console: Console) -> None:
    fall = result.counterexample
    if fall is None:
        return
    console.print(f"\n[bold red]{escape(result.law)}[/] fell")
    for label, text in (
        ("law", result.sentence),
        ("seen", fall.seen),
        ("smallest case", str(fall.case) or "every size 1"),
        ("again", fall.reproduce),
    ):
        console.print(f"  {label}: {escape(text)}", soft_wrap=True, highlight=False)


def verdict(report: Report) -> str:
    """The run in one line.

    >>> verdict(Report("mine", "float32", "quick", 0))
    'mine in float32: nothing judged (0 laws held, 0 fell, 0 not offered; effort quick, seed 0)'
    """
    held, fell, absent = (len(report.of(status)) for status in ("held", "fell", "not offered"))
    word = {0: "conforms", 1: "does not conform", 2: "nothing judged"}[report.exit_code]
    return (
        f"{report.implementation} in {report.precision}: {word} ({held} laws held, {fell} fell, "
        f"{absent} not offered; effort {report.effort}, seed {report.seed})"
    )
