"""More cases of a broken law, of which some hold and some break: they show what the fault depends on."""

from __future__ import annotations

import time
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

SECONDS = 5.0
"""How long the cases of one law may take."""

GRIDS, NETWORKS, GRADIENTS = 80, 24, 8
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


def draw_sample(law: Law, implementation: Implementation, seed: int, seconds: float = SECONDS) -> list[Asked]:
    """Asks a law on many cases, of each size that its strategy draws, for as long as there is time."""
    end = time.monotonic() + seconds
    found: dict[Case, Asked] = {}

    def ask(drawn: Case) -> None:
        case = implementation.fit_case(drawn, law.needs)
        if case in found or time.monotonic() > end:
            return
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
    for case in list(vary(list(found))):
        ask(case)
    for name, strategy in law.cases.large.items():
        if not is_slow(law, name) and time.monotonic() < end:
            try:
                draw_each(strategy, ask, 1, crc32(f"{seed} {law.name} {name} more".encode()), shrink=False)
            except Unsatisfiable:
                continue
    return list(found.values())


def vary(cases: list[Case]) -> Iterator[Case]:
    """Yields cases of one image and of one head, of which few are drawn where a budget needs many numbers."""
    for case in [case for case in cases if case.batch > 1][:24]:
        small = isinstance(case, GridCase) and prod(case.grid) * case.channels < ENOUGH
        if not small:
            yield replace(case, batch=1)
