"""Which gradient law kills which planted bug of the backward pass, on one tiny case a law."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from swin_properties import gradient
from swin_properties.catalogue import chosen
from swin_properties.evaluate import evaluate
from swin_properties.gradient_bugs import BUGS
from swin_properties.judged import Judged
from swin_properties.precision import PRECISIONS
from swin_properties.registry import LAWS, Law

GRID = "batch=2 seed=1 grid=4x2 window=2x2 shift=1x1 heads=1 head_dim=4"
NET = "batch=4 recipe=gentle seed=1 image=2x4 window=1x2 depths=1 heads=1 embed_dim=4 classes=3"
NETWORKS = ("swin_stage/gradient", "swin_transformer/gradient", "swin_transformer/gradient-reaches")

DTYPES = ("float64", "float32")
"""The planted backward passes are complex steps: NumPy has them in these."""

Table = dict[str, list[str]]
"""For each planted bug of the backward pass, the laws that kill it."""


def laws() -> list[str]:
    """The laws of the backward pass."""
    return [law.name for law in chosen() if "vjp" in law.needs]


def case(law: Law) -> Any:
    """A tiny case: the planted backward passes cost one evaluation for each number."""
    if law.name in NETWORKS:
        return law.kind.parse(NET)
    shifted = law.name.startswith(("shifted", "cyclic", "swin_block"))
    return law.kind.parse(GRID if shifted else GRID.replace("shift=1x1 ", ""))


@cache
def _expected(name: str, dtype: str) -> Any:
    """The oracle's side, the same for every bug."""
    law = LAWS[name]
    return gradient.oracle_side(law.body(None, case(law)), case(law), PRECISIONS[dtype])


def falls(name: str, implementation: Any, dtype: str) -> bool:
    """Whether a law falls on its tiny case."""
    law, judged = LAWS[name], Judged(implementation.with_precision(dtype))
    if missing := law.missing(judged):
        raise ValueError(f"a planted backward pass offers every callable, {name} misses {missing}")
    if law.tier != "gradient":
        return evaluate(law, judged, case(law)).seen is not None
    found = gradient.compared(judged, law.body(judged, case(law)), *_expected(name, dtype))
    return any(one.rho > 1 for one in found)


def killers(bug: str, dtype: str) -> list[str]:
    """The laws that kill a planted bug of the backward pass."""
    implementation = BUGS[bug].implementation()
    return [name for name in laws() if falls(name, implementation, dtype)]


@cache
def shipped() -> dict[str, Table]:
    """The committed tables, by precision."""
    text = resources.files("swin_properties").joinpath("gradient_kills.json").read_text()
    tables: dict[str, Table] = json.loads(text)
    return tables
