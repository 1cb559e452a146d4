"""More cases of a broken law, of which some hold and some break: they show what the fault depends on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from zlib import crc32

from hypothesis.errors import Unsatisfiable

from swin_properties.adapters.answers import Declined
from swin_properties.adapters.implementation import Implementation
from swin_properties.cases.case import Case, GridCase, NetCase
from swin_properties.cases.draws import draw_each
from swin_properties.cases.strategies import Listed
from swin_properties.judging.compare import CaseResult, evaluate
from swin_properties.judging.one_law import is_slow
from swin_properties.laws.law import Law

WORK = 400_000
"""The most numbers that the tokens or images of all cases have together: the same limit every time."""

GRIDS, NETWORKS, GRADIENTS = 60, 16, 6
"""How many cases are drawn of a grid, of a network and of a gradient law."""

ENOUGH = 64
"""The fewest numbers of an output for which one image is asked alone."""


@dataclass(frozen=True)
class Asked:
    """A case and what the law showed on it."""

    case: Case
    result: CaseResult

    @property
    def broken(self) -> bool:
        """Returns whether the law is broken on the case."""
        return self.result.seen is not None


def draw_sample(law: Law, implementation: Implementation, seed: int) -> list[Asked]:
    """Asks a law on many cases, of each size that its strategy draws, up to `WORK`."""
    left = WORK
    found: dict[Case, Asked] = {}

    def ask(drawn: Case) -> None:
        nonlocal left
        case = implementation.fit_case(drawn, law.needs)
        if case in found or count_numbers(case) > left:
            return
        left -= count_numbers(case)
        try:
            found[case] = Asked(case, evaluate(law, implementation, case))
        except Declined:
            return

    if isinstance(law.cases, Listed):
        for case in law.cases.every(3, 2):
            ask(case)
        return list(found.values())
    number = GRADIENTS if law.tier == "gradient" else NETWORKS if law.kind is NetCase else GRIDS
    draw_each(law.cases.strategy, ask, number, crc32(f"{seed} {law.name} more".encode()), shrink=False)
    for case in list(vary(list(found), law.full)):
        ask(case)
    for name, strategy in law.cases.large.items():
        if not is_slow(law, name):
            try:
                draw_each(strategy, ask, 1, crc32(f"{seed} {law.name} {name} more".encode()), shrink=False)
            except Unsatisfiable:
                continue
    return list(found.values())


def vary(cases: list[Case], full: bool) -> Iterator[Case]:
    """Yields cases of one image, of which few are drawn where a budget needs many numbers.

    ``full``: also cases whose numbers use all bits, of which none is drawn.
    """
    if full:
        yield from (replace(case, recipe="full") for case in cases[:12])
    for case in [case for case in cases if case.batch > 1][:12]:
        small = isinstance(case, GridCase) and prod(case.grid) * case.channels < ENOUGH
        if not small:
            yield replace(case, batch=1)


def count_numbers(case: Case) -> int:
    """Returns how many numbers the tokens, or the images, of a case have."""
    if isinstance(case, GridCase):
        return case.batch * prod(case.grid) * case.channels
    return 3 * case.batch * prod(case.image) if isinstance(case, NetCase) else 1
