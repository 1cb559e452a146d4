"""``swin-oracle compare``: times two revisions of a repository side by side, and says what became slower."""

from __future__ import annotations

import argparse
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from swin_reference.outside import shorten
from swin_timing import interleaved
from swin_timing.revisions import comparison, history, judging
from swin_timing.revisions.comparison import Comparison, Plan
from swin_timing.revisions.judging import BASE, HEAD
from swin_timing.revisions.trees import Repository

from swin_properties.commands.screen import complain
from swin_properties.commands.words import Work
from swin_properties.reports import files
from swin_properties.reports.terminal import progress

STYLES = {"slower": "bold red", "inconclusive": "yellow", "faster": "green", "same": "dim"}

DESCRIPTION = """Times an implementation at two revisions of a git repository, in alternation, and compares
the best times. Exit code: 0 no case is slower; 1 a case is slower; 2 nothing could be timed; 3 the machine
was too disturbed to tell."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "time two git revisions side by side, and say which cases became slower"
    command = commands.add_parser("compare", help=words, description=DESCRIPTION)
    command.set_defaults(prepare=prepare)
    command.add_argument(
        "base", metavar="BASE", help="a commit, branch or tag of the repository in the current folder"
    )
    command.add_argument(
        "head", metavar="HEAD", nargs="?", help="another one (default: the files as they are now)"
    )
    command.add_argument(
        "-k",
        dest="expression",
        default="",
        help="time only cases that match, such as 'attention and not stage1'",
    )
    command.add_argument(
        "--implementation",
        action="append",
        default=[],
        metavar="NAME",
        help="what to time, a module, file.py or module:attribute (default: the cases of this project)",
    )
    rounds = f"how often each case is timed in alternation (default and least {interleaved.ROUNDS})"
    command.add_argument("--rounds", type=int, default=interleaved.ROUNDS, help=rounds)
    command.add_argument(
        "--json", metavar="FILE", help="also write the times, in the JSON of pytest-benchmark"
    )


def prepare(args: argparse.Namespace) -> Work:
    """Checks out both revisions and loads them; the work measures and prints the verdicts."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: temporary files are removed
    interleaved.check_rounds(args.rounds)
    files.check_paths([] if args.json is None else [args.json])
    repository = Repository.find(Path.cwd())
    with ExitStack() as guard:
        base, head = guard.enter_context(comparison.write_trees(repository, args.base, args.head))
        plan = comparison.make_plan(base, head, args.implementation, args.expression)
        stack = guard.pop_all()

    def work(console: Console) -> int:
        with stack:
            try:
                measure(plan, args.rounds, console)
                if args.json is not None:
                    files.write(args.json, history.make_text(repository, args.base, args.head, plan.cases))
            except (ValueError, OSError) as error:
                complain(error)
                return 2
        show(plan, args.rounds, console)
        return judging.find_exit_code([found.verdict for found in plan.cases])

    return work


def measure(plan: Plan, rounds: int, console: Console) -> None:
    """Measures all cases, with a progress bar on a terminal."""
    bar = progress(console, "cases")
    task = bar.add_task("", total=len(plan.cases))

    def watch(found: Comparison) -> None:
        said = found.verdict or "measured again"
        bar.update(
            task, advance=bool(found.verdict), description=escape(shorten(f"{found.case.name} {said}"))
        )

    with bar:
        plan.run(rounds, watch)


def show(plan: Plan, rounds: int, console: Console) -> None:
    """Prints the table, the cases that were not compared, and a line that sums up."""
    console.print(table(plan.cases))
    for note in plan.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    line = conclusion(plan, rounds)
    verdicts = [found.verdict for found in plan.cases]
    worst = min(verdicts, key=judging.VERDICTS.index)
    console.print()
    console.print(line, style=STYLES[worst], markup=False, highlight=False, soft_wrap=True)


def table(cases: list[Comparison]) -> Table:
    """Returns a table with a line for each case, and one for each counter that changed."""
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
    """Returns the verdict of the run in one line."""
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
