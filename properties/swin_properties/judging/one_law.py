"""Asks one law: draws cases, and shrinks one that breaks it to the smallest."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import reduce
from math import inf
from typing import Any
from zlib import crc32

from hypothesis import reject
from hypothesis.errors import Flaky, Unsatisfiable
from hypothesis.strategies import SearchStrategy

from swin_properties.adapters.answers import Declined
from swin_properties.adapters.implementation import Implementation
from swin_properties.cases import measured
from swin_properties.cases.case import Case, NetCase
from swin_properties.cases.case_v2 import GridV2Case, NetV2Case, turn_into_v2
from swin_properties.cases.draws import draw_each
from swin_properties.cases.large import AT_ONCE, MOST_CHANNELS, ONE_AT_A_TIME, SWIN_T, SWIN_V2_T
from swin_properties.cases.strategies import Drawn, Listed
from swin_properties.judging.compare import CaseResult, evaluate
from swin_properties.judging.report import Counterexample, LawResult, printable
from swin_properties.laws.law import Law

BeforeCase = Callable[[Case], None]
"""Is called with each case just before the law is asked on it."""


@dataclass(frozen=True)
class Effort:
    """How many cases a law is asked on.

    Drawn ones: of a grid, of a network, of a gradient (a case of these costs about 3 and 10 of the first);
    enumerated ones: the largest window and count.  ``large``: how many large sizes a law is asked that does
    not compare a component with the oracle.  ``full``: how many cases use all bits of the tested precision.
    """

    grids: int
    networks: int
    gradients: int
    largest_window: int
    largest_count: int
    large: int = 0
    full: int = 0

    def examples(self, law: Law) -> int:
        """Returns how many cases are drawn for a law."""
        if law.tier == "gradient":
            return self.gradients
        return self.networks if issubclass(law.kind, NetCase) else self.grids


EFFORTS = {
    "quick": Effort(5, 2, 1, 2, 2, 1, 1),
    "default": Effort(20, 8, 3, 3, 2, 2, 2),
    "deep": Effort(500, 200, 40, 5, 3, len(ONE_AT_A_TIME), 40),
}
"""The efforts by name."""


SHRINK = 60.0
"""How many seconds smaller cases of a broken law are looked for."""

PARTS_OF_BLOCK = {
    "layer_norm": "swin_block",
    "mlp": "swin_block",
    "window_attention": "swin_block",
    "shifted_window_attention": "swin_block",
    "cosine_window_attention": "swin_v2_block",
    "shifted_cosine_window_attention": "swin_v2_block",
}
"""The callables whose work a block does as well, and that block."""


class _Broken(Exception):
    """Tells Hypothesis that this case breaks the law."""


Reproduce = Callable[[str], str]
"""Returns the command that asks again, given the words that choose law and case."""


def ignore_case(_case: Case) -> None:
    """Does nothing, as a `BeforeCase`."""


def run_law(
    law: Law,
    implementation: Implementation,
    effort: Effort,
    seed: int,
    reproduce: Reproduce,
    before_case: BeforeCase = ignore_case,
    shrink: float = SHRINK,
) -> LawResult:
    """Asks a law on drawn or enumerated cases; a broken law carries the smallest case found.

    ``shrink``: how many seconds smaller cases are looked for.
    """
    result = LawResult(law.name, law.sentence, "holds")
    if missing := law.missing(implementation):
        return replace(result, status="not offered", missing=tuple(missing))
    rhos: list[float | None] = []
    last: list[tuple[Case, CaseResult]] = []
    declined: list[str] = []
    outside: list[Case] = []
    listed: set[Case] = set()
    sizes = [measured.NO_SIZES]
    broken: dict[Case, CaseResult] = {}
    end = inf

    def ask(drawn: Case) -> None:
        nonlocal end
        case = implementation.fit_case(drawn, law.needs)
        if implementation.few_shapes and isinstance(law.cases, Listed):
            if case in listed:
                return
            listed.add(case)
        elif isinstance(law.cases, Listed) and case != implementation.adapt_case(drawn):
            outside.append(case)  # and the one it would become is listed itself
            return
        if time.monotonic() > end:  # the smallest one so far is asked once more, at the end
            if case in broken:
                last.append((case, broken[case]))
                raise _Broken
            return
        before_case(case)
        try:
            outcome = evaluate(law, implementation, case)
        except Declined as reason:
            declined.append(str(reason))
            raise
        rhos.append(outcome.rho)
        sizes.append(measured.measure(case))
        if outcome.seen is not None:
            end = min(end, time.monotonic() + shrink)
            broken[case] = outcome
            last.append((case, outcome))
            raise _Broken

    try:
        ask_all(law, ask, limit_effort(effort, implementation), seed)
        ask_large(law, ask, effort, seed, implementation)
    except (_Broken, Unsatisfiable):  # unsatisfiable: every case was declined
        pass
    except Flaky:
        case, outcome = last[-1]
        last.append((case, replace(outcome, seen=f"not the same twice: {outcome.seen}")))
    worst = max((rho for rho in rhos if rho is not None), default=None)
    result = replace(
        result, cases=len(rhos), rho=worst, declined=tuple(declined), sizes=reduce(measured.largest, sizes)
    )
    if not rhos and declined:
        return replace(result, status="not offered", missing=("any case drawn",))
    if last:
        return mark_broken(result, *last[-1], reproduce, smallest=time.monotonic() <= end)
    planned = count_planned(law, effort, implementation) - len(outside)
    return replace(result, planned=planned) if declined and len(rhos) < planned else result


def limit_effort(effort: Effort, implementation: Implementation) -> Effort:
    """Returns the effort for an implementation: of one that is large few cases, as the oracle takes long."""
    quick = EFFORTS["quick"]
    if implementation.scope.is_large:
        few = min(effort.full, quick.full)
        return replace(effort, networks=quick.networks, grids=quick.grids, full=few)
    return effort


def count_planned(law: Law, effort: Effort, implementation: Implementation) -> int:
    """Returns how many cases a law is asked where none is declined."""
    if isinstance(law.cases, Listed) and implementation.few_shapes:
        return 0
    if isinstance(law.cases, Listed):
        return len(law.cases.every(effort.largest_window, effort.largest_count))
    effort = limit_effort(effort, implementation)
    full = effort.full if law.full else 0
    if implementation.few_shapes:
        return effort.examples(law) + full
    large = choose_large(law, effort, implementation)
    return effort.examples(law) + full + len(large) + len(choose_life_size(law, effort, implementation))


def run_case(
    law: Law,
    implementation: Implementation,
    case: Case,
    reproduce: Reproduce,
    before_case: BeforeCase = ignore_case,
) -> LawResult:
    """Asks a law on one case."""
    result = LawResult(law.name, law.sentence, "holds", cases=1)
    if missing := law.missing(implementation):
        return replace(result, status="not offered", cases=0, missing=tuple(missing))
    case = implementation.adapt_case(case)
    before_case(case)
    try:
        outcome = evaluate(law, implementation, case)
    except Declined as reason:
        return replace(result, status="not offered", cases=0, missing=("this case",), declined=(str(reason),))
    result = replace(result, rho=outcome.rho)
    return result if outcome.seen is None else mark_broken(result, case, outcome, reproduce)


def mark_broken(
    result: LawResult, case: Case, outcome: CaseResult, reproduce: Reproduce, smallest: bool = True
) -> LawResult:
    """Returns the result of a law that is broken on a case, the smallest unless there was no time to look."""
    line = reproduce(f"--only {quote_law(result.law)} --case {shlex.quote(str(case))}")
    seen = printable(outcome.seen or "")
    trace = printable(outcome.traceback)
    found = Counterexample(case, seen, line, outcome.evidence, smallest, outcome.kind, traceback=trace)
    return replace(result, status="broken", counterexample=found)


def quote_law(name: str) -> str:
    """A law's name as one word of a shell command."""
    return shlex.quote(name)


def ask_large(
    law: Law, ask: Callable[[Any], None], effort: Effort, seed: int, implementation: Implementation
) -> None:
    """Asks cases in which one size is large, then those in which all sizes are a real stage's."""
    if isinstance(law.cases, Listed) or implementation.few_shapes:
        return

    for size in choose_large(law, effort, implementation):
        with suppress(Unsatisfiable):  # all cases of this size may be declined
            _draw(law.cases.large[size], ask, 1, f"{seed} {law.name} {size}")
    for case in choose_life_size(law, effort, implementation):
        with suppress(Declined):
            ask(case)


def choose_large(law: Law, effort: Effort, implementation: Implementation) -> list[str]:
    """Returns the sizes that are large, one at a time, on cases of a law.

    A law that compares a component with the oracle, or with its whole definition, is asked all; the others
    begin at different sizes, so that all laws of a component together are asked many.  At quick effort a
    block is asked all for the parts inside it.
    """
    assert isinstance(law.cases, Drawn)
    if implementation.scope.has_one_size:  # its sizes are what they are
        return []
    if effort == EFFORTS["deep"]:
        return list(law.cases.large)
    sizes = [size for size in law.cases.large if not is_slow(law, size)]
    quick, gradient = effort == EFFORTS["quick"], law.tier == "gradient"
    whole = law.name.endswith(("/oracle", "/definition", "/formula"))
    inside = implementation.offers(PARTS_OF_BLOCK.get(law.name.partition("/")[0], ""))
    if not sizes or (whole and not (quick and (inside or issubclass(law.kind, NetCase)))):
        return sizes
    number = effort.large if not gradient else 0 if quick else 1
    first = crc32(law.name.encode()) % len(sizes)
    return (sizes + sizes)[first : first + number]


def choose_life_size(law: Law, effort: Effort, implementation: Implementation) -> list[Case]:
    """Returns the cases of a law in which all sizes are those of a real stage, or of a real network."""
    if not law.life_size or effort == EFFORTS["quick"] or implementation.scope.has_one_size:
        return []
    deep = effort == EFFORTS["deep"]
    if issubclass(law.kind, NetV2Case):
        return [SWIN_V2_T] if deep else []
    if issubclass(law.kind, NetCase):
        return [SWIN_T]
    recipe = "gentle" if law.name.endswith("/locality") else "generic"
    cases = [replace(case, recipe=recipe) for name, case in AT_ONCE.items() if deep or not is_slow(law, name)]
    return [turn_into_v2(case) for case in cases] if issubclass(law.kind, GridV2Case) else list(cases)


def is_slow(law: Law, size: str) -> bool:
    """Tells whether a law takes over 2 seconds on a large size, or one of its kind does."""
    if size == MOST_CHANNELS and not law.name.endswith("/oracle"):
        return True
    if law.tier == "gradient" and size.endswith(" windows"):
        return True
    return any(fnmatchcase(size, pattern) for pattern in law.slow)


def ask_all(law: Law, ask: Callable[[Any], None], effort: Effort, seed: int) -> None:
    """Asks every case in order, or as many drawn ones as the effort says, and shrinks one that breaks it."""
    if isinstance(law.cases, Listed):
        for case in law.cases.every(effort.largest_window, effort.largest_count):
            with suppress(Declined):
                ask(case)
        return

    # The law's name in the seed: laws that share a strategy are not all asked on the same cases.
    _draw(law.cases.strategy, ask, effort.examples(law), f"{seed} {law.name}")
    if law.full and effort.full:
        full = law.cases.strategy.map(lambda case: replace(case, recipe="full"))
        _draw(full, ask, effort.full, f"{seed} {law.name} full")


def _draw(strategy: SearchStrategy[Any], ask: Callable[[Any], None], number: int, seed: str) -> None:
    """Asks as many drawn cases that are not declined, the same ones for the same words of the seed."""

    def taken(case: Any) -> None:
        try:
            ask(case)
        except Declined:
            reject()

    draw_each(strategy, taken, number, crc32(seed.encode()))
