"""Tells on standard error how a run goes on: a line a law; on a terminal also what is asked now."""

from __future__ import annotations

from collections import deque
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from swin_properties.cases.case import Case
from swin_properties.judging.report import LawResult
from swin_properties.judging.run import Watcher
from swin_properties.laws.law import Law
from swin_properties.reports.terminal import count, describe_rho

LAST = 8
"""How many of the last verdicts a terminal shows."""


class Progress(Watcher):
    """Prints a line as soon as it is known; on a terminal these lines are replaced by what follows.

    A terminal also shows each law that is asked now, with the number of its cases and its seconds.
    """

    def __init__(self, console: Console, name: str) -> None:
        """``console`` prints to standard error; ``name`` is the implementation's."""
        self.console = console
        self.name = name
        self.laws = self.done = self.broken = self.absent = 0
        self.start = monotonic()
        self.asked: dict[str, tuple[float, int]] = {}
        """The laws that are asked now: since when, and on how many cases."""
        self.last: deque[str] = deque(maxlen=LAST)
        self.now = "loading it"
        self.live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            console, show = self.console, self.show
            self.live = Live(console=console, transient=True, get_renderable=show, refresh_per_second=5)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def load(self, laws: int, words: str) -> None:
        """Is told that the implementation is loaded, how many laws there are, and how it is judged."""
        self.laws = laws
        self.now = "asking laws"
        self._print(f"judging {self.name}: {count(laws, 'law')} in {words}")

    def before_law(self, law: Law) -> None:
        """Notes since when the law is asked."""
        self.asked[law.name] = monotonic(), 0

    def before_case(self, law: Law, case: Case) -> None:
        """Counts the cases of the law."""
        self.count_cases(law, self.asked.get(law.name, (0.0, 0))[1] + 1)

    def count_cases(self, law: Law, cases: int) -> None:
        """Notes how many cases of the law were asked."""
        if law.name in self.asked:
            self.asked[law.name] = self.asked[law.name][0], cases

    def after_law(self, law: Law, result: LawResult) -> None:
        """Prints the verdict of the law, unless it is not offered."""
        since, _ = self.asked.pop(law.name, (monotonic(), 0))
        self.done += 1
        if result.status == "not offered":
            self.absent += 1
            return
        self.broken += result.status == "broken"
        rho = describe_rho(result)
        told = [
            count(int(result.cases), "case"),
            *([rho if not rho[0].isdigit() else f"rho {rho}"] if rho else []),
        ]
        self._print(f"{law.name} {result.status}: {', '.join(told)}, {monotonic() - since:.1f} s")

    def begin(self, what: str) -> None:
        """Prints what is done after all laws were asked."""
        self.asked.clear()
        self.now = what
        self._print(what)

    def _print(self, line: str) -> None:
        """Prints a line, or keeps it for what a terminal shows."""
        self.last.append(line)
        if not self.console.is_terminal:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self) -> RenderableType:
        """Returns what a terminal shows now: the last lines, the laws that are asked, and how far it is."""
        now = monotonic()
        lines = [Text(line, "red" if " broken: " in line else "dim") for line in self.last]
        for name, (since, cases) in self.asked.items():
            lines.append(Text(f"{name}: case {cases or 1}, {now - since:.0f} s", "bold"))
        told = f"{self.done} of {self.laws} laws, {self.broken} broken" if self.laws else self.name
        lines.append(Text(f"{self.now}, {now - self.start:.0f} s: {told}"))
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines)
