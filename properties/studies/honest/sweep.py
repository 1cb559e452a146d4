"""Sending every formulation through the budget laws, in every precision: none may break a law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from multiprocessing import get_context

import numpy as np
import swin_reference
from studies.honest.adapters import FORMULATIONS, OFFERED, Skipped, make_adapter
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.budget.within import perturb, within_budget
from swin_properties.cases.case import Case
from swin_properties.cases.draws import draw_each
from swin_properties.cases.strategies import Listed
from swin_properties.judging.compare import describe_outcome
from swin_properties.judging.one_law import EFFORTS, ask_large
from swin_properties.laws.choosing import choose_laws
from swin_properties.laws.law import Law


@dataclass
class Row:
    """What one formulation showed in one precision; ``decided``: cases near the limit, on more runs."""

    cases: int = 0
    decided: int = 0
    rho: float = 0.0
    where: str = ""
    broken: list[str] = field(default_factory=list)
    skipped: str = ""

    def add(self, other: Row) -> None:
        """Adds what was seen of another law."""
        self.cases += other.cases
        self.decided += other.decided
        if other.rho > self.rho:
            self.rho, self.where = other.rho, other.where
        self.broken += other.broken
        self.skipped = self.skipped or other.skipped


Table = dict[tuple[str, str], Row]
"""Rows by formulation and precision."""


def list_laws() -> list[Law]:
    """The budget laws of the callables that the formulations offer."""
    return [
        law
        for law in choose_laws()
        if law.tier == "budget" and {need.split(".")[0] for need in law.needs} <= set(OFFERED)
    ]


def draw_cases(law: Law, number: int, seed: int = 0) -> list[Case]:
    """Returns random cases of a law, a tenth more of full numbers; of an enumerated one, a random choice."""
    if isinstance(law.cases, Listed):
        every = law.cases.every(4, 3)
        order = np.random.default_rng(seed).permutation(len(every))[:number]
        return [every[i] for i in sorted(order)]
    drawn: list[Case] = []

    def keep(case: Case) -> None:
        drawn.append(case)

    draw_each(law.cases.strategy, keep, number, seed, shrink=False)
    if law.full:
        full = law.cases.strategy.map(lambda case: replace(case, recipe="full"))
        draw_each(full, keep, ceil(number / 10), seed, shrink=False)
    return drawn


def draw_large(law: Law, implementation: Implementation) -> list[Case]:
    """Returns the cases of real sizes that ``swin-oracle check`` asks of a law at default effort."""
    drawn: list[Case] = []
    ask_large(law, drawn.append, EFFORTS["default"], 0, implementation)
    return drawn


def sweep(
    number: int,
    precisions: Sequence[str] = tuple(PRECISIONS),
    asked: Sequence[Law] | None = None,
    progress: Callable[[str], None] = lambda _: None,
    jobs: int = 1,
    large: bool = False,
) -> Table:
    """Asks every formulation ``number`` cases of every law in every precision; one budget a case.

    ``large``: and those of real sizes.  ``jobs`` processes share the laws and precisions: the table is the
    same for any number of them.
    """
    names = [law.name for law in (list_laws() if asked is None else asked)]
    parts = [(name, precision, number, large) for precision in precisions for name in names]
    table: Table = {(name, precision): Row() for name in FORMULATIONS for precision in precisions}
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for (law, precision, *_), rows in zip(
            parts, (pool.map if jobs > 1 else map)(ask_law, parts), strict=True
        ):
            for name, row in rows.items():
                table[name, precision].add(row)
            worst = max(row.rho for row in rows.values())
            progress(f"{precision} {law}: largest rho {worst:.3f}")
    return table


def ask_law(part: tuple[str, str, int, bool]) -> dict[str, Row]:
    """Returns what the formulations showed of one law, named, in one precision, on a number of cases."""
    name, precision, number, large = part
    law = next(one for one in choose_laws() if one.name == name)
    judged = {name: Implementation(make_adapter(name, precision)) for name in FORMULATIONS}
    rows = {name: Row() for name in FORMULATIONS}
    cases = draw_cases(law, number)
    if large:
        cases += draw_large(law, next(iter(judged.values())))
    for case in cases:
        ask_case(law, case, precision, judged, rows)
    return rows


def ask_case(
    law: Law, case: Case, precision: str, judged: dict[str, Implementation], rows: dict[str, Row]
) -> None:
    """Asks every formulation that is not skipped about one case; all share the perturbed runs."""
    call, rounding = partial(law.ask, case=case), PRECISIONS[precision]
    residuals = perturb(call, swin_reference, rounding)
    for name, one in judged.items():
        row = rows[name]
        if row.skipped:
            continue
        try:
            outcome = within_budget(call, one, swin_reference, rounding, residuals)
        except Exception as error:
            if not isinstance(error.__cause__, Skipped):
                raise
            row.skipped = str(error.__cause__)
            continue
        row.decided += outcome.near
        row.cases += 1
        if (outcome.rho or 0.0) > row.rho:
            row.rho, row.where = outcome.rho or 0.0, f"{law.name}: {case}"
        if seen := describe_outcome(outcome, case).seen:
            row.broken.append(f"{law.name}: {case}: {seen}")
