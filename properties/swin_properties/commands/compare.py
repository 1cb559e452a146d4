"""``swin-oracle compare``: two revisions of an implementation timed side by side, and what became slower."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from swin_timing import interleaved
from swin_timing.revisions import comparison, history, judging
from swin_timing.revisions.comparison import Comparison, Plan
from swin_timing.revisions.judging import BASE, HEAD
from swin_timing.revisions.trees import Repository

from swin_properties.commands.words import Work
from swin_properties.reports import files
from swin_properties.reports.terminal import progress

STYLES = {"slower": "bold red", "inconclusive": "yellow", "faster": "green", "same": "dim"}


def add(commands: Any) -> None:
    """The command's words and options."""
    command = commands.add_parser("compare", help="time two revisions side by side: is one slower?")
    command.set_defaults(prepare=prepare)
    command.add_argument("base", metavar="BASE", help="a commit, branch or tag of the repository you are in")
    command.add_argument("head", metavar="HEAD", nargs="?", help="another (default: the working tree)")
    command.add_argument(
        "-k", dest="expression", default="", help="cases, such as 'attention and not stage1'"
    )
    command.add_argument(
        "--implementation",
        action="append",
        default=[],
        metavar="NAME",
        help="as for check, of your repository (default: this project's own)",
    )
    rounds = f"interleaved rounds of a measurement (default and least {interleaved.ROUNDS})"
    command.add_argument("--rounds", type=int, default=interleaved.ROUNDS, help=rounds)
    command.add_argument("--json", metavar="FILE", help="write the times in pytest-benchmark's JSON too")


def prepare(args: argparse.Namespace) -> Work:
    """Writes both trees aside and loads them; the work measures, and prints the verdicts."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was written aside goes
    interleaved.check_rounds(args.rounds)
    files.checked([args.json] if args.json else [])
    repository = Repository.find(Path.cwd())
    with ExitStack() as guard:
        base, head = guard.enter_context(comparison.write_trees(repository, args.base, args.head))
        plan = comparison.make_plan(base, head, args.implementation, args.expression)
        stack = guard.pop_all()

    def work(console: Console) -> int:
        with stack:
            try:
                measure(plan, args.rounds, console)
                if args.json:
                    files.write(args.json, history.make_text(repository, args.base, args.head, plan.cases))
            except (ValueError, OSError) as error:
                print(f"swin-oracle: {' '.join(str(error).split())}", file=sys.stderr)
                return 2
        show(plan, args.rounds, console)
        return judging.find_exit_code([found.verdict for found in plan.cases])

    return work


def measure(plan: Plan, rounds: int, console: Console) -> None:
    """Measures, with a bar over the cases on a terminal."""
    bar = progress(console, "cases")
    task = bar.add_task("", total=len(plan.cases))

    def watch(found: Comparison) -> None:
        said = found.verdict or "measured again"
        bar.update(task, advance=bool(found.verdict), description=escape(f"{found.case.name} {said}"))

    with bar:
        plan.run(rounds, watch)


def show(plan: Plan, rounds: int, console: Console) -> None:
    """Prints the table, what was not compared, and the verdicts in one line."""
    console.print(table(plan.cases))
    for note in plan.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    line = conclusion(plan, rounds)
    verdicts = [found.verdict for found in plan.cases]
    worst = min(verdicts, key=judging.VERDICTS.index)
    console.print()
    console.print(line, style=STYLES[worst], markup=False, highlight=False, soft_wrap=True)


def table(cases: list[Comparison]) -> Table:
    """One line a case, and where a counter changed, one for it."""
    rows = Table(box=None, pad_edge=False)
    rows.add_column("case", overflow="fold")
    for name in ("base ms", "head ms", "ratio", "anchor"):
        rows.add_column(name, justify="right", no_wrap=True)
    rows.add_column("verdict", no_wrap=True)
    for found in cases:
        shown = found.shown
        times = (f"{1e3 * shown.best(side):.3f}" for side in (BASE, HEAD))
        verdict = f"[{STYLES[found.verdict]}]{found.verdict}[/]"
        ratio, anchor = f"{shown.ratio(HEAD, BASE):.3f}", f"{shown.disturbance:.0%}"
        rows.add_row(escape(found.case.name), *times, ratio, anchor, verdict)
        for name, (before, after) in found.changed_counters.items():
            rows.add_row(f"  {name}", str(before), str(after), f"{after / before:.3f}" if before else "")
    return rows


def conclusion(plan: Plan, rounds: int) -> str:
    """The run in one line."""
    verdicts = [found.verdict for found in plan.cases]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in judging.VERDICTS if word in verdicts)
    parts = [f"{plan.base.revision} -> {plan.head.revision}: {counts} of {len(verdicts)} cases"]
    if slower := [found.case.name for found in plan.cases if found.verdict == "slower"]:
        parts.append(f"slower: {', '.join(slower)}")
    if counted := [found for found in plan.cases if all(map(found.counters.get, (BASE, HEAD)))]:
        equal = sum(not found.changed_counters for found in counted)
        parts.append(f"counters equal in {equal} of {len(counted)}")
    if "inconclusive" in verdicts:
        parts.append(f"the machine was disturbed: the anchor spread over {interleaved.DISTURBED:.0%}")
    how = f"{rounds} interleaved rounds, ratio of minima beyond {judging.ALARM:.0%} twice"
    return f"{'; '.join(parts)} ({how})"
