"""The goals of a GPU: ours beside judged peers in interleaved runs, and beside the card's floor."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from swin_timing.interleaved import Paired

from benchmarks.cases.attention_operator import stages
from benchmarks.cases.case import NETWORKS
from benchmarks.cases.rivals import COMPILED
from benchmarks.gpu import ceilings, roofline, search
from benchmarks.gpu.part import Part, end_with_parent, reason
from benchmarks.standing import measuring, page
from benchmarks.standing.goals import Goal, Measurement, read

REHEARSED = "gpu-operator-stage1", "gpu-backward-stage1", "gpu-inference"
"""What a rehearsal measures, at its own sizes."""


def run(part: Part) -> None:
    """Measures one after the other while time is left, with the best choices that the search found."""
    search.use(part.folder)
    measurements, wanted, _ = read()
    mine = {name: m for name, m in measurements.items() if m.needs == "gpu"}
    if part.reduced:
        part.record.leave_out("what is compiled", "a rehearsal compiles nothing")
        mine = {name: small(mine[name]) for name in REHEARSED}
    part.each({str(m): partial(measure, part, name, m, wanted) for name, m in mine.items()})


def small(m: Measurement) -> Measurement:
    """Returns a measurement as a rehearsal makes it: on the CPU, at a size for the interpreter."""
    size = "reduced" if m.kind in measuring.STEPS else "small"
    return replace(m, what=f"{m.what}, reduced", size=size, batch=1, needs="")


def measure(part: Part, name: str, m: Measurement, wanted: list[Goal]) -> None:
    """Writes down the times of a measurement, and which of its goals are reached."""
    refused: dict[str, str] = {}
    runs = measuring.runs(m, lambda who, why: refused.update({who: reason(why)}))
    runs = {who: one for who, one in runs.items() if who.startswith(("swin_torch:", "fused", *PEERS))}
    paired = part.clock.measured(runs, part.wait)
    least = floor(m, ceilings.of(part, m.precision if not m.autocast else "bfloat16"))
    paired = replace(paired, times=paired.times | {"floor": (least,) * len(paired.anchor)})
    found: dict[str, Any] = {
        "seconds": {who: paired.best(who) for who in paired.times},
        "refused": refused,
        "disturbance": paired.disturbance,
        "goals": list(reached(name, wanted, paired)),
    }
    if m.kind in ("inference", "training"):
        found["images a second"] = {who: m.batch / seconds for who, seconds in found["seconds"].items()}
    part.record.add(str(m), found)
    for goal in found["goals"]:
        print(f"{m}: {goal['ratio']:.2f}x {goal['theirs']}: {goal['reached']}", flush=True)


PEERS = "peer:", "manual", "sdpa", "compiled", "unshifted"


def reached(name: str, wanted: list[Goal], paired: Paired) -> list[dict[str, Any]]:
    """Returns what a measurement says of each of its goals."""
    found = []
    for goal in (goal for goal in wanted if name in goal.measurements):
        if compared := page.compared(goal, paired):
            ratio = paired.best("floor") / paired.best(compared.ours)
            found.append(asdict(goal) | compared._asdict() | {"of_floor": ratio})
    return found


def floor(m: Measurement, of_card: tuple[float, float]) -> float:
    """Returns the least seconds that the card needs for a measurement's work."""
    if m.kind in measuring.STEPS:
        sizes = stages()[m.size]
        forward, backward = roofline.attention(m.batch * sizes.side**2, sizes.channels, of_card)
        return {"forward": forward, "backward": backward, "both": forward + backward}[measuring.STEPS[m.kind]]
    config, _ = NETWORKS[m.size]
    seconds = roofline.network(config, m.batch, of_card)
    return roofline.TRAINING * seconds if m.kind == "training" else seconds


def compile_ahead() -> None:
    """Compiles the rivals of the networks, whose code PyTorch then finds in its cache: a minute each."""
    end_with_parent()
    measurements, _, _ = read()
    for m in measurements.values():
        if m.needs == "gpu" and m.kind in ("inference", "training"):
            with suppress(Exception):  # the part that measures says what is wrong with it
                measuring._network_run(m, f"peer:timm{measuring.ON_GPU}{COMPILED}")()
            torch.cuda.empty_cache()
