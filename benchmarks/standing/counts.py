"""Counts what is the same on every machine: launches of a forward, and bytes that training keeps."""

from __future__ import annotations

from collections.abc import Callable

import torch

import swin_torch
from benchmarks.cases.case import Case
from benchmarks.cases.contestants import ON_GPU, find_peers
from benchmarks.cases.counters import count_saved_bytes as kept_by_peer
from benchmarks.cases.rivals import SDPA, load_rival
from benchmarks.cases.verdicts import explain_fault
from benchmarks.standing.goals import Limit
from swin_torch.attention.counting import (
    count_as_on_a_gpu,
    count_launches,
    count_launches_on_a_gpu,
    count_saved_bytes,
)

WHOLE = "swin_transformer"


def make_rows(limits: list[Limit]) -> list[list[str]]:
    """Returns a row for each limit, with the columns of standing's table."""
    lines = []
    for limit in limits:
        ours, theirs = COUNTS[limit.count]
        mine, others = ours(), {name: theirs(name) for name in _choose_peers()}
        least = min(others, key=lambda name: others[name], default=None)
        beside = [f"{least} {others[least]:g}", f"{others[least] / mine:.2f}x"] if least else ["", ""]
        steps = f"{limit.must:g} / {limit.aim:g} / {limit.moonshot:g} at most"
        lines.append([limit.what, f"{mine:g}", *beside, steps, limit.find_reached(mine)])
    return lines


def _choose_peers() -> list[str]:
    """Returns the peers that load and compute Swin; on the CPU, which launches as many operators as a GPU."""
    plain = [
        name
        for name in find_peers()
        if not name.endswith(ON_GPU) and not explain_fault(name, Case(WHOLE, "small"))
    ]
    return [*plain, f"peer:timm{SDPA}"] if "peer:timm" in plain else plain


def _count_launches() -> float:
    model = swin_torch.swin_t().bfloat16().eval()
    images = torch.zeros(1, 3, 224, 224, dtype=torch.bfloat16)
    with torch.no_grad():
        return count_launches_on_a_gpu(lambda: model(images)).total()


def _count_launches_of(name: str) -> float:
    return count_launches(load_rival(name).prepare(WHOLE, *Case(WHOLE, "T-224").arguments)).total()


def _count_kept() -> float:
    model = swin_torch.swin_t().bfloat16()
    images = torch.zeros(1, 3, 224, 224, dtype=torch.bfloat16)
    with count_as_on_a_gpu():
        return round(count_saved_bytes(lambda: model(images), model) / 1e6, 1)


def _count_kept_of(name: str) -> float:
    images, *rest = Case(WHOLE, "T-224").arguments
    cotangent = torch.ones(1, 1000).numpy()
    run = load_rival(name).with_precision("bfloat16").prepare("vjp", WHOLE, cotangent, images, *rest)
    return round(kept_by_peer(run, images.shape) / 1e6, 1)


COUNTS: dict[str, tuple[Callable[[], float], Callable[[str], float]]] = {
    "launches": (_count_launches, _count_launches_of),
    "kept": (_count_kept, _count_kept_of),
}
"""By name: the function that counts ours, and the one that counts a peer's."""
