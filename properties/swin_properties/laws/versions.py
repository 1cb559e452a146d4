"""Asks of Swin V2 what a law of Swin says: most laws are true of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from swin_properties.adapters.contract import V2_NAMES
from swin_properties.adapters.versions import V2AsV1
from swin_properties.cases.case_v2 import V2_CASES, GridV2Case, NetV2Case, turn_into_v2
from swin_properties.cases.strategies import Cases, Listed


def name_in_v2(law_or_need: str) -> str:
    """Returns the name of a law, or of what one needs, in V2.

    >>> name_in_v2("swin_block/oracle"), name_in_v2("window_attention.mask"), name_in_v2("mlp")
    ('swin_v2_block/oracle', 'cosine_window_attention.mask', 'mlp')
    """
    ends = [law_or_need.find(mark) for mark in "/." if mark in law_or_need]
    end = min(ends, default=len(law_or_need))
    return V2_NAMES.get(law_or_need[:end], law_or_need[:end]) + law_or_need[end:]


def find_version(law: str) -> str:
    """Returns the version of Swin that a law is about, "" for what both have alike.

    >>> find_version("swin_v2_block/oracle"), find_version("swin_block/oracle"), find_version("mlp/oracle")
    ('V2', 'V1', '')
    """
    name = law.partition("/")[0]
    if name in V2_NAMES.values() or name == "continuous_position_bias_table":
        return "V2"
    return "V1" if name in V2_NAMES else ""


def ask_of_v2(body: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a law's body that asks the V2 of an implementation."""

    @wraps(body)
    def ask(swin: Any, case: Any) -> Any:
        found = body(V2AsV1(swin), case)
        is_derivative = hasattr(found, "directions")
        return replace(found, name=V2_NAMES[found.name]) if is_derivative else found

    return ask


def draw_in_v2(cases: Cases) -> Cases:
    """Returns the same cases, of V2."""
    kind: Any = V2_CASES[cases.kind]
    if isinstance(cases, Listed):
        return Listed(kind, lambda *largest: [turn_into_v2(case) for case in cases.every(*largest)])
    return replace(cases.map(lambda case: give_directions(turn_into_v2(case))), kind=kind)


def give_directions(case: Any) -> Any:
    """Returns a case of V2 whose queries and keys have two numbers or more.

    The cosine of single numbers is 1 or -1: where a query is nearly 0, one rounding turns it.

    >>> give_directions(GridV2Case(head_dim=1)).head_dim
    2
    >>> give_directions(NetV2Case(heads=(4, 1), depths=(1, 1), embed_dim=4)).embed_dim
    8
    """
    if isinstance(case, GridV2Case):
        return replace(case, head_dim=max(case.head_dim, 2))
    if isinstance(case, NetV2Case) and case.embed_dim < 2 * max(case.heads):
        return replace(case, embed_dim=2 * case.embed_dim)
    return case
