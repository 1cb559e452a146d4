"""Which law kills which planted bug: computed on the very cases that a run asks, never claimed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, partial, wraps
from importlib import resources
from math import lcm
from types import SimpleNamespace
from typing import Any

import numpy as np
import swin_reference

from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import Implementation
from swin_properties.adapters.scope import BATCHES
from swin_properties.budget.precision import Precision
from swin_properties.budget.within import Residuals, perturb
from swin_properties.bugs import GALLERY, Bug, touched
from swin_properties.cases.case import Case, GridCase, NetCase, under
from swin_properties.judging import one_law
from swin_properties.judging.compare import evaluate
from swin_properties.judging.report import Report
from swin_properties.laws.law import LAWS, Law

Kills = dict[str, dict[str, list[str]]]
"""For each planted bug, the laws that kill it, each with the precisions in which it does."""

Table = dict[str, list[str]]
"""For each planted bug, the laws that kill it in one precision."""

SHIPPED = ("default",)
"""The efforts whose kills, at seed 0, are computed once and shipped."""


@cache
def planted(bug: Bug, precision: Precision) -> Implementation:
    """Returns a planted bug as an implementation in some precision."""
    return in_precision(bug.implementation(), precision)


def in_precision(functions: Any, precision: Precision) -> Implementation:
    """Returns the oracle's functions, right or wrong, as an implementation that rounds each result once."""

    def once(y: Any) -> Any:
        return precision.rounded(y).astype(y.dtype) if y.dtype in (np.float32, np.float64) else y

    def rounded(name: str) -> Any:
        function = getattr(functions, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            return [once(y) for y in result] if isinstance(result, list) else once(result)

        return wraps(function)(call)

    return Implementation(SimpleNamespace(**{name: rounded(name) for name in CONTRACT}), precision)


@cache
def cases(law: Law, effort: str, seed: int) -> tuple[Case, ...]:
    """Returns the cases that a run of this effort and seed asks a law on, as long as the law holds."""
    found: list[Case] = []

    def note(case: Case) -> None:
        found.append(case)

    one_law.ask_all(law, note, one_law.EFFORTS[effort], seed)
    return tuple(found)


@cache
def residuals(law: Law, case: Case, precision: Precision) -> Residuals:
    """Returns what perturbed runs of a law differ by on a case: the same for every bug."""
    return perturb(partial(law.ask, case=case), swin_reference, precision)


def breaks(law: Law, implementation: Implementation, case: Case) -> bool:
    """Returns whether an implementation breaks a law on a case."""
    known = residuals(law, case, implementation.precision) if law.tier == "budget" else None
    return evaluate(law, implementation, case, known).seen is not None


def laws_that_kill(
    bug: Bug, laws: Iterable[Law], precision: Precision, effort: str, seed: int = 0
) -> list[str]:
    """Returns the laws that kill a planted bug; asks only laws of callables that the bug reaches."""
    wrong = planted(bug, precision)
    return [
        law.name
        for law in laws
        if not law.missing(wrong)
        and touched(bug.name) & {need.partition(".")[0] for need in law.needs}
        and any(breaks(law, wrong, case) for case in cases(law, effort, seed))
    ]


def join(tables: Mapping[str, Table]) -> Kills:
    """Returns the kills of all precisions from the table of each; laws are in their own order.

    >>> join({"float32": {"relu": ["mlp/gelu"]}, "float64": {"relu": ["mlp/oracle", "mlp/gelu"]}})
    {'relu': {'mlp/oracle': ['float64'], 'mlp/gelu': ['float32', 'float64']}}
    """
    bugs = dict.fromkeys(bug for table in tables.values() for bug in table)
    found = {
        bug: {law: [name for name, table in tables.items() if law in table[bug]] for law in LAWS}
        for bug in bugs
    }
    return {bug: {law: where for law, where in laws.items() if where} for bug, laws in found.items()}


def at_precision(kills: Kills, precision: str) -> Table:
    """Returns the kills in one precision.

    >>> at_precision({"relu": {"mlp/oracle": ["float64"], "mlp/gelu": ["float32", "float64"]}}, "float32")
    {'relu': ['mlp/gelu']}
    """
    return {bug: [law for law, where in laws.items() if precision in where] for bug, laws in kills.items()}


@cache
def shipped() -> dict[str, Kills]:
    """Returns the committed kills of each effort."""
    text = resources.files("swin_properties.bugs").joinpath("kills.json").read_text()
    kills: dict[str, Kills] = json.loads(text)
    return kills


def caught(
    laws: Iterable[str], offered: Iterable[str], precision: str, effort: str
) -> tuple[list[str], list[str]]:
    """Returns the planted bugs that these laws catch, and those that they do not.

    Bugs that cannot show in the callables offered are left out.
    """
    asked, reach = set(laws), set(offered)
    kills = at_precision(shipped()[effort], precision)
    possible = [name for name in kills if touched(name) & reach]
    return (
        [name for name in possible if asked & set(kills[name])],
        [name for name in possible if not asked & set(kills[name])],
    )


def catches_in_one(report: Report, implementation: Implementation) -> str:
    """Returns what a pass of one network, or of one block, is worth, computed for its sizes; else nothing.

    Each planted bug is asked for the logits of that network, or for the tokens of that block, with the
    weights that the implementation was asked with.  Of a large one the channels are fewer and the weights are
    the laws' own: its grids stay.
    """
    scope = implementation.scope
    thing = "block" if scope.block else "network"
    law = LAWS[f"{scope.whole}/oracle"]
    if report.exit_code or not any(result.law == law.name for result in report.of("holds")):
        return ""
    kind: Any = law.kind
    images = max(1, len(scope.image_sizes))
    drawn = [kind(seed=len(BATCHES) * number) for number in range(images)] + [kind(recipe="peaked")]
    large = scope.is_large if scope.block else scope.only_network.config.count > SMALL_NETWORK
    asked = [implementation.fit_case(case, law.needs) for case in drawn[: 1 if large else None]]
    cases = list(dict.fromkeys(reduce_case(case) if large else under(case, "canonical") for case in asked))
    precision = implementation.precision
    known = [residuals(law, case, precision) for case in cases]
    without = set(getattr(implementation.adapter, "absent", ()))
    reach = [bug for bug in GALLERY.values() if scope.whole in touched(bug.name)]
    possible = [bug for bug in reach if not without & touched(bug.name)]

    def is_caught(bug: Bug) -> bool:
        given = zip(cases, known, strict=True)
        return any(evaluate(law, planted(bug, precision), case, one).seen is not None for case, one in given)

    missed = [bug.name for bug in possible if not is_caught(bug)]
    weights = "the laws' weights" if large or not implementation.own else "the weights of the file"
    sizes = "its grids with fewer channels" if large else "its sizes"
    listed = f"; not: {', '.join(missed)}" if missed else ""
    hidden = (
        f"; {len(reach) - len(possible)} cannot show: the file has no {', '.join(sorted(without))}"
        if without
        else ""
    )
    return (
        f"these laws would notice {len(possible) - len(missed)} of {len(possible)} planted "
        f"bugs in this {thing}, computed at {sizes} with {weights}{listed}{hidden}"
    )


SMALL_NETWORK = 2**17
"""The most parameters of a network whose planted bugs are computed at its own channels."""


def reduce_case(case: GridCase | NetCase) -> GridCase | NetCase:
    """Returns a case with the same grids, windows, depths and heads, and few channels.

    >>> print(reduce_case(NetCase(embed_dim=96, heads=(3, 6), depths=(2, 2), hidden=384, classes=1000)))
    depths=2x2 heads=3x6 embed_dim=6 classes=200
    """
    recipe = "generic" if case.recipe == "own" else case.recipe
    if isinstance(case, GridCase):
        return replace(case, recipe=recipe, head_dim=min(case.head_dim, 2), hidden=0, own=None)
    channels = case.heads[0] * 2
    fits = all((channels << stage) % heads == 0 for stage, heads in enumerate(case.heads))
    return replace(
        case,
        batch=min(case.batch, 3),
        recipe=recipe,
        embed_dim=channels if fits else lcm(*case.heads),
        hidden=0,
        classes=min(case.classes, 200),
        convention="canonical",
        own=None,
    )


def catches(report: Report) -> str:
    """Returns what a pass at a report's cases is worth, in one sentence; empty where it is no pass.

    Known failures have not judged: they do not count.
    """
    asked = [result for result in report.results if result.status == "holds"]
    if report.exit_code or not asked:
        return ""
    if report.seed != 0 or report.effort not in shipped() or report.convention != "canonical":
        return ""
    offered = {need.partition(".")[0] for result in asked for need in LAWS[result.law].needs}
    found, missed = caught((result.law for result in asked), offered, report.precision, report.effort)
    declined = " (estimated without the cases that you declined)" if report.declined or report.scope else ""
    listed = f"; not: {', '.join(missed)}" if missed else ""
    return (
        f"these laws would notice {len(found)} of the {len(found) + len(missed)} planted bugs that could "
        f"affect what you offer{declined}{listed}"
    )
