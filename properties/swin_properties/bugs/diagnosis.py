"""What explains broken laws: a planted bug with the same output, or the component that the fault is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.implementation import Implementation, Perturbed
from swin_properties.budget.budget import RUNS, budget, deviation
from swin_properties.bugs import GALLERY, Bug, touched
from swin_properties.bugs.kills import budgets, cases, planted, shipped
from swin_properties.cases.case import Case
from swin_properties.judging.report import Report
from swin_properties.laws.law import LAWS, Law, Pairs

MOST_LAWS, MOST_CASES = 4, 4
"""How many broken laws, and cases of each, a planted bug must explain."""

FAR = 1e3
"""A rho, in units of the oracle's budget, beyond which a closer look at a bug's own budget is spared."""


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
            return f"No planted bug explains it. Every component breaks a law: {', '.join(self.broken)}."
        return (
            f"No planted bug explains it. These hold: {', '.join(self.holding)}; these are broken: "
            f"{', '.join(self.broken)}. The fault is in what {self.broken[0]} adds to the ones that hold."
        )


def explain(judged: Implementation, report: Report) -> str:
    """Says which planted bug does what the implementation does, or which component the fault is in."""
    return str(diagnose(judged, report) or "")


def diagnose(judged: Implementation, report: Report) -> Diagnosis | None:
    """Returns what explains the broken laws of a report; None where no law is broken.

    A planted bug explains them when, on the smallest cases and on some drawn ones of the broken laws, it
    gives the implementation's own output within the budget, while the oracle's is another.
    """
    results = [r for r in report.of("broken") if r.counterexample]
    if not results:
        return None
    told = [
        r for r in results if LAWS[r.law].tier != "gradient"
    ]  # a broken gradient law says itself what is wrong
    broken = {r.law.partition("/")[0] for r in results}
    holding = {r.law.partition("/")[0] for r in report.of("holds")} - broken
    order = list(dict.fromkeys(name.partition("/")[0] for name in LAWS))
    exhibits = [
        (LAWS[r.law], case)
        for r in told[:MOST_LAWS]
        if r.counterexample
        for case in (r.counterexample.case, *cases(LAWS[r.law], "quick", report.seed)[:MOST_CASES])
    ]
    seen = [(law, case, pairs) for law, case in exhibits if (pairs := _pairs(law, judged, case)) is not None]
    explaining = [
        bug
        for bug in GALLERY.values()
        if touched(bug.name) & broken and not _excluded(bug, report) and _explains(bug, judged, seen)
    ]
    return Diagnosis(
        tuple(explaining if seen else ()),
        tuple(name for name in order if name in holding),
        tuple(name for name in order if name in broken),
    )


def _excluded(bug: Bug, report: Report) -> bool:
    """Whether a law that kills the bug on the cases of this report holds: then it is not this bug."""
    known = report.seed == 0 and report.convention == "canonical"  # else a law asks for something else
    tables = shipped().get(report.effort, {}) if known else {}
    killers = tables.get(report.precision, {}).get(bug.name, [])
    return any(result.law in killers and not result.declined for result in report.of("holds"))


def _pairs(law: Law, judged: Implementation, case: Case) -> Pairs | None:
    """What the implementation gives and should give; None where it does not answer at all."""
    judged.expected.record()
    try:
        return law.pairs(judged, case)
    except (BadAnswer, Declined):
        return None


def _explains(bug: Bug, judged: Implementation, seen: Sequence[tuple[Law, Case, Pairs]]) -> bool:
    """Whether a planted bug gives the implementation's output everywhere, and not the oracle's."""
    wrong = planted(bug, judged.precision)
    differs = False
    for law, case, pairs in seen:
        own = _pairs(law, wrong, case)
        if own is None or [np.shape(got) for got, _ in own] != [np.shape(got) for got, _ in pairs]:
            return False
        if not _same(law, case, wrong, bug, pairs, own):
            return False
        differs = differs or any(np.any(np.asarray(theirs) != np.asarray(right)) for theirs, right in own)
    return differs


def _same(law: Law, case: Case, wrong: Implementation, bug: Bug, pairs: Pairs, own: Pairs) -> bool:
    """Whether two implementations agree: truth values exactly, numbers within the bug's own budget.

    Numbers of an exact law too: it is exact for the right Swin, not for a wrong one.
    """
    both = [(np.asarray(got), np.asarray(theirs)) for (got, _), (theirs, _) in zip(pairs, own, strict=True)]
    numbers = [i for i, (_, theirs) in enumerate(both) if theirs.dtype.kind == "f"]
    if not all(np.array_equal(*both[i]) for i in range(len(both)) if i not in numbers):
        return False
    if not numbers or all(np.array_equal(*both[i]) for i in numbers):
        return True
    betas = budgets(law, case, wrong.precision)
    if law.tier == "budget" and any(deviation(*both[i], betas[i]).rho > FAR for i in numbers):
        return False
    functions = bug.implementation()
    runs = []
    for number in range(RUNS):
        wrong.expected.replay()
        runs.append(law.pairs(Perturbed(wrong.precision, wrong.expected, number, functions=functions), case))
    return all(
        deviation(got, theirs, budget([run[i][0] - theirs for run in runs], theirs, wrong.precision)).holds
        for i, (got, theirs) in enumerate(both)
        if i in numbers
    )
