"""Counts how much of what was told is true."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from studies.diagnosis.judge import SETTINGS, Told
from swin_properties.bugs import GALLERY, Bug
from swin_properties.bugs.causes.components import list_used
from swin_properties.bugs.causes.predicates import is_predicted
from swin_properties.laws.law import LAWS

ALL, BLOCKS, NETWORK = SETTINGS


@dataclass(frozen=True)
class Count:
    """One question: how many answers are right, of how many, and each that is wrong in a line."""

    question: str
    right: int
    of: int
    failures: tuple[str, ...]
    aim: str = ""

    @property
    def share(self) -> str:
        """Returns the share of right answers.

        >>> Count("", 199, 200, ()).share  # 100 % is only where all are right
        '199 of 200 (99 %)'
        """
        return f"{self.right} of {self.of}" + (f" ({100 * self.right // self.of} %)" if self.of else "")


def count(question: str, answers: Iterable[tuple[Told, str]], aim: str = "") -> Count:
    """Counts answers, each with what is wrong about it; empty where it is right."""
    answers = list(answers)
    wrong = [f"{' and '.join(told.bugs)}: {text}" for told, text in answers if text]
    return Count(question, len(answers) - len(wrong), len(answers), tuple(wrong), aim)


def check_component(told: Told) -> str:
    """Says what is wrong about the first wrong component that was told."""
    right = GALLERY[told.bugs[0]].component
    if told.place in right:
        return ""
    return f"told {told.place or 'nothing'}, it is {' or '.join(right)}"


def check_trait(told: Told) -> str:
    """Says what is wrong about the trait: it has to have all cases of the predicate, or be the same.

    A trait without any property is right only for a bug that differs everywhere.
    """
    bug = GALLERY[told.bugs[0]]
    truth = describe_predicate(bug)
    if not told.law:
        return f"told nothing, {truth}"
    try:
        predicted = is_predicted(bug, [LAWS[told.law].kind.parse(text) for text in told.cases])
    except LookupError:
        return f"told of {told.law}: {told.trait}; {truth}, which is about other cases"
    same = list(told.trait_has) == predicted
    pairs = zip(told.trait_has, predicted, strict=True)
    implied = bool(told.words) and all(has for has, may in pairs if may)
    return "" if same or implied else f"told of {told.law}: {told.trait}; {truth}"


def describe_predicate(bug: Bug) -> str:
    """Returns the cases on which a bug differs from the oracle, by what it states.

    >>> describe_predicate(GALLERY["mask-dropped"]), describe_predicate(GALLERY["relu"])
    ('it differs on the cases with a shift', 'it differs on every case')
    """
    differs = "it differs" if bug.exactly else "it may differ"
    words = " and ".join(bug.differs_when)
    return f"{differs} on the cases with {words}" if words else f"{differs} on every case"


def check_named(told: Told) -> str:
    """Says which planted bugs are not named."""
    missing = [bug for bug in told.bugs if bug not in told.named]
    if not missing:
        return ""
    others = f"named {', '.join(told.named)}" if told.named else "named none"
    return f"{others}; laws: {', '.join(told.laws) or 'none broken'}"


def check_none_named(told: Told) -> str:
    """Says which bugs are named though none is the cause."""
    return f"named {', '.join(told.named_without)}" if told.named_without else ""


def list_true_parts(bug: str) -> set[str]:
    """Returns the words of the parts that a bug is in, as the search for a part tells them."""
    components = set(GALLERY[bug].component)
    inside = set(components)
    if inside <= {"mlp"}:
        return {"the MLP branch", "in the blocks", ADDS}
    if inside <= {"shifted_window_attention", *list_used("shifted_window_attention")}:
        return {"the attention branch", "in the blocks", ADDS}
    if inside <= {"swin_block", *list_used("swin_block")}:
        return {"in the blocks", "the MLP branch", "the attention branch", ADDS}
    if inside & {"swin_block", *list_used("swin_block")}:
        return {"in the blocks", "outside the blocks", "the MLP branch", "the attention branch", ADDS}
    return {"outside the blocks"} if "swin_stage" not in inside else {"in the blocks", ADDS}


ADDS = "a block adds something"
STILL_WRONG = {"outside the blocks", ADDS}
"""The parts of which one is told, where a network is wrong with all blocks switched off."""

PARTS = ("the MLP branch", "the attention branch", "in the blocks", *STILL_WRONG)


def check_part(told: Told) -> str:
    """Says what is wrong about the part that was told; a part that was not told is not wrong."""
    said = {part for part in PARTS if part in told.part}
    true = list_true_parts(told.bugs[0])
    is_right = bool(said & true) if said == STILL_WRONG else said <= true
    return "" if is_right else f"told: {told.part}; right would be: {', '.join(sorted(true))}"


def count_all(results: Iterable[Told]) -> dict[str, list[Count]]:
    """Returns what is counted, for each setting and for pairs."""
    results = list(results)
    counts: dict[str, list[Count]] = {}
    for setting in SETTINGS:
        alone = [told for told in results if told.setting == setting and len(told.bugs) == 1]
        if not alone:
            continue
        whole = setting == ALL
        counts[setting] = [
            count(
                "the gallery whole: the cause is named",
                ((one, check_named(one)) for one in alone),
                "95 %" * whole,
            ),
            count(
                "left out: no wrong bug is named",
                ((one, check_none_named(one)) for one in alone),
                "all" * whole,
            ),
        ]
        if whole:
            counts[setting] += [
                count(
                    "left out: the component is right", ((one, check_component(one)) for one in alone), "90 %"
                ),
                count("left out: the trait is right", ((one, check_trait(one)) for one in alone), "80 %"),
            ]
        else:
            told = [one for one in alone if any(part in one.part for part in PARTS)]
            counts[setting].append(
                count(
                    "left out: the part, where one is told, is right",
                    ((one, check_part(one)) for one in told),
                )
            )
    if pairs := [told for told in results if len(told.bugs) == 2]:
        counts["pairs"] = [
            count("the gallery whole: both are named", ((one, check_named(one)) for one in pairs), "80 %"),
        ]
    return counts
