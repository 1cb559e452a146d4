"""The gradient laws tell a right backward pass from wrong ones, and the budget is right for complex numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import swin_reference
from swin_properties import gradient
from swin_properties.catalogue import chosen
from swin_properties.complex_step import complex_step_vjp, fresh_oracle, with_vjp
from swin_properties.evaluate import evaluate
from swin_properties.gradient_bugs import BUGS
from swin_properties.judged import Judged
from swin_properties.precision import PRECISIONS
from swin_properties.registry import LAWS, Law

GRID = "batch=2 seed=1 grid=4x2 window=2x2 shift=1x1 heads=1 head_dim=4"
NET = (
    "batch=4 recipe=gentle seed=1 image=4x3 window=2x2 depths=2 heads=1 embed_dim=4 qkv_bias=1 patch_norm=1 "
    "position_embedding=0 classes=3"
)
OF_LAYERS = [law.name for law in chosen() if "vjp" in law.needs and "swin_st" not in law.name and "swin_t" not in law.name]
OF_NETWORKS = ["swin_stage/gradient", "swin_transformer/gradient", "swin_transformer/gradient-reaches"]
DTYPES = ("float64", "float32")


def case(law: Law) -> Any:
    """A tiny case: the planted backward passes cost one evaluation for each number."""
    if law.name in OF_NETWORKS:
        return law.kind.parse(NET)
    return law.kind.parse(GRID if law.name.startswith(("shifted", "cyclic", "swin_block")) else GRID.replace("shift=1x1 ", ""))


@cache
def expected(name: str, dtype: str) -> Any:
    """The oracle's side, the same for every bug."""
    law = LAWS[name]
    return gradient.oracle_side(law.body(None, case(law)), case(law), PRECISIONS[dtype])


def falls(name: str, implementation: Any, dtype: str) -> bool:
    law, judged = LAWS[name], Judged(implementation.with_precision(dtype))
    assert not law.missing(judged)
    if law.tier != "gradient":
        return evaluate(law, judged, case(law)).seen is not None
    found = gradient.compared(judged, law.body(judged, case(law)), *expected(name, dtype))
    return any(one.rho > 1 for one in found)


def kills(implementation: Any, laws: list[str]) -> set[tuple[str, str]]:
    return {(name, dtype) for name in laws for dtype in DTYPES if falls(name, implementation, dtype)}


@cache
def matrix() -> dict[str, set[tuple[str, str]]]:
    """Which laws kill which planted bugs; networks are asked about a few bugs only."""
    return {
        name: kills(
            bug.implementation(), OF_LAYERS + OF_NETWORKS * (name in ("detached mlp branch", "gamma without gradient"))
        )
        for name, bug in BUGS.items()
    }


def test_a_right_backward_pass_holds_every_law() -> None:
    right = with_vjp("right", complex_step_vjp(swin_reference), "float64")
    assert kills(right, OF_LAYERS + OF_NETWORKS) == set()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_planted_bug_is_killed(dtype: str) -> None:
    unseen = [name for name, killed in matrix().items() if not any(d == dtype for _, d in killed)]
    assert not unseen


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", OF_LAYERS + OF_NETWORKS)
def test_every_law_kills_a_planted_bug(law: str, dtype: str) -> None:
    assert any((law, dtype) in killed for killed in matrix().values())
