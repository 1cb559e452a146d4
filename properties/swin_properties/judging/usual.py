"""Beside the smallest case of a broken law: which of its sizes are needed, and a usual case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf
from time import monotonic
from types import SimpleNamespace
from typing import Any

import swin_reference

from swin_properties.adapters.answers import Declined
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import Implementation, apply_convention, without_faults
from swin_properties.cases.case import Case, GridCase, NetCase, rename_words
from swin_properties.cases.case_v2 import find_v1
from swin_properties.judging.compare import CaseResult, evaluate
from swin_properties.judging.report import Counterexample, LawResult, printable
from swin_properties.laws.law import LAWS, Law

SECONDS_OF_A_LAW = 5.0
"""How long the sizes of one broken law are looked at."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Usual:
    """The sizes of a usual case of a grid."""

    grid: Pair = (8, 8)
    window: Pair = (4, 4)
    shift: Pair = (2, 2)
    batch: int = 1
    heads: int = 2


USUAL = (
    Usual(),
    Usual(batch=2),
    Usual(shift=(0, 0)),
    Usual(shift=(1, 1)),
    Usual(shift=(2, 1)),
    Usual(window=(4, 2), shift=(2, 1)),
    Usual(window=(2, 4), shift=(1, 2)),
    Usual((8, 6), (4, 3), (2, 1)),
    Usual((7, 7)),
    Usual((7, 8)),
    Usual((8, 7)),
    Usual((9, 9), (3, 3), (1, 1)),
    Usual((10, 6), (5, 3), (2, 1)),
    Usual((4, 4)),
    Usual((4, 8)),
    Usual((3, 3)),
    Usual(heads=3),
    Usual(heads=1),
    Usual(batch=8),
)
"""Usual sizes, the most usual first: a law is broken on the first of them that shows the fault."""

REDUCED: dict[type, dict[str, Callable[[Any], Case]]] = {
    GridCase: {
        "shift": lambda case: replace(case, shift=(0, 0)),
        "grid": lambda case: replace(case, grid=case.window if case.grid == case.padded else (1, 1)),
        "window": lambda case: replace(case, window=(1, 1), shift=(0, 0)),
        "heads": lambda case: replace(case, heads=1),
        "head_dim": lambda case: replace(case, head_dim=1),
    },
    NetCase: {
        "depths": lambda case: replace(case, depths=(1,) * len(case.depths)),
        "window": lambda case: replace(case, window=(1, 1)),
        "heads": lambda case: replace(case, heads=(1,) * len(case.heads)),
    },
}
"""For each type of case and each of its words: the same case with the least value of this word."""


def add_usual(result: LawResult, implementation: Implementation, again: Callable[[str], str]) -> LawResult:
    """Returns a broken law's result with the sizes that its smallest case needs, and a usual case.

    ``again`` returns the command that asks the law on a case.  Where an implementation has one size, there
    is no other case to show.
    """
    found = result.counterexample
    if found is None or implementation.scope.has_one_size:
        return result
    asker = _Asker(LAWS[result.law], implementation, monotonic() + SECONDS_OF_A_LAW)
    needed = describe_needs(asker, found.case)
    usual = None
    for case in list_usual(found.case, result.law):
        outcome = asker.ask(case)
        if outcome is not None and outcome.seen is not None:
            fitted = asker.fit(case)
            seen = printable(outcome.seen)
            usual = Counterexample(
                fitted, seen, again(str(fitted)), outcome.evidence, smallest=False, kind=outcome.kind
            )
            break
    return replace(result, counterexample=replace(found, needed=needed, usual=usual))


def check_case(law: Law, implementation: Implementation, case: Case) -> None:
    """Checks that a law is asked on cases such as one that a user gives: the oracle keeps it there.

    Errors: ``ValueError`` in one sentence for a case on which it does not.
    """
    if law.tier == "gradient" or law.missing(implementation):
        return
    asker = _Asker(law, implementation, inf)
    try:
        outcome = evaluate(law, asker.oracle, asker.oracle.adapt_case(case))
    except Declined:
        return
    except (ValueError, AssertionError, IndexError) as error:
        why = str(error).partition("\n")[0]
    else:
        if outcome.seen is None:
            return
        why = "the oracle itself breaks it there"
    words = str(case) or "a case of every size 1"
    raise ValueError(
        f"--case has sizes on which the law can be asked, {law.name} cannot be asked {words}: {why}"
    )


class _Asker:
    """Asks one law on cases that are not drawn, where the oracle itself keeps it."""

    def __init__(self, law: Law, implementation: Implementation, until: float) -> None:
        self.law, self.implementation, self.until = law, implementation, until
        convention = without_faults(implementation.convention)  # under which the oracle keeps every law
        oracle = apply_convention(convention, swin_reference)
        adapter = SimpleNamespace(**{name: _pass_on(getattr(oracle, name)) for name in CONTRACT})
        self.oracle = Implementation(adapter, implementation.precision, convention)

    def fit(self, case: Any) -> Any:
        """Returns a case inside the scope of the implementation."""
        return self.implementation.fit_case(case, self.law.needs)

    def ask(self, case: Any) -> CaseResult | None:
        """Returns what the law shows on a case; None where it is not asked such, or for lack of time."""
        if monotonic() > self.until:
            return None
        try:
            case = self.fit(case)
            if self.law.tier != "gradient" and evaluate(self.law, self.oracle, case).seen is not None:
                return None
            return evaluate(self.law, self.implementation, case)
        except (Declined, ValueError, AssertionError, IndexError, ZeroDivisionError):
            return None  # no case of this law

    def breaks(self, case: Any) -> bool | None:
        """Tells whether the law is broken on a case; None where it is not asked such."""
        outcome = self.ask(case)
        return None if outcome is None else outcome.seen is not None


def _pass_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that calls another, so that the oracle is not known as the oracle."""
    return lambda *args, **kwargs: function(*args, **kwargs)


def describe_needs(asker: Any, case: Any) -> str:
    """Returns which words of a broken case are needed, in that the law holds with their least value.

    After them come the words that are not needed: the law is also broken with their least value.
    """
    needed: list[str] = []
    free: list[str] = []
    names = rename_words(asker.law.name.partition("/")[0])
    for word, reduce in REDUCED.get(find_v1(type(case)), {}).items():
        if word not in names:
            continue
        try:
            less = reduce(case)
        except ValueError:
            continue
        if less == case or (breaks := asker.breaks(less)) is None:
            continue
        (free if breaks else needed).append(names[word])
    least = find_least_batch(asker, case)
    if least is not None and case.batch > 1:
        (needed if least > 1 else free).append(f"batch of at least {least}" if least > 1 else "batch")
    if not needed and not free:
        return ""
    return ", ".join(needed or ["none"]) + (
        f"; broken as well with the least {', '.join(free)}" if free else ""
    )


def find_least_batch(asker: Any, case: Any) -> int | None:
    """Returns the least batch, found by halving, with which a broken case is broken; None if not known."""
    low, high = 0, case.batch
    for batch in (1, 2, 3):
        if batch < high:
            breaks = asker.breaks(replace(case, batch=batch))
            if breaks is None:
                return None
            if breaks:
                return batch
            low = batch
    while high - low > 1:
        middle = (low + high) // 2
        breaks = asker.breaks(replace(case, batch=middle))
        if breaks is None:
            return None
        low, high = (low, middle) if breaks else (middle, high)
    return int(high)


def list_usual(case: Any, law: str) -> Iterator[Case]:
    """Gives usual cases with the recipe of a case, the most usual first.

    Of a gradient, which takes long, only the first ones.
    """
    most = 2 if LAWS[law].tier == "gradient" else len(USUAL)
    if isinstance(case, GridCase):
        for sizes in USUAL[:most]:
            grid, window, shift = sizes.grid, sizes.window, sizes.shift
            if law.startswith("patch_embed"):
                window, shift = (2, 2), (0, 0)
            elif not any(word == "window" for word in rename_words(law.partition("/")[0])):
                window, shift = (1, 1), (0, 0)
            yield replace(
                case, grid=grid, window=window, shift=shift, batch=sizes.batch, heads=sizes.heads, head_dim=4
            )
    elif isinstance(case, NetCase):
        for image in ((16, 16), (14, 14), (16, 12), (16, 8)):
            yield replace(
                case,
                image=image, patch=(2, 2), window=(4, 4), depths=(2,), heads=(2,), embed_dim=8,
                batch=max(1, case.batch if not case.classes and case.batch < 9 else 1),
            )  # fmt: skip
