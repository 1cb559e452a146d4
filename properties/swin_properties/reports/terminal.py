"""Prints a report: a table of the laws, each broken law, and the verdict in one line."""

from __future__ import annotations

import re
from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from swin_properties.cases.case import Case
from swin_properties.cases.measured import NO_SIZES
from swin_properties.judging.report import NOT_ASKED, LawResult, Report
from swin_properties.judging.run import Watcher
from swin_properties.laws.law import LAWS, Law

MARKS = {
    "holds": "[green]holds[/]",
    "broken": "[bold red]broken[/]",
    "known failure": "[yellow]known failure[/]",
    "not offered": "[dim]not offered[/]",
}


def progress(console: Console, counted: str) -> Progress:
    """Returns a progress bar that disappears when it is done; it is shown only on a terminal.

    ``counted`` names what the bar counts, as in "laws".
    """
    return Progress(
        TextColumn(f"{{task.completed}}/{{task.total}} {counted}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class Bar(Watcher):
    """Shows how many laws are done, and which law and case is asked now; only on a terminal."""

    def __init__(self, console: Console, laws: int) -> None:
        self.progress = progress(console, "laws")
        self.task = self.progress.add_task("", total=laws)
        self.cases = 0

    def before_case(self, law: Law, case: Case) -> None:
        """Counts the cases of the law."""
        self.cases += 1
        self.progress.update(self.task, description=f"{law.name} case {self.cases}")

    def after_law(self, law: Law, result: LawResult) -> None:
        """Counts the laws."""
        self.cases = 0
        self.progress.update(self.task, advance=1, description=f"{law.name} {result.status}")


def print_report(report: Report, console: Console) -> None:
    """Prints the table of the laws, every broken law with its smallest case, and the verdict."""
    console.print(_table(report))
    for result in report.of("broken"):
        _print_broken(result, console)
    for result in report.of("known failure"):
        console.print(
            f"\n[yellow]known failure:[/] {escape(f'{result.law}: {result.known}')}", soft_wrap=True
        )
    for entry in report.stale:
        text = f"{entry.law}: no law of it is broken any more, remove this entry; its reason was: {entry}"
        console.print(f"\n[bold red]stale known failure:[/] {escape(text)}", soft_wrap=True)
    for name in report.required:
        console.print(f"\n[bold red]required but not offered:[/] {escape(name)}", soft_wrap=True)
    for note in report.notes:
        console.print(f"\n[bold]file:[/] {escape(note)}", soft_wrap=True, highlight=False)
    for fault in report.faults:
        console.print(f"\n[bold red]fault:[/] {escape(fault)}", soft_wrap=True, highlight=False)
    if absent := not_offered(report):
        console.print(f"\n[dim]not offered:[/] {escape(absent)}", soft_wrap=True, highlight=False)
    if report.scope:
        text = f"{report.scope}: cases were drawn inside it"
        console.print(f"\n[bold]scope:[/] {escape(text)}", soft_wrap=True, highlight=False)
    for text in declined(report):
        console.print(f"\n[bold]not asked:[/] {escape(text)}", soft_wrap=True, highlight=False)
    sizes = "" if report.sizes == NO_SIZES else str(report.sizes)
    for label, text in (("cause", report.cause), ("caught", report.caught), ("sizes", sizes)):
        if text:
            console.print(f"\n[bold]{label}:[/] {escape(text)}", soft_wrap=True, highlight=False)
    console.print()
    style = "bold red" if report.exit_code else "bold green"
    console.print(verdict(report), style=style, markup=False, soft_wrap=True)


def _table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("law", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("cases", justify="right")
    table.add_column("worst rho", justify="right")
    for result in report.results:
        measured = (
            "" if result.rho is None else f"{result.rho:.2f}" if result.rho < 1000 else f"{result.rho:.1e}"
        )
        table.add_row(
            result.law,
            MARKS[result.status],
            result.counted,
            ("exact" if LAWS[result.law].tier == "exact" else measured) if result.cases else "",
        )
    return table


def _print_broken(result: LawResult, console: Console) -> None:
    console.print(f"\n[bold red]{escape(result.law)}[/] is broken")
    for label, text in result.account:
        console.print(f"  {label}: {escape(text)}", soft_wrap=True, highlight=False)


def not_offered(report: Report) -> str:
    """Returns what is not offered and how many laws need it; empty where nothing is missing.

    >>> result = LawResult("a/b", "A law.", "not offered", missing=("vjp", "mlp"))
    >>> not_offered(Report("mine", "float32", "quick", 0, [result, result]))
    'vjp (2 laws), mlp (2 laws)'
    """
    needs = Counter(need for result in report.of("not offered") for need in result.missing)
    return ", ".join(
        f"{need} ({laws} law{'s' * (laws != 1)})"
        for need, laws in needs.most_common()
        if not need.startswith(NOT_ASKED)
    )


def declined(report: Report) -> list[str]:
    """Returns a line for each kind of reason why cases were not taken; reasons differ in kind, not in sizes.

    >>> result = LawResult("a/b", "A law.", "holds", 2, declined=("grid 3x3 is odd", "grid 5x5 is odd"))
    >>> declined(Report("mine", "float32", "quick", 0, [result]))
    ['2 cases of 1 law: grid 3x3 is odd (or other sizes)']
    """
    kinds: dict[str, list[tuple[str, int, int]]] = {}
    for reason, (cases, laws) in report.declined.items():
        kinds.setdefault(re.sub(r"\d+", "#", reason), []).append((reason, cases, laws))
    unasked = Counter(result.absence for result in report.results if result.absence.startswith(NOT_ASKED))
    lines = [f"{why[len(NOT_ASKED) :]} ({laws} law{'s' * (laws != 1)})" for why, laws in unasked.items()]
    for found in kinds.values():
        cases, laws = sum(cases for _, cases, _ in found), max(laws for _, _, laws in found)
        example = found[0][0] + (" (or other sizes)" if len(found) > 1 else "")
        lines.append(f"{cases} case{'s' * (cases != 1)} of {laws} law{'s' * (laws != 1)}: {example}")
    return lines


def verdict(report: Report) -> str:
    """Returns the verdict of a run in one line.

    >>> print(verdict(Report("mine", "float32", "quick", 0, catalogue="0.1.0")).partition("; ")[2])
    canonical convention, assumed; effort quick, seed 0, laws of 0.1.0)
    """
    holding, broken, known, absent = (
        len(report.of(status)) for status in ("holds", "broken", "known failure", "not offered")
    )
    if report.quantised:
        worst = max((result.rho for result in report.results if result.rho is not None), default=None)
        measured = "nothing measured" if worst is None else f"worst rho {worst:.3g}"
        return f"{report.implementation} is quantised: measured, not judged ({measured})"
    word = {0: "conforms", 1: "does not conform", 2: "nothing judged"}[report.exit_code]
    if not report.exit_code and known:
        word = "conforms but for known failures"
    laws = f"{holding} law holds" if holding == 1 else f"{holding} laws hold"
    known_failures = f"{known} known failure{'s' * (known != 1)}, " if known else ""
    counts = f"{laws}, {broken} broken, {known_failures}{absent} not offered"
    return (
        f"{report.implementation} in {report.precision}: {word} ({counts}; {report.convention} convention, "
        f"{report.chosen}; effort {report.effort}, seed {report.seed}, laws of {report.catalogue})"
    )
