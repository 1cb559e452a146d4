"""Sending every formulation through the budget laws, in every precision: none may break a law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import swin_reference
from studies.honest.adapters import FORMULATIONS, OFFERED, Skipped, adapter
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.budget.within import perturb, within_budget
from swin_properties.cases.case import Case
from swin_properties.cases.draws import draw_each
from swin_properties.cases.strategies import Listed
from swin_properties.judging.compare import describe_outcome
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


Table = dict[tuple[str, str], Row]
"""Rows by formulation and precision."""


def laws() -> list[Law]:
    """The budget laws of the callables that the formulations offer."""
    return [
        law
        for law in choose_laws()
        if law.tier == "budget" and {need.split(".")[0] for need in law.needs} <= set(OFFERED)
    ]


def cases(law: Law, number: int, seed: int = 0) -> list[Case]:
    """Random cases of a law; of an enumerated one, a random choice."""
    if isinstance(law.cases, Listed):
        every = law.cases.every(4, 3)
        order = np.random.default_rng(seed).permutation(len(every))[:number]
        return [every[i] for i in sorted(order)]
    drawn: list[Case] = []

    def keep(case: Case) -> None:
        drawn.append(case)

    draw_each(law.cases.strategy, keep, number, seed, shrink=False)
    return drawn


def swept(
    number: int,
    precisions: Sequence[str] = tuple(PRECISIONS),
    asked: Sequence[Law] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Table:
    """Every formulation on ``number`` cases of every law in every precision; one budget a case."""
    table: Table = {(name, precision): Row() for name in FORMULATIONS for precision in precisions}
    for precision in precisions:
        judged = {name: Implementation(adapter(name, precision)) for name in FORMULATIONS}
        for law in laws() if asked is None else asked:
            for case in cases(law, number):
                one_case(law, case, precision, judged, table)
            worst = max((table[name, precision].rho for name in FORMULATIONS), default=0.0)
            progress(f"{precision} {law.name}: largest rho so far {worst:.3f}")
    return table


def one_case(law: Law, case: Case, precision: str, judged: dict[str, Implementation], table: Table) -> None:
    """Asks every formulation that is not skipped about one case; all share the perturbed runs."""
    call, rounding = partial(law.ask, case=case), PRECISIONS[precision]
    residuals = perturb(call, swin_reference, rounding)
    for name, one in judged.items():
        row = table[name, precision]
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
