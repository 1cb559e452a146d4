"""Planted bugs whose outputs are an implementation's: the smallest set that explains every broken law."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import Precision
from swin_properties.budget.within import Pairs, compare_pairs, list_pairs, within_budget
from swin_properties.bugs import GALLERY, Bug, touched
from swin_properties.bugs.causes.components import order_by_use
from swin_properties.bugs.gallery import plant_together
from swin_properties.bugs.kills import in_precision, residuals, shipped
from swin_properties.cases.case import Case
from swin_properties.judging.compare import evaluate
from swin_properties.judging.report import Report
from swin_properties.laws.law import Law

FAR = 1e3
"""The rho, in the oracle's budget, beyond which the bug's own budget need not be computed."""

MOST_IN_PAIRS = 12
"""How many bugs are tried in pairs."""


@dataclass(frozen=True)
class Exhibit:
    """A broken law, a case, and what the implementation gave there, beside what was expected.

    In place of that it may be what is wrong with the answer: it has another shape, or is no number.
    """

    law: Law
    case: Case
    given: Pairs | str


def make_exhibit(law: Law, implementation: Implementation, case: Case) -> Exhibit | None:
    """Returns what an implementation gives on a case; None where it does not take the case."""
    given = ask_given(law, implementation, case)
    return None if given is None else Exhibit(law, case, given)


def ask_given(law: Law, implementation: Implementation, case: Case) -> Pairs | str | None:
    """Returns what a law compares, or what is wrong with the answer; None where the case is not taken."""
    implementation.fresh()
    try:
        return list_pairs(law.ask(implementation, case))
    except BadAnswer as bad:
        return str(bad)
    except Declined:
        return None


def plant(names: tuple[str, ...]) -> Any:
    """Returns a new copy of the oracle with planted bugs, one or two: some remember what they were asked.

    Errors: ``LookupError`` for bugs that replace the same function.
    """
    return plant_together(GALLERY[name] for name in names)


def is_same(names: tuple[str, ...], implementation: Implementation, exhibits: Sequence[Exhibit]) -> bool:
    """Tells whether planted bugs give the implementation's output on all exhibits, and not the oracle's."""
    for one in exhibits:
        try:
            own = ask_planted(names, one.law, one.case, implementation.precision)
        except LookupError:
            return False
        if own is None or isinstance(own, str) or isinstance(one.given, str):
            if own != one.given:
                return False
        elif not _agrees(one, one.given, names, implementation, own):
            return False
    wrong = in_precision(plant(names), implementation.precision)
    return any(evaluate(one.law, wrong, one.case).seen is not None for one in exhibits)


@lru_cache(8192)
def ask_planted(names: tuple[str, ...], law: Law, case: Case, precision: Precision) -> Pairs | str | None:
    """Returns what planted bugs give on a case: many faults are compared with the same.

    Errors: ``LookupError`` for bugs that replace the same function.
    """
    return ask_given(law, in_precision(plant(names), precision), case)


def _agrees(
    exhibit: Exhibit, given: Pairs, names: tuple[str, ...], implementation: Implementation, own: Pairs
) -> bool:
    """Tells whether an implementation and bugs agree: truth values exactly, numbers within the bugs' budget.

    Numbers of an exact law too: it is exact for the right Swin, not for a wrong one.
    """
    law, case, precision = exhibit.law, exhibit.case, implementation.precision
    if len(given) != len(own):
        return False
    both = [(np.asarray(got), np.asarray(theirs)) for (got, _), (theirs, _) in zip(given, own, strict=True)]
    if any(got.shape != theirs.shape for got, theirs in both):
        return False
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
    implementation: Implementation, report: Report, exhibits: Mapping[str, Sequence[Exhibit]]
) -> list[Found]:
    """Returns every planted bug that explains at least one broken law, with the laws that it explains.

    ``exhibits`` are those of each broken law.
    """
    found = []
    for bug in GALLERY.values():
        if is_excluded(bug, report):
            continue
        laws = [name for name in exhibits if is_touched(bug.name, exhibits[name])]
        same = frozenset(name for name in laws if is_same((bug.name,), implementation, exhibits[name]))
        if same:
            found.append(Found((bug.name,), same))
    return found


def is_touched(bug: str, exhibits: Sequence[Exhibit]) -> bool:
    """Tells whether a bug can change what the law of these exhibits asks."""
    return bool(touched(bug) & {need.partition(".")[0] for need in exhibits[0].law.needs})


def find_cover(
    implementation: Implementation,
    report: Report,
    exhibits: Mapping[str, Sequence[Exhibit]],
    found: Sequence[Found],
    without: Collection[str] = (),
) -> list[list[Found]]:
    """Returns the fewest causes that explain the most broken laws; of each, all that do so alike.

    ``found`` are the bugs of `match_each`.  Where no single bug explains all laws, pairs planted together are
    tried as well.  ``without`` names bugs that are not tried.
    """
    found = [one for one in found if not set(one.bugs) & set(without)]
    whole = frozenset(exhibits)
    if alike := [one for one in found if one.laws == whole]:
        return [alike]
    some = sorted(found, key=lambda one: -len(one.laws))[:MOST_IN_PAIRS]
    # What is wrong first is explained first: a bug of what uses it may do the same by chance.
    first = order_by_use(law.partition("/")[0] for law in exhibits)[0]
    own = {law for law in exhibits if law.startswith(f"{first}/")}
    # Each of the two has to show alone as well: else two bugs that undo each other could be anything.
    pairs = [
        (*one.bugs, *other.bugs)
        for one, other in combinations(some, 2)
        if one.laws - other.laws and other.laws - one.laws
    ]
    # Or the second is in what uses the first, and shows nowhere without it.
    pairs += [
        (*one.bugs, other.name)
        for one in some
        if own <= one.laws
        for other in GALLERY.values()
        if other.name not in without
        and not is_excluded(other, report)
        and not any(is_touched(other.name, exhibits[law]) for law in own)
        and all(is_touched(other.name, exhibits[law]) for law in whole - one.laws)
    ]
    alike = [
        Found(names, whole)
        for names in dict.fromkeys(pairs)
        if all(is_same(names, implementation, exhibits[law]) for law in [*exhibits][::-1])
    ]
    if alike:
        return [alike]
    some = [one for one in some if _changes_no_other(one, implementation, exhibits)]
    if not any(own <= one.laws for one in some):
        return []
    cover, left = [], whole
    while left and (best := max((len(one.laws & left) for one in some), default=0)):
        laws = next(one.laws & left for one in some if len(one.laws & left) == best)
        cover.append([one for one in some if one.laws & left == laws])
        left -= laws
    return cover


def _changes_no_other(
    one: Found, implementation: Implementation, exhibits: Mapping[str, Sequence[Exhibit]]
) -> bool:
    """Tells whether a bug is right on all exhibits that it does not explain: else it is not the cause."""
    wrong = in_precision(plant(one.bugs), implementation.precision)
    return not any(
        evaluate(each.law, wrong, each.case).seen is not None
        for law, shown in exhibits.items()
        if law not in one.laws
        for each in shown
    )
