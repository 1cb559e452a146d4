"""Running laws: draw cases, compare within the tier, shrink a fall to its smallest case."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Flaky

from swin_properties.budget import Deviation, budget, deviation, perturbed_residuals
from swin_properties.cases import Case
from swin_properties.judged import Fall, Judged, Perturbed
from swin_properties.registry import Law, Pairs
from swin_properties.report import Counterexample, LawResult, Report


@dataclass(frozen=True)
class Effort:
    """How many cases a law is asked on: drawn ones, and the largest window and count enumerated."""

    examples: int
    largest_window: int
    largest_count: int


EFFORTS = {"quick": Effort(8, 2, 2), "default": Effort(40, 3, 2), "deep": Effort(500, 5, 3)}
"""The efforts by name."""


@dataclass(frozen=True)
class Outcome:
    """What one case of one law showed: the worst rho, and what fell, if anything."""

    rho: float | None = None
    seen: str | None = None


class _Fell(Exception):
    """Tells Hypothesis that this case falls."""


def evaluate(law: Law, judged: Judged, case: Case) -> Outcome:
    """Asks a law on one case."""
    judged.expected.record()
    try:
        pairs = law.pairs(judged, case)
    except Fall as fall:
        return Outcome(seen=str(fall))
    for got, expected in pairs:
        if np.shape(got) != np.shape(expected):
            return Outcome(seen=f"got shape {np.shape(got)}, expected {np.shape(expected)}")
    if law.tier == "exact":
        return _exact(pairs)
    return _within_budget(law, judged, case, pairs)


def _exact(pairs: Pairs) -> Outcome:
    for got, expected in pairs:
        differs = np.asarray(got) != np.asarray(expected)
        if np.any(differs):
            where = tuple(int(i) for i in np.argwhere(differs)[0])
            return Outcome(
                seen=f"{int(np.sum(differs))} of {differs.size} elements differ, first at {where}: "
                f"got {_number(got, where)}, expected {_number(expected, where)}"
            )
    return Outcome()


def _number(array: Any, where: tuple[int, ...]) -> str:
    return f"{np.asarray(array)[where].item():.6g}" if np.ndim(array) else f"{np.asarray(array).item():.6g}"


def _within_budget(law: Law, judged: Judged, case: Case, pairs: Pairs) -> Outcome:
    def perturbed(number: int) -> Pairs:
        judged.expected.replay()
        return law.pairs(Perturbed(judged.precision, judged.expected, number), case)

    residuals = perturbed_residuals(perturbed)
    deviations = [
        deviation(got, expected, budget(residual, expected, judged.precision))
        for (got, expected), residual in zip(pairs, residuals, strict=True)
    ]
    rho = max(d.rho for d in deviations)
    fallen = next((d for d in deviations if not d.holds), None)
    return Outcome(rho, None if fallen is None else _described(fallen))


def _described(d: Deviation) -> str:
    return (
        f"rho {d.rho:.3g}, limit 1; worst element at {d.worst}: got {d.got:.6g}, expected {d.expected:.6g}, "
        f"{d.rho_max:.3g} times its budget, limit 8"
    )


def run_law(law: Law, judged: Judged, effort: Effort, seed: int, reproduce: str) -> LawResult:
    """Asks a law on drawn or enumerated cases; a fall carries the smallest case found."""
    result = LawResult(law.name, law.sentence, "held")
    if missing := law.missing(judged):
        return replace(result, status="not offered", missing=tuple(missing))
    asked: list[Outcome] = []
    last: list[tuple[Case, Outcome]] = []

    def ask(case: Case) -> None:
        outcome = evaluate(law, judged, case)
        asked.append(outcome)
        if outcome.seen is not None:
            last.append((case, outcome))
            raise _Fell

    try:
        _ask_all(law, ask, effort, seed)
    except _Fell:
        pass
    except Flaky:
        case, outcome = last[-1]
        last.append((case, replace(outcome, seen=f"not the same twice: {outcome.seen}")))
    rhos = [outcome.rho for outcome in asked if outcome.rho is not None]
    result = replace(result, cases=len(asked), rho=max(rhos, default=None))
    return result if not last else fallen(result, *last[-1], reproduce)


def fallen(result: LawResult, case: Case, outcome: Outcome, reproduce: str) -> LawResult:
    """The result of a law that fell on a case."""
    line = f"{reproduce} --only {law_word(result.law)} --case {shlex.quote(str(case))}"
    seen = outcome.seen or ""
    return replace(result, status="fell", counterexample=Counterexample(str(case), seen, line))


def law_word(name: str) -> str:
    """A law's name as one word of a shell command."""
    return shlex.quote(name)


def _ask_all(law: Law, ask: Callable[[Any], None], effort: Effort, seed: int) -> None:
    """Every enumerated case in order, or as many drawn ones as the effort says, shrunk on a fall."""
    if law.enumerated:
        for case in law.cases(effort.largest_window, effort.largest_count):  # type: ignore[operator]
            ask(case)
        return
    settings = hypothesis.settings(
        max_examples=effort.examples,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    drawn = hypothesis.given(law.cases)(ask)  # type: ignore[arg-type]
    # The law's name in the seed: laws that share a strategy are not all asked on the same cases.
    hypothesis.seed(crc32(f"{seed} {law.name}".encode()))(settings(drawn))()


def run(
    judged: Judged,
    laws: Sequence[Law],
    implementation: str,
    effort: str = "default",
    seed: int = 0,
    case: Case | None = None,
    required: Iterable[str] = (),
    progress: Callable[[Law, LawResult], None] | None = None,
) -> Report:
    """Judges an implementation by some laws, on drawn cases or on the one ``case``."""
    reproduce = f"swin-oracle check {shlex.quote(implementation)} --dtype {judged.precision.name}"
    results = []
    for law in laws:
        if case is None:
            result = run_law(law, judged, EFFORTS[effort], seed, reproduce)
        else:
            result = run_case(law, judged, case, reproduce)
        results.append(result)
        if progress:
            progress(law, result)
    missing = tuple(name for name in required if not judged.offers(name))
    return Report(implementation, judged.precision.name, effort, seed, results, missing)


def run_case(law: Law, judged: Judged, case: Case, reproduce: str) -> LawResult:
    """Asks a law on one case."""
    result = LawResult(law.name, law.sentence, "held", cases=1)
    if missing := law.missing(judged):
        return replace(result, status="not offered", cases=0, missing=tuple(missing))
    outcome = evaluate(law, judged, case)
    result = replace(result, rho=outcome.rho)
    return result if outcome.seen is None else fallen(result, case, outcome, reproduce)
