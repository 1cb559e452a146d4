"""What a run found: one record a law, and the verdict over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from swin_properties.cases.case import Case
from swin_properties.judging.compare import Evidence
from swin_properties.laws.version import __version__

Status = Literal["holds", "broken", "known failure", "not offered"]


@dataclass(frozen=True)
class Counterexample:
    """The smallest case on which a law is broken, what was seen there, and the line that shows it again."""

    case: Case
    seen: str
    reproduce: str
    evidence: Evidence | None = None


@dataclass(frozen=True)
class Known:
    """A failure that is known: a law or a pattern of laws, why it may be broken, and where that is said."""

    law: str
    reason: str
    link: str | None = None

    def __str__(self) -> str:
        return self.reason + (f" ({self.link})" if self.link else "")


@dataclass(frozen=True)
class LawResult:
    """One law's result: ``rho`` is the worst seen, None if none was measured; ``known``: why it may break.

    ``declined``: for each case that the implementation or its convention does not take, why.
    """

    law: str
    sentence: str
    status: Status
    cases: int = 0
    rho: float | None = None
    missing: tuple[str, ...] = ()
    counterexample: Counterexample | None = None
    known: Known | None = None
    declined: tuple[str, ...] = ()

    @property
    def account(self) -> list[tuple[str, str]]:
        """A broken law in labelled lines, as every face of the report prints it."""
        if self.counterexample is None:
            return []
        return [
            ("law", self.sentence),
            ("seen", self.counterexample.seen),
            ("smallest case", str(self.counterexample.case) or "every size 1"),
            ("again", self.counterexample.reproduce),
        ]


@dataclass(frozen=True)
class Report:
    """A run over one implementation in one precision, by the laws of one version of the catalogue.

    ``required``: what should be offered and is not; ``stale``: the known failures that fail no more;
    ``cause``: what explains the broken laws; ``caught``: which planted bugs these laws would have caught;
    ``convention``: the one it is judged by, and ``chosen``, where that is from.
    """

    implementation: str
    precision: str
    effort: str
    seed: int
    results: list[LawResult] = field(default_factory=list)
    required: tuple[str, ...] = ()
    stale: tuple[Known, ...] = ()
    catalogue: str = __version__
    cause: str = ""
    caught: str = ""
    convention: str = "canonical"
    chosen: str = "assumed"

    def of(self, status: Status) -> list[LawResult]:
        """The results with this status."""
        return [result for result in self.results if result.status == status]

    @property
    def declined(self) -> dict[str, tuple[int, int]]:
        """For each reason why cases were not taken: how many cases, of how many laws."""
        reasons = dict.fromkeys(reason for result in self.results for reason in result.declined)
        counts = {r: [result.declined.count(r) for result in self.results] for r in reasons}
        return {reason: (sum(each), sum(map(bool, each))) for reason, each in counts.items()}

    @property
    def exit_code(self) -> int:
        """0 conforms, but for known failures; 1 a law is broken, something required is not offered, or
        a known failure is stale; 2 nothing could be judged."""
        if self.of("broken") or self.required or self.stale:
            return 1
        return 0 if self.of("holds") or self.of("known failure") else 2


def describe(result: LawResult) -> str:
    """Returns a broken law as text of several lines, the law's name first."""
    return "\n".join([f"{result.law} is broken", *(f"  {label}: {text}" for label, text in result.account)])


def printable(text: str) -> str:
    """Text without what neither a terminal nor XML takes: control characters are written as escapes.

    >>> printable("red: \\x1b[31m")
    'red: \\\\x1b[31m'
    """
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )
