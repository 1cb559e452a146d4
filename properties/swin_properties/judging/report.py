"""What a run found: one result for each law, and the verdict over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import Literal

from swin_reference.outside import escape

from swin_properties.adapters.answers import Kind
from swin_properties.cases.case import Case, describe_case
from swin_properties.cases.measured import NO_SIZES, Sizes, largest
from swin_properties.judging.compare import Evidence
from swin_properties.laws.law import LAWS
from swin_properties.laws.version import __version__

Status = Literal["holds", "broken", "known failure", "not offered"]


NOT_ASKED = "not asked: "
"""What begins the reason of a law that was not asked, though what it needs is offered."""


@dataclass(frozen=True)
class Counterexample:
    """The smallest case that breaks a law, what was seen there, and the command that shows it again.

    ``smallest``: whether there was time to find a smaller one.  ``needed`` says which sizes it needs.
    ``usual`` is a case of usual sizes that breaks the law too, where one was found.  ``traceback`` is that of
    the exception that the implementation raised.
    """

    case: Case
    seen: str
    reproduce: str
    evidence: Evidence | None = None
    smallest: bool = True
    kind: Kind = "wrong"
    needed: str = ""
    usual: Counterexample | None = None
    traceback: str = ""


@dataclass(frozen=True)
class Known:
    """A known failure: a law or a pattern of laws, the reason why it may be broken, and a link."""

    law: str
    reason: str
    link: str | None = None

    def __str__(self) -> str:
        return self.reason + (f" ({self.link})" if self.link else "")


@dataclass(frozen=True)
class LawResult:
    """What one law found.

    ``rho`` is the largest seen, None if none was measured.  ``missing`` names the callables that the law
    needs and the implementation does not offer.  ``known`` says why the law may be broken.  ``declined``
    holds one reason for each case that the implementation or its convention does not take.  ``planned`` is
    the number of cases that the law should have been asked, where it holds and was asked fewer.  ``sizes``
    are the largest that were asked.
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
    planned: int | None = None
    sizes: Sizes = NO_SIZES

    @property
    def absence(self) -> str:
        """Returns why the law was not asked, in words; empty where it was."""
        if not self.missing or self.missing[0].startswith(NOT_ASKED):
            return "".join(self.missing)
        return f"not offered: {', '.join(self.missing)}"

    @property
    def where(self) -> str:
        """Returns the file and line of the law, as ``swin_properties/laws/mask.py:41``."""
        return LAWS[self.law].where

    @property
    def counted(self) -> str:
        """Returns the number of cases as every report shows it, "3 of 22" where it was asked fewer."""
        if not self.cases:
            return ""
        return str(self.cases) if self.planned is None else f"{self.cases} of {self.planned}"

    @property
    def account(self) -> list[tuple[str, str]]:
        """Returns what every report shows of a broken law, as pairs of a label and a text."""
        if (found := self.counterexample) is None:
            return []
        component = self.law.partition("/")[0]
        label = "smallest case" if found.smallest else "not the smallest case, for lack of time"
        told = [
            ("law", self.sentence),
            ("code", self.where),
            ("seen", found.seen),
            (label, describe_case(found.case, component)),
            ("needed", found.needed),
            ("again", found.reproduce),
        ]
        if (usual := found.usual) is not None:
            told += [("usual case", describe_case(usual.case, component))]
            told += [("seen there", usual.seen)] * (usual.seen != found.seen)
        return [(word, text) for word, text in told if text]


@dataclass(frozen=True)
class Report:
    """A run over one implementation in one precision, by the laws of one version.

    ``required`` names the callables that must be offered and are not.  ``stale`` holds the known failures
    that no longer fail.  ``catalogue`` is the version of the laws.  ``cause`` says what explains the broken
    laws, and ``caught`` which planted bugs these laws would have caught.  ``convention`` is the one that
    the implementation is judged by, and ``chosen`` says where it comes from.  ``scope`` is what the
    implementation states that it takes, empty for everything.  ``device`` is where it computed.  ``notes``
    say what was read of an exported file, ``faults`` what is wrong in it whatever it computes, and
    ``quantised`` that rho is a measure.  ``first`` is the component that is wrong first.  ``few_shapes``:
    cases had a few sizes only.  ``recognised`` says what a file or module was taken for, an adapter or a
    copy, and of a copy how each callable is called.  ``unoptimised`` is what the logits of an ONNX file
    showed without optimisation.
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
    scope: str = ""
    device: str = "cpu"
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    quantised: bool = False
    first: str = ""
    few_shapes: bool = False
    unoptimised: LawResult | None = None
    recognised: tuple[str, ...] = ()

    def of(self, status: Status) -> list[LawResult]:
        """Returns the results with this status."""
        return [result for result in self.results if result.status == status]

    def list_broken(self) -> list[list[LawResult]]:
        """Returns the broken laws, those together in which the same was seen; those that tell most are first.

        These are wrong numbers before exceptions, the component that is wrong first before others, and the
        comparison with the oracle before other laws.
        """
        groups: dict[str, list[LawResult]] = {}
        for result in sorted(self.of("broken"), key=self._rank):
            groups.setdefault(result.counterexample.seen if result.counterexample else "", []).append(result)
        return list(groups.values())

    def _rank(self, result: LawResult) -> tuple[bool, bool, bool]:
        found = result.counterexample
        return (
            found is not None and found.kind != "wrong",
            result.law.partition("/")[0] != self.first,
            not result.law.endswith(("/oracle", "/definition", "/formula")),
        )

    @property
    def declined(self) -> dict[str, tuple[int, int]]:
        """Returns, for each reason why cases were not taken, how many cases of how many laws."""
        reasons = dict.fromkeys(reason for result in self.results for reason in result.declined)
        counts = {r: [result.declined.count(r) for result in self.results] for r in reasons}
        return {reason: (sum(each), sum(map(bool, each))) for reason, each in counts.items()}

    @property
    def sizes(self) -> Sizes:
        """Returns the largest sizes that were asked, each for itself."""
        return reduce(largest, (result.sizes for result in self.results), NO_SIZES)

    @property
    def exit_code(self) -> int:
        """Returns 0, 1 or 2.

        0: the implementation conforms, but for known failures.  1: a law is broken, also without graph
        optimisation, a required callable is not offered, a known failure no longer fails, or the file has a
        fault.  2: nothing could be judged;
        a quantised file is measured, not judged.
        """
        if self.quantised:
            return 2
        if self.faults or (self.unoptimised is not None and self.unoptimised.status == "broken"):
            return 1
        if self.of("broken") or self.required or self.stale:
            return 1
        return 0 if self.of("holds") or self.of("known failure") else 2


def describe(result: LawResult) -> str:
    """Returns a broken law as text of several lines, the law's name first."""
    return "\n".join([f"{result.law} is broken", *(f"  {label}: {text}" for label, text in result.account)])


def printable(text: str) -> str:
    """Returns a text with its control characters as escapes, which both a terminal and XML take.

    >>> printable("red: \\x1b[31m")
    'red: \\\\x1b[31m'
    """
    return escape(text, keep="\n")
