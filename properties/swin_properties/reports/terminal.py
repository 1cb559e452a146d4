"""Prints a report: a table of the laws, each broken law, and the verdict in one line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from swin_properties.cases.measured import NO_SIZES
from swin_properties.judging.report import NOT_ASKED, LawResult, Report
from swin_properties.laws.law import LAWS
from swin_properties.laws.versions import find_version

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


def count(number: int, what: str) -> str:
    """Returns a number of things in words.

    >>> count(1, "law"), count(2, "law")
    ('1 law', '2 laws')
    """
    return f"{number} {what}{'s' * (number != 1)}"


MOST_TOLD = 3
"""How many broken laws, those alike counted once, are told in full."""

MOST_ROWS = 12
"""The most laws that have a row each; of more laws each component has one."""

LONGEST_SEEN = 100
"""The most letters of what is seen of a law that is not told in full."""


def print_report(report: Report, console: Console, every: bool = False, tracebacks: bool = False) -> None:
    """Prints the cause, the broken laws that tell most, a table, and the verdict.

    ``every``: all broken laws in full, and a row for each law, also for those that are not offered.
    ``tracebacks``: also those of the exceptions that the implementation raised.
    """
    for line in report.recognised[:1]:
        console.print(f"[bold]{escape(line)}[/]\n", soft_wrap=True, highlight=False)
    if report.cause:
        console.print("[bold]cause:[/] ", end="", soft_wrap=True)
        console.print(report.cause, markup=False, highlight=False, soft_wrap=True)
        console.print()
    groups = report.list_broken()
    told = len(groups) if every else MOST_TOLD
    for results in groups[:told]:
        _print_broken(results, console, tracebacks)
    _print_others([result for results in groups[told:] for result in results], console)
    console.print(_make_table(report, every))
    for reason, laws in group_known(report).items():
        console.print(f"\n[yellow]known failure:[/] {escape(f'{reason}: {laws}')}", soft_wrap=True)
    for entry in report.stale:
        text = f"{entry.law}: no law of it is broken any more, remove this entry; its reason was: {entry}"
        console.print(f"\n[bold red]stale known failure:[/] {escape(text)}", soft_wrap=True)
    for name in report.required:
        console.print(f"\n[bold red]required but not offered:[/] {escape(name)}", soft_wrap=True)
    for note in report.notes:
        console.print(f"\n[bold]file:[/] {escape(note)}", soft_wrap=True, highlight=False)
    for fault in report.faults:
        console.print(f"\n[bold red]fault:[/] {escape(fault)}", soft_wrap=True, highlight=False)
    if report.recognised[1:]:
        console.print("\n[bold]called:[/]", soft_wrap=True)
        for line in report.recognised[1:]:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    if absent := not_offered(report):
        console.print(f"\n[dim]not offered:[/] {escape(absent)}", soft_wrap=True, highlight=False)
    for text in declined(report):
        console.print(f"\n[bold]not asked:[/] {escape(text)}", soft_wrap=True, highlight=False)
    for label, text in list_remarks(report):
        console.print(f"\n[bold]{label}:[/] {escape(text)}", soft_wrap=True, highlight=False)
    console.print()
    style = "bold red" if report.exit_code else "bold green"
    console.print(verdict(report), style=style, markup=False, soft_wrap=True)


def list_remarks(report: Report) -> list[tuple[str, str]]:
    """Returns what else every report says of a run, as pairs of a label and a text."""
    sizes = "" if report.sizes == NO_SIZES else str(report.sizes)
    laws = count(sum(result.cases > 0 for result in report.results), "law")
    remarks = [
        ("scope", f"{laws} were asked only within: {report.scope}" if report.scope else ""),
        ("few shapes", "cases had a few sizes only: a full run sees more" if report.few_shapes else ""),
        ("caught", report.caught),
        ("sizes", sizes),
        ("graph optimisation off", describe_unoptimised(report)),
    ]
    return [(label, text) for label, text in remarks if text]


def describe_unoptimised(report: Report) -> str:
    """Returns what the logits of an ONNX file showed without optimisation; empty where it was not asked."""
    if (result := report.unoptimised) is None:
        return ""
    rho = "" if result.rho is None else f", worst rho {write_rho(result.rho)}"
    seen = "" if result.counterexample is None else f": {result.counterexample.seen}"
    return f"{result.law} {result.status} on {count(result.cases, 'case')}{rho}{seen}"


def _make_table(report: Report, every: bool) -> Table:
    """Returns a row for each law, or for each component where these are many."""
    results = [result for result in report.results if every or result.status != "not offered"]
    by_component = len(results) > MOST_ROWS and not every
    table = Table(box=None, pad_edge=False)
    table.add_column("component" if by_component else "law", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if by_component:
        table.add_column("laws", justify="right", no_wrap=True)
    table.add_column("cases", justify="right")
    table.add_column("worst rho", justify="right")
    if not by_component:
        for result in results:
            table.add_row(result.law, MARKS[result.status], result.counted, describe_rho(result))
        return table
    for name, own in group_by_component(results).items():
        worst = choose_worst(own)
        alike = [result for result in own if result.status == worst.status]
        laws = str(len(own)) if worst.status == "holds" else f"{len(alike)} of {len(own)}"
        table.add_row(
            name, MARKS[worst.status], laws, str(sum(one.cases for one in own)), describe_rho(worst)
        )
    return table


def group_by_component(results: Sequence[LawResult]) -> dict[str, list[LawResult]]:
    """Returns the results of each component, in the order of the first of each."""
    components: dict[str, list[LawResult]] = {}
    for result in results:
        components.setdefault(result.law.partition("/")[0], []).append(result)
    return components


def choose_worst(results: Sequence[LawResult]) -> LawResult:
    """Returns the result that stands for several: a broken one before others, with the largest rho.

    >>> holds = LawResult("mlp/oracle", "A law.", "holds", 3, 0.5)
    >>> choose_worst([holds, LawResult("mlp/dtype", "A law.", "broken", 1), holds]).law
    'mlp/dtype'
    """
    order = ("broken", "known failure", "holds", "not offered")
    return min(
        results, key=lambda one: (order.index(one.status), -1.0 if one.rho is None else -one.rho - 1.0)
    )


def write_rho(rho: float) -> str:
    """Returns a rho as tables show it.

    >>> write_rho(0.428), write_rho(6.81e6)
    ('0.43', '6.8e+06')
    """
    return f"{rho:.2f}" if rho < 1000 else f"{rho:.1e}"


def describe_rho(result: LawResult) -> str:
    """Returns what the column of rho shows: the largest, or why there is none.

    >>> describe_rho(LawResult("mlp/oracle", "A law.", "holds", 3, 12345.0))
    '1.2e+04'
    """
    found = result.counterexample
    if found is not None and found.kind != "wrong":
        return found.kind
    if LAWS[result.law].tier == "exact":
        return "exact" if result.cases else ""
    return "" if result.rho is None else write_rho(result.rho)


def group_known(report: Report) -> dict[str, str]:
    """Returns the laws that may be broken, by the reason."""
    groups: dict[str, list[str]] = {}
    for result in report.of("known failure"):
        groups.setdefault(str(result.known), []).append(result.law)
    return {reason: ", ".join(laws) for reason, laws in groups.items()}


def _print_broken(results: Sequence[LawResult], console: Console, tracebacks: bool = False) -> None:
    first, *others = results
    console.print(f"[bold red]{escape(first.law)}[/] is broken")
    for label, text in first.account:
        console.print(f"  {label}: {escape(text)}", soft_wrap=True, highlight=False)
        if label == "seen" and others:
            alike = ", ".join(result.law for result in others)
            console.print(f"  the same in: {escape(alike)}", soft_wrap=True, highlight=False)
    if tracebacks and first.counterexample and first.counterexample.traceback:
        for line in first.counterexample.traceback.splitlines():
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    console.print()


def _print_others(results: Sequence[LawResult], console: Console) -> None:
    """Prints a line for each component with broken laws that are not told in full."""
    if not results:
        return
    console.print("[bold red]also broken[/], told in full with --all:", highlight=False)
    for name, own in group_by_component(results).items():
        laws = ", ".join(result.law.partition("/")[2] for result in own)
        found = own[0].counterexample
        seen = "" if found is None or found.evidence is not None else f": {found.seen[:LONGEST_SEEN]}"
        console.print(f"  {name}: {laws}{seen}", markup=False, highlight=False, soft_wrap=True)
    console.print()


def not_offered(report: Report) -> str:
    """Returns what is not offered and how many laws need it; empty where nothing is missing.

    >>> result = LawResult("a/b", "A law.", "not offered", missing=("vjp", "mlp"))
    >>> not_offered(Report("mine", "float32", "quick", 0, [result, result]))
    'vjp (2 laws), mlp (2 laws)'
    >>> block = LawResult("swin_v2_block/b", "A law.", "not offered", missing=("swin_v2_block",))
    >>> not_offered(Report("mine", "float32", "quick", 0, [result, block]))
    'vjp (1 law), mlp (1 law), Swin V2 (1 law)'
    """
    version, folded = _find_absent_version(report)
    absent = [result for result in report.of("not offered") if result not in folded]
    needs = Counter(need for result in absent for need in result.missing)
    if folded:
        needs[version] = len(folded)
    declined = needs.pop("any case drawn", 0)
    told = f"{count(declined, 'law')}: every case that was tried is one you declined"
    return "; ".join(filter(None, [told * bool(declined), _list_needs(needs)]))


def _find_absent_version(report: Report) -> tuple[str, list[LawResult]]:
    """Returns the version of Swin of which nothing of its own is offered, and its laws; V2 if both are."""
    for version in ("V2", "V1"):
        laws = [result for result in report.results if find_version(result.law) == version]
        if laws and all(result.status == "not offered" for result in laws):
            return f"Swin {version}", laws
    return "", []


def _list_needs(needs: Counter[str]) -> str:
    return ", ".join(
        f"{need} ({count(laws, 'law')})"
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


def name_device(device: str) -> str:
    """Returns a device in words, where it is not the CPU.

    >>> name_device("cpu"), name_device("cuda")
    ('', ' on cuda')
    """
    return "" if device == "cpu" else f" on {device}"


def verdict(report: Report) -> str:
    """Returns the verdict of a run in one line.

    >>> report = Report("mine", "float32", "quick", 0, chosen="declared", catalogue="0.1.0")
    >>> print(verdict(report).partition("; ")[2])
    canonical convention, declared; effort quick, seed 0, laws of 0.1.0)
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
    where = f"{report.precision}{name_device(report.device)}"
    return (
        f"{report.implementation} in {where}: {word} ({counts}; "
        f"{describe_convention(report.convention, report.chosen)}; effort {report.effort}, "
        f"seed {report.seed}, laws of {report.catalogue})"
    )


def describe_convention(convention: str, chosen: str) -> str:
    """Returns by which convention an implementation is judged, and where that is from.

    >>> describe_convention("timm", "identified")
    'timm convention, identified'
    """
    if chosen == "assumed":
        return f"judged as {convention}: only a whole network would show another convention"
    return f"{convention} convention, {chosen}"
