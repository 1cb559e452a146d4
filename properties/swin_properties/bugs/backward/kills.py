"""Which gradient law kills which planted bug of the backward pass, on one tiny case for each law."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.bugs.backward.gallery import BUGS
from swin_properties.bugs.kills import Kills
from swin_properties.cases.case import NetCase
from swin_properties.cases.case_v2 import V2_CASES
from swin_properties.judging import gradients
from swin_properties.judging.compare import evaluate
from swin_properties.laws.choosing import choose_laws
from swin_properties.laws.law import LAWS, Law

GRID = "batch=2 seed=1 grid=4x2 window=2x2 shift=1x1 heads=1 head_dim=4"
NET = "batch=4 recipe=gentle seed=1 image=2x4 window=1x2 depths=1 heads=1 embed_dim=4 classes=3"
V2 = "bias_width=3"
"""What is added to a case of V2: the MLP of its bias is narrow."""

DTYPES = ("float64", "float32")
"""The planted backward passes are complex steps: NumPy has them in these."""


def laws() -> list[str]:
    """Returns the laws of the backward pass."""
    return [law.name for law in choose_laws() if "vjp" in law.needs]


def case(law: Law) -> Any:
    """Returns a tiny case: the planted backward passes cost one evaluation for each number."""
    shifted = law.name.startswith(("shifted", "cyclic", "swin_block", "swin_v2_block"))
    words = NET if issubclass(law.kind, NetCase) else GRID if shifted else GRID.replace("shift=1x1 ", "")
    return law.kind.parse(f"{words} {V2}" if law.kind in V2_CASES.values() else words)


@cache
def _expected(name: str, dtype: str) -> Any:
    """Returns the oracle's side, which is the same for every bug."""
    law = LAWS[name]
    return gradients.compute_expected(law.body(None, case(law)), case(law), PRECISIONS[dtype])


def breaks(name: str, implementation: Any, dtype: str) -> bool:
    """Returns whether an implementation breaks a law on its tiny case."""
    law, implementation = LAWS[name], Implementation(implementation.with_precision(dtype))
    if missing := law.missing(implementation):
        raise ValueError(f"a planted backward pass offers every callable, {name} misses {missing}")
    if law.tier != "gradient":
        return evaluate(law, implementation, case(law)).seen is not None
    found = gradients.compare_slopes(
        implementation, law.body(implementation, case(law)), *_expected(name, dtype)
    )
    return any(one.rho > 1 for one in found)


def laws_that_kill(bug: str, dtype: str, names: Iterable[str] | None = None) -> list[str]:
    """Returns the laws, of all or of those named, that kill a planted bug of the backward pass."""
    implementation = BUGS[bug].implementation()
    return [name for name in names or laws() if breaks(name, implementation, dtype)]


@cache
def shipped() -> Kills:
    """Returns the committed kills."""
    text = resources.files("swin_properties.bugs.backward").joinpath("kills.json").read_text()
    kills: Kills = json.loads(text)
    return kills
