"""Which component is wrong first, in the order of use: what it uses is right, or is not offered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from swin_properties.adapters.contract import CONTRACT
from swin_properties.bugs.gallery import list_reach
from swin_properties.judging.report import LawResult, Report
from swin_properties.laws.law import LAWS

THROUGH_BLOCKS = {
    "swin_features": {"swin_stage", "swin_block"},
    "swin_transformer": {"swin_stage", "swin_block"},
    "swin_v2_features": {"swin_v2_stage", "swin_v2_block"},
    "swin_v2_transformer": {"swin_v2_stage", "swin_v2_block"},
}
"""The callables that use a stage, though in the oracle they call what is inside it."""


@cache
def list_used(name: str) -> frozenset[str]:
    """Returns the callables that a callable uses, directly or not, as the oracle does; itself is none.

    >>> sorted(list_used("window_attention"))
    ['relative_position_bias', 'relative_position_index']
    """
    used = {path.rpartition(".")[2] for path in list_reach()[name]}
    used |= THROUGH_BLOCKS.get(name, set())
    return frozenset(used & CONTRACT.keys() - {name})


def order_by_use(names: Iterable[str]) -> list[str]:
    """Returns callables so that each stands behind those that it uses.

    >>> order_by_use(["swin_block", "mlp", "window_attention"])
    ['mlp', 'window_attention', 'swin_block']
    """
    order = list(CONTRACT)
    return sorted(names, key=lambda name: (len(list_used(name)), order.index(name)))


@dataclass(frozen=True)
class Place:
    """The first component that is wrong, and which of those that it uses hold, and which are not offered."""

    name: str
    holding: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.name} is the first component that is wrong. Look there"
        if not self.holding:
            return f"{text}: nothing that it uses is offered." if self.unknown else f"{text}."
        if not self.unknown:
            return f"{text}: what it uses is right."
        of = f"{text}: of what it uses, {', '.join(self.holding)} are right"
        return f"{of}; not offered, so not known: {', '.join(self.unknown)}."


def find_own_needs(result: LawResult) -> set[str]:
    """Returns the callables that a law asks."""
    return {need.partition(".")[0] for need in LAWS[result.law].needs} & CONTRACT.keys()


def find_first_wrong(report: Report, results: Iterable[LawResult]) -> Place | None:
    """Returns the first component, in the order of use, that broken laws tell to be wrong; None for none.

    A law that asks two callables, such as that one undoes the other, tells which of them is wrong only where
    the other has laws of its own, and these hold.
    """
    needs = [find_own_needs(result) for result in results]
    alone = {next(iter(names)) for names in needs if len(names) == 1}
    held = {next(iter(n)) for result in report.of("holds") if len(n := find_own_needs(result)) == 1} - alone
    suspects = [names - held or names for names in needs]
    wrong = {name for names in suspects if len(names) == 1 for name in names} or set().union(*suspects)
    if not wrong:
        return None
    first = order_by_use(wrong)[0]
    offered = {name for result in report.results if result.cases for name in find_own_needs(result)}
    used = order_by_use(list_used(first))
    return Place(
        first,
        tuple(name for name in used if name in offered and name not in wrong),
        tuple(name for name in used if name not in offered),
    )
