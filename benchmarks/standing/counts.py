"""What `make standing` counts: launches and bytes that training keeps, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable

import torch

import swin_torch
from benchmarks.cases.case import Case
from benchmarks.cases.contestants import ON_GPU, peers
from benchmarks.cases.counters import saved_bytes as kept_by_peer
from benchmarks.cases.rivals import SDPA, rival
from benchmarks.cases.verdicts import fault
from benchmarks.standing.goals import Limit
from swin_torch.attention.counting import as_on_a_gpu, launches, launches_on_a_gpu, saved_bytes

WHOLE = "swin_transformer"


def rows(limits: list[Limit]) -> list[list[str]]:
    """A row for each limit, as standing's table has them."""
    lines = []
    for limit in limits:
        ours, theirs = COUNTS[limit.count]
        mine, others = ours(), {name: theirs(name) for name in _peers()}
        least = min(others, key=lambda name: others[name], default=None)
        beside = [f"{least} {others[least]:g}", f"{others[least] / mine:.2f}x"] if least else ["", ""]
        steps = f"{limit.must:g} / {limit.aim:g} / {limit.moonshot:g} at most"
        lines.append([limit.what, f"{mine:g}", *beside, steps, limit.reached(mine)])
    return lines


def _peers() -> list[str]:
    """Those that load and are Swin, on the CPU, which launches as many operators."""
    plain = [name for name in peers() if not name.endswith(ON_GPU) and not fault(name, Case(WHOLE, "small"))]
    return [*plain, f"peer:timm{SDPA}"] if "peer:timm" in plain else plain


def _launches() -> float:
    model = swin_torch.swin_t().bfloat16().eval()
    images = torch.zeros(1, 3, 224, 224, dtype=torch.bfloat16)
    with torch.no_grad():
        return launches_on_a_gpu(lambda: model(images)).total()


def _launches_of(name: str) -> float:
    return launches(rival(name).prepare(WHOLE, *Case(WHOLE, "T-224").arguments)).total()


def _kept() -> float:
    model = swin_torch.swin_t().bfloat16()
    images = torch.zeros(1, 3, 224, 224, dtype=torch.bfloat16)
    with as_on_a_gpu():
        return round(saved_bytes(lambda: model(images), model) / 1e6, 1)


def _kept_of(name: str) -> float:
    images, *rest = Case(WHOLE, "T-224").arguments
    cotangent = torch.ones(1, 1000).numpy()
    run = rival(name).with_precision("bfloat16").prepare("vjp", WHOLE, cotangent, images, *rest)
    return round(kept_by_peer(run, images.shape) / 1e6, 1)


COUNTS: dict[str, tuple[Callable[[], float], Callable[[str], float]]] = {
    "launches": (_launches, _launches_of),
    "kept": (_kept, _kept_of),
}
"""By name: ours, and a peer's."""
