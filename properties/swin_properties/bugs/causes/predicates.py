"""What a planted bug states of itself, compared with what it does: the search for a cause never reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from swin_properties.bugs.causes.components import Place, find_own_needs
from swin_properties.bugs.causes.explain import choose_law
from swin_properties.bugs.causes.traits import find_property
from swin_properties.bugs.gallery import Bug
from swin_properties.cases.case import Case
from swin_properties.judging.report import LawResult
from swin_properties.laws.law import LAWS, Law


def find_law(bug: Bug, killing: Iterable[str]) -> Law:
    """Returns the law whose cases the predicate of a bug is about, of those that kill the bug.

    It is the one of the first component that tells most; where none of that kills, the first that does.
    """
    results = [LawResult(name, "", "broken") for name in killing]
    own = [result for result in results if bug.component[0] in find_own_needs(result)]
    return LAWS[choose_law(Place(bug.component[0]), own) if own else results[0].law]


def is_predicted(bug: Bug, cases: Sequence[Case]) -> list[bool]:
    """Returns for each case whether a bug may differ from the oracle there, by what it states.

    Errors: ``LookupError`` for a predicate whose words are no properties of such cases.
    """
    properties = [find_property(words, type(cases[0])) for words in bug.differs_when]
    return [all(one.has(case) for one in properties) for case in cases]


def list_contradictions(bug: Bug, asked: Sequence[tuple[Case, bool]]) -> list[Case]:
    """Returns the cases on which a bug does not do what it states, of cases with whether it differs there."""
    predicted = is_predicted(bug, [case for case, _ in asked])
    return [
        case
        for (case, differs), may in zip(asked, predicted, strict=True)
        if (differs and not may) or (bug.exactly and may and not differs)
    ]
