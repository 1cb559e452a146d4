"""Where the time of a check goes: ``make suite-profile`` writes docs/suite-profile.md.

    python properties/studies/suite_profile.py [--effort quick] [--only LAWS] [--write PAGE] IMPLEMENTATION

The laws are asked in this process, with a clock in the functions that every law passes: one phase runs at a
time, and a phase that calls another stops meanwhile.  Then the same laws are asked by the command, where the
implementation has a process of its own: what that takes more is starting it, messages, and waiting.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

from swin_properties import api
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget import within
from swin_properties.judging import one_law
from swin_properties.judging.run import InProcess, Watcher, make_request
from swin_properties.laws.law import Law
from swin_properties.reports import files

DRAWING, EXACT, PERTURBED, ASKED, COMPARING = (
    "drawing cases",
    "the oracle's exact result",
    "the oracle's perturbed runs",
    "the implementation",
    "inputs of laws, budgets, comparing",
)
PHASES = DRAWING, EXACT, PERTURBED, ASKED, COMPARING
SLOWEST = 15
"""How many laws the page lists."""


@dataclass
class Clock:
    """Adds up the seconds of the phase that runs; ``law`` is the one that is asked."""

    law: str = ""
    running: list[str] = field(default_factory=lambda: [DRAWING])
    since: float = field(default_factory=time.perf_counter)
    seconds: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    def stop(self) -> None:
        """Adds what has passed to the phase that runs."""
        now = time.perf_counter()
        self.seconds[self.law, self.running[-1]] += now - self.since
        self.since = now

    @contextmanager
    def run(self, phase: str) -> Iterator[None]:
        """Runs a phase in place of the one that ran."""
        self.stop()
        self.running.append(phase)
        try:
            yield
        finally:
            self.stop()
            self.running.pop()

    def measure(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function, as a phase of its own."""

        @wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            with self.run(phase):
                return function(*args, **kwargs)

        return measured

    def sum_phase(self, phase: str) -> float:
        """Returns the seconds of a phase in all laws."""
        return sum(seconds for (_, one), seconds in self.seconds.items() if one == phase)

    def sum_law(self, law: str) -> float:
        """Returns the seconds of a law in all phases."""
        return sum(seconds for (one, _), seconds in self.seconds.items() if one == law)


class ByLaw(Watcher):
    """Tells the clock which law is asked."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def before_law(self, law: Law) -> None:
        """Books what follows to this law."""
        self.clock.stop()
        self.clock.law = law.name


def measure_check(implementation: str, effort: str, only: str | None) -> Clock:
    """Asks the laws in this process and returns the clock."""
    request = make_request(implementation, only, effort=effort)
    runner = api.make_runner(request)
    assert isinstance(runner, InProcess)
    clock = Clock()
    kept = within.Recorded.__getattr__

    def compute_exactly(recorded: within.Recorded, name: str) -> Callable[..., Any]:
        return clock.measure(EXACT, kept(recorded, name))

    with ExitStack() as stack:
        for home, name, phase in (
            (within, "_perturb", PERTURBED),
            (Implementation, "raw", ASKED),
            (one_law, "evaluate", COMPARING),
        ):
            stack.enter_context(patch.object(home, name, clock.measure(phase, getattr(home, name))))
        stack.enter_context(patch.object(within.Recorded, "__getattr__", compute_exactly))
        runner.ask_each(request.laws, ByLaw(clock))
        clock.stop()
    return clock


def time_command(implementation: str, effort: str, only: str | None, *words: str) -> float:
    """Returns the seconds of the command for the same laws, in a fresh process.

    Errors: ``ValueError`` where the implementation is not judged.
    """
    line = [sys.executable, "-m", "swin_properties.commands.cli", "check", implementation, "--effort", effort]
    line += [*(["--only", only] if only else []), *words]
    begun = time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise ValueError(
            f"{implementation} is judged, the command ended with {done.returncode}: {done.stderr}"
        )
    return time.perf_counter() - begun


def make_text(implementation: str, effort: str, clock: Clock, commands: dict[str, float]) -> str:
    """Returns the tables of one implementation: phases, commands, and the slowest laws."""
    whole = sum(clock.seconds.values())
    phases = [
        f"| {phase} | {clock.sum_phase(phase):.1f} | {clock.sum_phase(phase) / whole:.0%} |"
        for phase in PHASES
    ]
    laws = sorted({law for law, _ in clock.seconds if law}, key=clock.sum_law, reverse=True)
    rows = [
        f"| {law} | {clock.sum_law(law):.2f} | "
        + " | ".join(f"{clock.seconds.get((law, phase), 0.0):.2f}" for phase in PHASES)
        + " |"
        for law in laws[:SLOWEST]
    ]
    return "\n".join(
        [
            f"`{implementation}` at {effort} effort: {whole:.1f} s for {len(laws)} laws.",
            "",
            "| phase | seconds | share |",
            "| --- | --- | --- |",
            *phases,
            "",
            "| command, from its start to its end | seconds |",
            "| --- | --- |",
            *(f"| {words} | {seconds:.1f} |" for words, seconds in commands.items()),
            "",
            f"The {SLOWEST} laws that take longest:",
            "",
            f"| law | seconds | {' | '.join(PHASES)} |",
            f"| --- | --- |{' --- |' * len(PHASES)}",
            *rows,
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Measures, prints the page, and writes it if a file is named; returns 2 for what is not judged."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("implementations", nargs="+", metavar="IMPLEMENTATION")
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--only", help="the laws, by name or pattern; all")
    parser.add_argument("--machine", default="", help="a sentence that names the machine")
    parser.add_argument("--write", type=Path, help="write the page to this file")
    words = parser.parse_args(argv)
    try:
        text = make_page(words.implementations, words.effort, words.only, words.machine)
        if words.write:
            files.write(str(words.write), text)
    except ValueError as error:
        print(f"suite_profile: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(text)
    return 0


def make_page(implementations: Sequence[str], effort: str, only: str | None, machine: str) -> str:
    """Measures the implementations, and returns the whole page.

    Errors: ``ValueError`` for one that is not judged.
    """
    parts = [
        "# Where the time of a check goes",
        "Written by `make suite-profile`. For a law, cases are drawn, the implementation is asked, and the\n"
        "oracle's exact result is computed. Where the two are not equal, perturbed runs of the oracle are\n"
        "computed as well: they make the budget.",
    ]
    for implementation in implementations:
        clock = measure_check(implementation, effort, only)
        commands = {
            flag: time_command(implementation, effort, only, *flag.split())
            for flag in ("--in-process", "-j 1", "-j 2")
        }
        parts += [f"## {implementation}", make_text(implementation, effort, clock, commands)]
    return "\n\n".join([*parts, *([f"{machine}."] if machine else [])]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
