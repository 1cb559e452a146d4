"""More cases of a broken law, of which some hold and some break: they show what the fault depends on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from zlib import crc32

from hypothesis.errors import Unsatisfiable

from swin_properties.adapters.answers import Declined
from swin_properties.adapters.implementation import Implementation
from swin_properties.cases.case import Case, GridCase, NetCase
from swin_properties.cases.draws import draw_each
from swin_properties.cases.strategies import Listed
from swin_properties.judging.compare import evaluate
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
    """A case, and whether the law is broken on it."""

    case: Case
    broken: bool


def draw_sample(law: Law, implementation: Implementation, seed: int) -> list[Asked]:
    """Asks a law on many cases, of each size that its strategy draws, up to `WORK`."""
    found = []
    for case in draw_cases(law, implementation, seed):
        with suppress(Declined):
            found.append(Asked(case, evaluate(law, implementation, case).seen is not None))
    return found


def draw_cases(law: Law, implementation: Implementation, seed: int) -> list[Case]:
    """Returns many cases of a law, those that an implementation is asked in their place."""
    left = WORK
    found: dict[Case, None] = {}

    def note(drawn: Case) -> None:
        nonlocal left
        case = implementation.fit_case(drawn, law.needs)
        if case not in found and count_numbers(case) <= left:
            left -= count_numbers(case)
            found[case] = None

    if isinstance(law.cases, Listed):
        for case in law.cases.every(3, 2):
            note(case)
        return list(found)
    number = GRADIENTS if law.tier == "gradient" else NETWORKS if issubclass(law.kind, NetCase) else GRIDS
    draw_each(law.cases.strategy, note, number, crc32(f"{seed} {law.name} more".encode()), shrink=False)
    for case in list(vary(list(found), law.full)):
        note(case)
    for name, strategy in law.cases.large.items():
        if not is_slow(law, name):
            with suppress(Unsatisfiable):
                draw_each(strategy, note, 1, crc32(f"{seed} {law.name} {name} more".encode()), shrink=False)
    return list(found)


def vary(cases: list[Case], full: bool) -> Iterator[Case]:
    """Yields cases of one image and of two, of which few are drawn where a budget needs many numbers.

    ``full``: also cases whose numbers use all bits, of which none is drawn.
    """
    if full:
        yield from (replace(case, recipe="full") for case in cases[:12])
    for case in [case for case in cases if case.batch > 1][:12]:
        small = isinstance(case, GridCase) and prod(case.grid) * case.channels < ENOUGH
        if not small:
            yield replace(case, batch=1)
            yield replace(case, batch=2)


def count_numbers(case: Case) -> int:
    """Returns how many numbers the tokens, or the images, of a case have."""
    if isinstance(case, GridCase):
        return case.batch * prod(case.grid) * case.channels
    return 3 * case.batch * prod(case.image) if isinstance(case, NetCase) else 1
