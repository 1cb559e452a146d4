"""Judges planted bugs, and says how much of the cause that is told is true."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from types import SimpleNamespace

import swin_reference
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.budget.within import Residuals
from swin_properties.bugs import GALLERY, kills, touched
from swin_properties.bugs.causes.components import list_used
from swin_properties.bugs.causes.explain import Cause, find_cause, name_bugs
from swin_properties.bugs.causes.match import plant
from swin_properties.bugs.causes.sampling import Asked, draw_cases
from swin_properties.cases.case import Case
from swin_properties.judging.compare import evaluate
from swin_properties.judging.report import Counterexample, LawResult, Report
from swin_properties.laws import choosing
from swin_properties.laws.law import LAWS, Law

PRECISION, EFFORT = PRECISIONS["float32"], "quick"

SETTINGS: dict[str, tuple[str, ...]] = {
    "all components": tuple(CONTRACT),
    "blocks only": ("swin_block",),
    "the network only": ("swin_transformer",),
}
"""What is offered of each bug."""

Work = tuple[tuple[str, ...], str]
"""Planted bugs, and what is offered of them."""


@dataclass(frozen=True)
class Told:
    """What was told of planted bugs, and what the counts need of it.

    ``named`` are the bugs that the cause names with the gallery whole, ``alike`` all that do on the asked
    cases what the planted ones do, and ``named_without`` those that it names when both are left out.
    ``broken`` and ``trait_has`` say of each asked case whether the law is broken there and whether the told
    trait has it; they are of the law ``law``.
    """

    bugs: tuple[str, ...]
    setting: str
    place: str = ""
    part: str = ""
    law: str = ""
    trait: str = ""
    words: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    broken: tuple[bool, ...] = ()
    trait_has: tuple[bool, ...] = ()
    named: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    named_without: tuple[str, ...] = ()
    laws: tuple[str, ...] = ()


def make_implementation(bugs: Sequence[str], offered: Sequence[str]) -> Implementation:
    """Returns an implementation that offers some callables of the oracle with planted bugs."""
    wrong = kills.in_precision(plant(tuple(bugs)), PRECISION).adapter
    functions = {name: getattr(wrong, name) for name in offered}
    return Implementation(SimpleNamespace(precision=PRECISION.name, **functions), PRECISION)


def ask(bugs: Sequence[str], judged: Implementation, seed: int) -> Report:
    """Returns what the laws find on the cases of a run at quick effort; smaller ones are not looked for.

    A law of callables that no bug reaches holds: it would ask the oracle's own code.  Once a component is
    broken, of what uses it only the comparisons with the oracle are asked, and of whole networks one.
    """
    reach = frozenset[str]().union(*(touched(bug) for bug in bugs))
    results: list[LawResult] = []
    for law in choosing.choose_laws():
        if law.missing(judged):
            continue
        if not reach & {need.partition(".")[0] for need in law.needs}:
            results.append(LawResult(law.name, law.sentence, "holds", cases=1))
        elif not _is_left_out(law, results):
            results.append(ask_law(law, judged, seed))
    return Report(" and ".join(bugs), PRECISION.name, EFFORT, seed, results)


def ask_law(law: Law, judged: Implementation, seed: int) -> LawResult:
    """Asks a law on the cases of a run; the first that breaks it is told."""
    result = LawResult(law.name, law.sentence, "holds")
    for number, case in enumerate(kills.cases(law, EFFORT, seed), 1):
        found = evaluate(law, judged, case, _know_residuals(law, case))
        if found.seen is not None:
            told = Counterexample(case, found.seen, "", kind=found.kind)
            return replace(result, status="broken", cases=number, counterexample=told)
    return replace(result, cases=len(kills.cases(law, EFFORT, seed)))


def _know_residuals(law: Law, case: Case) -> Residuals | None:
    """Returns what perturbed runs differ by, which is the same for every bug."""
    return kills.residuals(law, case, PRECISION) if law.tier == "budget" else None


@cache
def list_cases(law: Law, seed: int) -> list[Case]:
    """Returns the cases that show what a fault depends on, the same for every bug."""
    return draw_cases(law, Implementation(swin_reference, PRECISION), seed)


def ask_sample(law: Law, judged: Implementation, seed: int) -> list[Asked]:
    """Asks a law on many cases."""
    return [
        Asked(case, evaluate(law, judged, case, _know_residuals(law, case)).seen is not None)
        for case in list_cases(law, seed)
    ]


def _is_left_out(law: Law, results: Sequence[LawResult]) -> bool:
    name, _, kind = law.name.partition("/")
    broken = {result.law.partition("/")[0] for result in results if result.status == "broken"}
    if not broken & list_used(name) or kind in ("oracle", "definition", "formula"):
        return False
    return law.compares_with != "oracle" or name in ("swin_features", "swin_transformer")


def list_named(cause: Cause) -> tuple[str, ...]:
    """Returns the planted bugs that a cause names."""
    return tuple(dict.fromkeys(bug for alike in cause.cover for one in alike for bug in one.bugs))


def judge(bugs: Sequence[str], setting: str, seed: int = 0) -> Told:
    """Judges planted bugs, one or two, and returns what was told of them."""
    judged = make_implementation(bugs, SETTINGS[setting])
    report = ask(bugs, judged, seed)
    told = Told(tuple(bugs), setting, laws=tuple(result.law for result in report.of("broken")))
    cause = find_cause(judged, report, ask_sample)
    if cause is None:
        return told
    whole = frozenset(cause.exhibits)
    alike = {bug for one in cause.found if one.laws == whole for bug in one.bugs} - set(bugs)
    left_out = name_bugs(cause, judged, report, {*bugs, *alike}) if len(bugs) == 1 else None
    properties = cause.trait.properties if cause.trait else ()
    return replace(
        told,
        place=cause.place.name if cause.place else "",
        part=cause.part,
        law=cause.law,
        trait=str(cause.trait or ""),
        words=tuple(one.words for one in properties),
        cases=tuple(str(case) for case, _ in cause.sample),
        broken=tuple(is_broken for _, is_broken in cause.sample),
        trait_has=tuple(all(one.has(case) for one in properties) for case, _ in cause.sample),
        named=list_named(cause),
        alike=tuple(sorted(alike)),
        named_without=list_named(left_out) if left_out else (),
        laws=tuple(cause.exhibits) or told.laws,
    )


def judge_one(work: Work, seed: int) -> Told:
    """Judges one piece of work."""
    return judge(*work, seed)


def draw_pairs(number: int, seed: int) -> list[tuple[str, str]]:
    """Draws pairs of bugs that do not hide each other: each is killed by a law that does not kill the other.

    A pair can be planted together: the two replace other functions.
    """
    table = kills.at_precision(kills.shipped()["default"], PRECISION.name)
    single = {law.name for law in LAWS.values() if len({need.partition(".")[0] for need in law.needs}) == 1}
    known = {bug: set(laws) & single for bug, laws in table.items()}
    random, names = Random(seed), list(GALLERY)
    found: dict[tuple[str, str], None] = {}
    while len(found) < number:
        one, other = sorted(random.sample(names, 2), key=names.index)
        if known[one] - known[other] and known[other] - known[one] and _is_plantable(one, other):
            found[one, other] = None
    return list(found)


def _is_plantable(*bugs: str) -> bool:
    try:
        plant(bugs)
    except LookupError:
        return False
    return True


def draw_bugs(number: int, seed: int) -> list[str]:
    """Draws planted bugs, all where there are no more."""
    names = list(GALLERY)
    return names if number >= len(names) else sorted(Random(seed).sample(names, number), key=names.index)


def list_bugs_to_judge(bugs: Collection[str], setting: str) -> list[str]:
    """Returns the bugs that what is offered can show."""
    return [bug for bug in bugs if touched(bug) & set(SETTINGS[setting])]
