"""What a run found: one record a law, and the verdict over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from swin_properties.cases import Case
from swin_properties.evaluate import Evidence

Status = Literal["held", "fell", "not offered"]


@dataclass(frozen=True)
class Counterexample:
    """The smallest case on which a law falls, what was seen there, and the line that shows it again."""

    case: Case
    seen: str
    reproduce: str
    evidence: Evidence | None = None


@dataclass(frozen=True)
class LawResult:
    """One law's result; ``rho`` is the worst seen, None where the law is exact."""

    law: str
    sentence: str
    status: Status
    cases: int = 0
    rho: float | None = None
    missing: tuple[str, ...] = ()
    counterexample: Counterexample | None = None


@dataclass(frozen=True)
class Report:
    """A run over one implementation in one precision; ``required``: what should be offered and is not."""

    implementation: str
    precision: str
    effort: str
    seed: int
    results: list[LawResult] = field(default_factory=list)
    required: tuple[str, ...] = ()

    def of(self, status: Status) -> list[LawResult]:
        """The results with this status."""
        return [result for result in self.results if result.status == status]

    @property
    def exit_code(self) -> int:
        """0 conforms; 1 a law fell or something required is not offered; 2 nothing could be judged."""
        if self.of("fell") or self.required:
            return 1
        return 0 if self.of("held") else 2
