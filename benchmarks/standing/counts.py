"""Counts what is the same on every machine: launches of a forward, and bytes that training keeps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

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

Network = tuple[Callable[[], nn.Module], int, str, str, int]
"""A network of ours, its side in pixels, the callable and the size of its cases, and the version of Swin."""

SWIN_T: Network = (swin_torch.swin_t, 224, "swin_transformer", "T-224", 1)
SWIN_V2_T: Network = (swin_torch.swin_v2_t, 256, "swin_v2_transformer", "V2-T-256", 2)


def make_rows(limits: list[Limit]) -> list[list[str]]:
    """Returns a row for each limit, with the columns of standing's table."""
    lines = []
    for limit in limits:
        ours, theirs, network = COUNTS[limit.count]
        mine, others = ours(network), {name: theirs(name, network) for name in _choose_peers(network)}
        least = min(others, key=lambda name: others[name], default=None)
        beside = [f"{least} {others[least]:g}", f"{others[least] / mine:.2f}x"] if least else ["", ""]
        steps = f"{limit.must:g} / {limit.aim:g} / {limit.moonshot:g} at most"
        lines.append([limit.what, f"{mine:g}", *beside, steps, limit.find_reached(mine)])
    return lines


def count(limit: Limit) -> float:
    """Returns what a limit counts of ours."""
    ours, _, network = COUNTS[limit.count]
    return ours(network)


def _choose_peers(network: Network) -> list[str]:
    """Returns the peers that load and compute Swin; on the CPU, which launches as many operators as a GPU."""
    *_, whole, size, version = network
    plain = [
        name
        for name in find_peers(version)
        if not name.endswith(ON_GPU) and not explain_fault(name, Case(whole, size).judged)
    ]
    return [*plain, f"peer:timm{SDPA}"] if "peer:timm" in plain else plain


def _count_launches(network: Network) -> float:
    make, side, *_ = network
    model = make().bfloat16().eval()
    images = torch.zeros(1, 3, side, side, dtype=torch.bfloat16)
    with torch.no_grad():
        return count_launches_on_a_gpu(lambda: model(images)).total()


def _count_launches_of(name: str, network: Network) -> float:
    *_, whole, size, _ = network
    return count_launches(load_rival(name).prepare(whole, *Case(whole, size).arguments)).total()


def _count_kept(network: Network) -> float:
    make, side, *_ = network
    model = make().bfloat16()
    images = torch.zeros(1, 3, side, side, dtype=torch.bfloat16)
    with count_as_on_a_gpu():
        return round(count_saved_bytes(lambda: model(images), model) / 1e6, 1)


def _count_kept_of(name: str, network: Network) -> float:
    *_, whole, size, _ = network
    images, *rest = Case(whole, size).arguments
    cotangent = torch.ones(1, 1000).numpy()
    run = load_rival(name).with_precision("bfloat16").prepare("vjp", whole, cotangent, images, *rest)
    return round(kept_by_peer(run, images.shape) / 1e6, 1)


COUNTS: dict[str, tuple[Callable[[Network], float], Callable[[str, Network], float], Network]] = {
    "launches": (_count_launches, _count_launches_of, SWIN_T),
    "kept": (_count_kept, _count_kept_of, SWIN_T),
    "launches-v2": (_count_launches, _count_launches_of, SWIN_V2_T),
    "kept-v2": (_count_kept, _count_kept_of, SWIN_V2_T),
}
"""By name: the function that counts ours, the one that counts a peer's, and the network."""
