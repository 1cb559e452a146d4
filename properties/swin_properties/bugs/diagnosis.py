"""What explains broken laws: a planted bug with the same output, or the component that the fault is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.within import Pairs, compare_pairs, list_pairs, within_budget
from swin_properties.bugs import GALLERY, Bug, touched
from swin_properties.bugs.kills import cases, planted, residuals, shipped
from swin_properties.cases.case import Case
from swin_properties.judging.report import Report
from swin_properties.laws.law import LAWS, Law

MOST_LAWS, MOST_CASES = 4, 4
"""How many broken laws, and cases of each, a planted bug must explain."""

FAR = 1e3
"""The rho, in the oracle's budget, beyond which the bug's own budget need not be computed."""


@dataclass(frozen=True)
class Diagnosis:
    """The planted bugs that explain the broken laws, and the components whose laws hold and are broken."""

    bugs: tuple[Bug, ...]
    holding: tuple[str, ...]
    broken: tuple[str, ...]

    def __str__(self) -> str:
        if self.bugs:
            return " Or: ".join(f"{bug.note} [{bug.name}; seen: {bug.seen}]" for bug in self.bugs)
        if not self.holding:
            return f"No planted bug explains it. Laws of each component are broken: {', '.join(self.broken)}."
        return (
            f"No planted bug explains it. All laws of {', '.join(self.holding)} hold; laws of "
            f"{', '.join(self.broken)} are broken. The fault is in what {self.broken[0]} adds to the others."
        )


def explain(implementation: Implementation, report: Report) -> str:
    """Says which planted bug does what the implementation does, or which component the fault is in."""
    return str(diagnose(implementation, report) or "")


def diagnose(implementation: Implementation, report: Report) -> Diagnosis | None:
    """Returns what explains the broken laws of a report; None where no law is broken.

    A planted bug explains them when, on the smallest cases and on some drawn ones of the broken laws, it
    gives the implementation's own output within the budget, while the oracle's is another.
    """
    results = [r for r in report.of("broken") if r.counterexample]
    if not results:
        return None
    told = [
        r for r in results if LAWS[r.law].tier != "gradient"
    ]  # a gradient law that is broken says itself what is wrong
    broken = {r.law.partition("/")[0] for r in results}
    holding = {r.law.partition("/")[0] for r in report.of("holds")} - broken
    order = list(dict.fromkeys(name.partition("/")[0] for name in LAWS))
    exhibits = [
        (LAWS[r.law], case)
        for r in told[:MOST_LAWS]
        if r.counterexample
        for case in (r.counterexample.case, *cases(LAWS[r.law], "quick", report.seed)[:MOST_CASES])
    ]
    seen = [
        (law, case, pairs)
        for law, case in exhibits
        if (pairs := _pairs(law, implementation, case)) is not None
    ]
    explaining = [
        bug
        for bug in GALLERY.values()
        if touched(bug.name) & broken and not _excluded(bug, report) and _explains(bug, implementation, seen)
    ]
    return Diagnosis(
        tuple(explaining if seen else ()),
        tuple(name for name in order if name in holding),
        tuple(name for name in order if name in broken),
    )


def _excluded(bug: Bug, report: Report) -> bool:
    """Returns whether a law that kills the bug on the cases of this report holds: then it is not this bug."""
    known = report.seed == 0 and report.convention == "canonical"  # else a law asks for something else
    kills = shipped().get(report.effort, {}).get(bug.name, {}) if known else {}
    kill = [law for law, where in kills.items() if report.precision in where]
    return any(result.law in kill and not result.declined for result in report.of("holds"))


def _pairs(law: Law, implementation: Implementation, case: Case) -> Pairs | None:
    """Returns what the implementation gives and should give; None where it does not answer at all."""
    try:
        return list_pairs(law.ask(implementation, case))
    except (BadAnswer, Declined):
        return None


def _explains(bug: Bug, implementation: Implementation, seen: Sequence[tuple[Law, Case, Pairs]]) -> bool:
    """Tells whether a planted bug gives the implementation's output everywhere, and not the oracle's."""
    wrong = planted(bug, implementation.precision)
    differs = False
    for law, case, pairs in seen:
        own = _pairs(law, wrong, case)
        if own is None or [np.shape(got) for got, _ in own] != [np.shape(got) for got, _ in pairs]:
            return False
        if not _same(law, case, implementation, bug, pairs, own):
            return False
        differs = differs or any(np.any(np.asarray(theirs) != np.asarray(right)) for theirs, right in own)
    return differs


def _same(law: Law, case: Case, implementation: Implementation, bug: Bug, pairs: Pairs, own: Pairs) -> bool:
    """Tells whether an implementation and a bug agree: truth values exactly, numbers within the bug's budget.

    Numbers of an exact law too: it is exact for the right Swin, not for a wrong one.
    """
    both = [(np.asarray(got), np.asarray(theirs)) for (got, _), (theirs, _) in zip(pairs, own, strict=True)]
    numbers = [i for i, (_, theirs) in enumerate(both) if theirs.dtype.kind == "f"]
    if not all(np.array_equal(*both[i]) for i in range(len(both)) if i not in numbers):
        return False
    if all(np.array_equal(*both[i]) for i in numbers):
        return True
    if law.tier == "budget":
        outcome = compare_pairs(
            both, residuals(law, case, implementation.precision), implementation.precision
        )
        if any(outcome.pairs[i].deviation.rho > FAR for i in numbers):
            return False

    def beside_the_bug(swin: Any) -> Pairs:
        left = list_pairs(law.ask(swin, case))
        return [(left[i][0], both[i][1]) for i in numbers]

    return within_budget(beside_the_bug, implementation, bug.implementation(), implementation.precision).holds
