"""Says why laws are broken, in a few sentences: where, on which cases, by which planted bug."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from swin_properties.adapters.implementation import Implementation
from swin_properties.bugs import GALLERY
from swin_properties.bugs.causes.components import (
    Place,
    find_first_wrong,
    find_own_needs,
    list_used,
    order_by_use,
)
from swin_properties.bugs.causes.match import Exhibit, Found, find_cover, make_exhibit, match_each
from swin_properties.bugs.causes.parts import find_part
from swin_properties.bugs.causes.sampling import Asked, count_numbers, draw_sample
from swin_properties.bugs.causes.traits import Trait, find_trait
from swin_properties.bugs.kills import cases
from swin_properties.cases.case import Case, NetCase
from swin_properties.judging.report import LawResult, Report
from swin_properties.laws.law import LAWS, Law

MOST_LAWS, MOST_CASES = 6, 5
"""How many broken laws, and drawn cases of each, a planted bug must explain."""

LARGEST = 10_000
"""The most numbers of a case that planted bugs are tried on, or switched parts."""

MOST_CANDIDATES = 3
"""How many planted bugs are told where several do the same."""


@dataclass(frozen=True)
class Cause:
    """What is known of a fault.

    ``crashes`` are what the implementation raised, each with how many laws it broke; ``refused`` what it
    answered though its convention rejects it.  ``place`` is the first wrong component, ``part`` the part of
    it, ``trait`` the property of the cases, ``law`` the law that was asked for it, and ``sample`` the cases
    that it was asked on, each with whether it is broken there.  ``cover`` are planted bugs, the causes that
    are needed together, of each all that do the same; ``exhibits`` are the laws that they had to explain,
    ``found`` all planted bugs that explain at least one, and ``too_large`` says that the cases were too large
    to try any.
    """

    crashes: tuple[tuple[str, int], ...] = ()
    refused: tuple[tuple[str, int], ...] = ()
    place: Place | None = None
    part: str = ""
    law: str = ""
    trait: Trait | None = None
    cover: tuple[tuple[Found, ...], ...] = ()
    too_large: bool = False
    sample: tuple[tuple[Case, bool], ...] = field(default=(), repr=False)
    exhibits: Mapping[str, Sequence[Exhibit]] = field(default_factory=dict, repr=False)
    found: tuple[Found, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        lines = [f"It raises: {text} ({_count(laws, 'law')})." for text, laws in self.crashes]
        lines += [f"{text} ({_count(laws, 'law')}). {INTENDED}" for text, laws in self.refused]
        if self.place is not None:
            lines.append(str(self.place))
        if self.trait is not None:
            lines.append(f"{self.law} is {self.trait}.")
        if self.part:
            lines.append(f"{self.part[0].upper()}{self.part[1:]}.")
        lines += self._describe_cover()
        return "\n".join(lines)

    def _describe_cover(self) -> list[str]:
        explained = frozenset(law for alike in self.cover for law in alike[0].laws)
        lines, broken = [], len(self.exhibits)
        for alike in self.cover:
            laws = len(alike[0].laws)
            of = "" if laws == broken else f" (explains {laws} of {_count(broken, 'broken law')})"
            told = " Or: ".join(describe_bugs(one.bugs) for one in alike[:MOST_CANDIDATES])
            more = len(alike) - MOST_CANDIDATES
            rest = f" Or {_count(more, 'other planted bug')}." if more > 0 else ""
            lines.append(f"It does the same as{of}: {told}{rest}")
            if len(alike) > 1:
                lines.append("These do the same on all cases that were asked.")
        if len(explained) < broken:
            what = "it" if not explained else f"the other {_count(broken - len(explained), 'broken law')}"
            lines.append(f"No planted bug, and no two together, explain {what}.")
        if self.too_large:
            lines.append("The cases are too large to try planted bugs on.")
        return lines


INTENDED = "If that is intended, judge it under another convention."


def describe_bugs(names: Sequence[str]) -> str:
    """Returns planted bugs as a user is told them: what is wrong, and where it was seen."""
    bugs = [GALLERY[name] for name in names]
    return " And: ".join(f"{bug.note} [{bug.name}; seen: {bug.seen}]" for bug in bugs)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def explain(implementation: Implementation, report: Report) -> str:
    """Says why the laws of a report are broken; empty where none is."""
    cause = find_cause(implementation, report)
    return "" if cause is None else str(cause)


def find_cause(
    implementation: Implementation,
    report: Report,
    ask_sample: Callable[[Law, Implementation, int], list[Asked]] = draw_sample,
) -> Cause | None:
    """Returns what is known of why laws of a report are broken; None where none is.

    ``ask_sample`` asks a law on many cases, chosen by a seed.
    """
    results = [result for result in report.of("broken") if result.counterexample]
    if not results:
        return None
    crashed = [result for result in results if _kind(result) == "raised"]
    refused = [result for result in results if _kind(result) == "refused"]
    numeric = [result for result in results if _kind(result) == "wrong"]
    told = numeric or crashed
    place = find_first_wrong(report, told) if told else None
    part, law, trait = "", "", None
    samples: dict[str, list[Asked]] = {}
    if place is not None:
        place, law, samples = look_closer(
            place, told, report, lambda name: ask_sample(LAWS[name], implementation, report.seed)
        )
        trait = find_trait([(one.case, one.broken) for one in samples[law]], place.name)
        oracle = f"{place.name}/oracle"
        if numeric and oracle in samples:
            wrong = [one.case for one in samples[oracle] if one.broken]
            if small := [case for case in wrong if count_numbers(case) <= LARGEST]:
                part = find_part(place.name, implementation, small)
    # A gradient law that is broken says itself what is wrong.
    forward = [result for result in numeric if LAWS[result.law].tier != "gradient"]
    tried = [result for result in forward if count_numbers(_find_case(result)) <= LARGEST]
    exhibits = list_exhibits(implementation, report, choose_results(tried), samples)
    cause = Cause(
        _group(crashed),
        _group(refused),
        place,
        part,
        law,
        trait,
        too_large=bool(forward) and not tried,
        sample=tuple((one.case, one.broken) for one in samples.get(law, ())),
        exhibits=exhibits,
        found=tuple(match_each(implementation, report, exhibits)),
    )
    return name_bugs(cause, implementation, report)


def look_closer(
    place: Place, results: Sequence[LawResult], report: Report, ask: Callable[[str], list[Asked]]
) -> tuple[Place, str, dict[str, list[Asked]]]:
    """Returns the first wrong component, the law that tells most of it, and what laws show on many cases.

    A run asks few cases of whole networks, and of one law fewer than of all: so comparisons with the oracle
    that held are asked on many cases, of the networks that the component uses and of the component itself.
    """
    samples: dict[str, list[Asked]] = {}
    held = report.of("holds")
    for name in place.holding:
        law = f"{name}/oracle"
        if any(result.law == law for result in held) and issubclass(LAWS[law].kind, NetCase):
            samples[law] = ask(law)
            if any(one.broken for one in samples[law]):
                used = list_used(name)
                holding, unknown = (
                    [n for n in names if n in used] for names in (place.holding, place.unknown)
                )
                return Place(name, tuple(holding), tuple(unknown)), law, samples
    told = choose_law(place, results)
    for law in dict.fromkeys([choose_law(place, [*results, *held]), told]):
        samples[law] = ask(law)
        if any(one.broken for one in samples[law]):
            return place, law, samples
    return place, told, samples


def name_bugs(
    cause: Cause, implementation: Implementation, report: Report, without: Collection[str] = ()
) -> Cause:
    """Returns a cause with the planted bugs that cover its laws; those of ``without`` are not tried."""
    if not cause.exhibits:
        return cause
    cover = find_cover(implementation, report, cause.exhibits, cause.found, without)
    return replace(cause, cover=tuple(tuple(alike) for alike in cover))


def choose_results(results: Sequence[LawResult]) -> list[LawResult]:
    """Returns the broken laws that planted bugs have to explain: of each component the one that tells most.

    The first component that is wrong comes first; other laws come last.
    """
    own = [need for result in results for need in find_own_needs(result)]
    whole = [choose_law(Place(name), results) for name in order_by_use(dict.fromkeys(own))]
    by_name = {result.law: result for result in results}
    return [by_name[name] for name in dict.fromkeys([*whole, *by_name])][:MOST_LAWS]


def _kind(result: LawResult) -> str:
    """Returns "raised", "refused" for an answer that the convention rejects, or "wrong"."""
    assert result.counterexample is not None
    return result.counterexample.kind


def _find_case(result: LawResult) -> Case:
    """Returns the smallest case of a broken law."""
    assert result.counterexample is not None
    return result.counterexample.case


def _group(results: Sequence[LawResult]) -> tuple[tuple[str, int], ...]:
    """Returns what was seen of laws, each text once, with how many laws saw it."""
    texts = [result.counterexample.seen for result in results if result.counterexample]
    return tuple((text, texts.count(text)) for text in dict.fromkeys(texts))[:MOST_CANDIDATES]


def choose_law(place: Place, results: Sequence[LawResult]) -> str:
    """Returns the broken law of a component that tells most: the comparison with the oracle, if any."""
    own = [result.law for result in results if find_own_needs(result) == {place.name}]
    own = own or [result.law for result in results if place.name in find_own_needs(result)]
    forward = [name for name in own if LAWS[name].tier != "gradient"] or own
    whole = [name for name in forward if name.endswith(("/oracle", "/definition", "/formula"))]
    return (whole or forward)[0]


def list_exhibits(
    implementation: Implementation,
    report: Report,
    results: Sequence[LawResult],
    samples: dict[str, list[Asked]],
) -> dict[str, list[Exhibit]]:
    """Returns what the implementation gives on the smallest case and some others of broken laws."""
    found = {}
    for result in results:
        law = LAWS[result.law]
        if law.name in samples:
            others = _spread(samples[law.name])
        else:
            others = [implementation.fit_case(case, law.needs) for case in cases(law, "quick", report.seed)]
        small = [case for case in others if count_numbers(case) <= LARGEST]
        asked = dict.fromkeys([_find_case(result), *small[: MOST_CASES - 1]])
        made = [make_exhibit(law, implementation, case) for case in asked]
        if exhibits := [one for one in made if one is not None]:
            found[law.name] = exhibits
    return found


def _spread(sample: Sequence[Asked]) -> list[Case]:
    """Returns some small broken cases of a sample, then some that hold: a bug has to be right there too."""
    small = [one for one in sample if count_numbers(one.case) <= LARGEST]
    broken = [one.case for one in small if one.broken][: MOST_CASES - 2]
    return broken + [one.case for one in small if not one.broken][: MOST_CASES - len(broken)]
