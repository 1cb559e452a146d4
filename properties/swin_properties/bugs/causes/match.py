"""Planted bugs whose outputs are an implementation's: the smallest set that explains every broken law."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import Precision
from swin_properties.budget.within import Pairs, compare_pairs, list_pairs, within_budget
from swin_properties.bugs import GALLERY, Bug, touched
from swin_properties.bugs.gallery import plant_together
from swin_properties.bugs.kills import in_precision, residuals, shipped
from swin_properties.cases.case import Case
from swin_properties.judging.report import Report
from swin_properties.laws.law import Law

FAR = 1e3
"""The rho, in the oracle's budget, beyond which the bug's own budget need not be computed."""

MOST_IN_PAIRS = 12
"""How many bugs are tried in pairs."""


@dataclass(frozen=True)
class Exhibit:
    """A broken law, a case, and what the implementation gave there, beside what was expected."""

    law: Law
    case: Case
    pairs: Pairs


def make_exhibit(law: Law, implementation: Implementation, case: Case) -> Exhibit | None:
    """Returns what an implementation gives on a case; None where it does not answer at all."""
    pairs = ask_pairs(law, implementation, case)
    return None if pairs is None else Exhibit(law, case, pairs)


def ask_pairs(law: Law, implementation: Implementation, case: Case) -> Pairs | None:
    """Returns what a law compares; None where the implementation does not answer."""
    implementation.fresh()
    try:
        return list_pairs(law.ask(implementation, case))
    except (BadAnswer, Declined):
        return None


@cache
def plant(names: tuple[str, ...]) -> Any:
    """Returns a copy of the oracle with planted bugs, one or two.

    Errors: ``LookupError`` for bugs that replace the same function.
    """
    return plant_together(GALLERY[name] for name in names)


@cache
def plant_in_precision(names: tuple[str, ...], precision: Precision) -> Implementation:
    """Returns planted bugs as an implementation in a precision."""
    return in_precision(plant(names), precision)


def is_same(names: tuple[str, ...], implementation: Implementation, exhibits: Sequence[Exhibit]) -> bool:
    """Tells whether planted bugs give the implementation's output on all exhibits, and not the oracle's."""
    if not exhibits:
        return False
    try:
        wrong = plant_in_precision(names, implementation.precision)
    except LookupError:
        return False
    differs = False
    for one in exhibits:
        own = ask_pairs(one.law, wrong, one.case)
        if own is None or [np.shape(got) for got, _ in own] != [np.shape(got) for got, _ in one.pairs]:
            return False
        if not _agrees(one, names, implementation, own):
            return False
        differs = differs or any(np.any(np.asarray(theirs) != np.asarray(right)) for theirs, right in own)
    return differs


def _agrees(exhibit: Exhibit, names: tuple[str, ...], implementation: Implementation, own: Pairs) -> bool:
    """Tells whether an implementation and bugs agree: truth values exactly, numbers within the bugs' budget.

    Numbers of an exact law too: it is exact for the right Swin, not for a wrong one.
    """
    law, case, precision = exhibit.law, exhibit.case, implementation.precision
    both = [
        (np.asarray(got), np.asarray(theirs))
        for (got, _), (theirs, _) in zip(exhibit.pairs, own, strict=True)
    ]
    numbers = [i for i, (_, theirs) in enumerate(both) if theirs.dtype.kind == "f"]
    if not all(np.array_equal(*both[i]) for i in range(len(both)) if i not in numbers):
        return False
    if all(np.array_equal(*both[i]) for i in numbers):
        return True
    if law.tier == "budget":
        outcome = compare_pairs(both, residuals(law, case, precision), precision)
        if any(outcome.pairs[i].deviation.rho > FAR for i in numbers):
            return False

    def beside_the_bugs(swin: Any) -> Pairs:
        left = list_pairs(law.ask(swin, case))
        return [(left[i][0], both[i][1]) for i in numbers]

    try:
        return within_budget(beside_the_bugs, implementation, plant(names), precision).holds
    except TypeError:  # a bug that computes in a type in which no operation can be perturbed
        return False


def is_excluded(bug: Bug, report: Report) -> bool:
    """Tells whether a law that kills the bug on the cases of this report holds: then it is not this bug."""
    known = report.seed == 0 and report.convention == "canonical"  # else a law asks for something else
    kills = shipped().get(report.effort, {}).get(bug.name, {}) if known else {}
    kill = {law for law, where in kills.items() if report.precision in where}
    return any(result.law in kill and not result.declined for result in report.of("holds"))


@dataclass(frozen=True)
class Found:
    """Planted bugs, one or a pair, and the laws whose outputs they give."""

    bugs: tuple[str, ...]
    laws: frozenset[str]


def match_each(
    implementation: Implementation,
    report: Report,
    exhibits: dict[str, list[Exhibit]],
    without: Iterable[str] = (),
) -> list[Found]:
    """Returns every planted bug that explains at least one broken law, with the laws that it explains.

    ``exhibits`` are those of each broken law.  ``without`` names bugs that are not tried.
    """
    reach = {name: {need.partition(".")[0] for need in one[0].law.needs} for name, one in exhibits.items()}
    found = []
    for bug in GALLERY.values():
        if bug.name in without or is_excluded(bug, report):
            continue
        laws = [name for name in exhibits if touched(bug.name) & reach[name]]
        same = frozenset(name for name in laws if is_same((bug.name,), implementation, exhibits[name]))
        if same:
            found.append(Found((bug.name,), same))
    return found


def find_cover(
    implementation: Implementation,
    report: Report,
    exhibits: dict[str, list[Exhibit]],
    without: Iterable[str] = (),
) -> list[list[Found]]:
    """Returns the fewest causes that explain the most broken laws; of each, all that do so alike.

    Where no single bug explains all laws, pairs planted together are tried as well.
    """
    found = match_each(implementation, report, exhibits, without)
    whole = frozenset(exhibits)
    if alike := [one for one in found if one.laws == whole]:
        return [alike]
    some = sorted(found, key=lambda one: -len(one.laws))[:MOST_IN_PAIRS]
    pairs = [
        Found((*one.bugs, *other.bugs), whole)
        for one, other in combinations(some, 2)
        if all(is_same((*one.bugs, *other.bugs), implementation, each) for each in exhibits.values())
    ]
    if pairs:
        return [pairs]
    cover, left = [], whole
    while left and (best := max((len(one.laws & left) for one in found), default=0)):
        laws = next(one.laws & left for one in found if len(one.laws & left) == best)
        cover.append([one for one in found if one.laws & left == laws])
        left -= laws
    return cover
