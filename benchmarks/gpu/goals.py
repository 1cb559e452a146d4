"""Measures the goals on a GPU: ours beside peers in interleaved runs, and beside the roofline."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from swin_timing.interleaved import Timings

from benchmarks.cases.attention_operator import BESIDE, FLEX, V2, find_sizes, make_case
from benchmarks.cases.case import NETWORKS, find_network
from benchmarks.cases.rivals import COMPILED
from benchmarks.gpu import captured, ceilings, record, roofline, search
from benchmarks.gpu.part import Part, end_with_parent, make_reason
from benchmarks.standing import comparison, measuring
from benchmarks.standing.goals import Goal, Measurement, read

RIVALS = "peer:", "manual", "sdpa", "compiled", *BESIDE
"""How the names of the rivals' runs begin."""

REHEARSED = (
    *("gpu-operator-stage1", "gpu-backward-stage1", "gpu-inference"),
    *("gpu-operator-v2-stage1", "gpu-backward-v2-stage1", "gpu-inference-v2"),
)
"""The measurements of a rehearsal, which reduces their sizes."""


def run(part: Part) -> None:
    """Measures one after the other while time is left, with the best choices of the search."""
    search.use(part.folder)
    measurements, wanted, _ = read()
    mine = {name: m for name, m in measurements.items() if m.needs == "gpu"}
    if part.reduced:
        part.record.leave_out("what is compiled", "a rehearsal compiles nothing")
        mine = {name: reduce(mine[name]) for name in REHEARSED}
    part.do_each({str(m): partial(measure, part, name, m, wanted) for name, m in mine.items()})


def reduce(m: Measurement) -> Measurement:
    """Returns a measurement reduced for a rehearsal: on the CPU, at a size for the interpreter."""
    reduced = replace(m, what=f"{m.what}, reduced", batch=1, needs="")
    if m.kind in measuring.STEPS:
        eager = tuple(name for name in m.beside if name != FLEX)  # a rehearsal compiles nothing
        return replace(reduced, size=f"{V2}reduced" if m.size.startswith(V2) else "reduced", beside=eager)
    size = "tiny" if find_network(m.size) == "swin_transformer" else "V2-tiny"
    return replace(reduced, size=size, beside=())  # those are rivals on a GPU


def measure(part: Part, name: str, m: Measurement, wanted: list[Goal]) -> None:
    """Records the times of a measurement and what they say of its goals.

    The runs are captured as CUDA graphs; how long their calls from Python take is recorded beside that.
    """
    started = part.clock.now()
    refused: dict[str, str] = {}
    found: dict[str, Any] = {"refused": refused}
    if not part.reduced:
        with captured.on_side_stream() as stream:
            called = make_runs(m, refused)
            runs = {who: try_to_capture(who, run, stream, refused) for who, run in called.items()}
            timings = part.clock.measure(called, part.wait)
            found[record.CALLED] = {who: timings.best(who) for who in timings.times}
    else:
        runs = make_runs(m, refused)
    timings = part.clock.measure(runs, part.wait)
    least = estimate_least(m, ceilings.find(part, m.precision if not m.autocast else "bfloat16"))
    timings = replace(timings, times={**timings.times, "roofline": (least,) * len(timings.anchor)})
    found |= {
        "seconds": {who: timings.best(who) for who in timings.times},
        "disturbance": timings.disturbance,
        "goals": list(compare_with_goals(name, wanted, timings)),
        "took": part.clock.now() - started,
    }
    if m.kind in ("inference", "training"):
        found["images a second"] = {who: m.batch / seconds for who, seconds in found["seconds"].items()}
    part.record.add(str(m), found)
    for goal in found["goals"]:
        print(f"{m}: {goal['ratio']:.2f}x {goal['theirs']}: {goal['reached']}", flush=True)


def make_runs(m: Measurement, refused: dict[str, str]) -> dict[str, Callable[[], object]]:
    """Returns our runs and those of the rivals."""
    runs = measuring.make_runs(m, lambda who, why: refused.update({who: make_reason(why)}))
    return {who: one for who, one in runs.items() if who.startswith(("swin_torch", "fused", *RIVALS))}


def try_to_capture(
    who: str, run: Callable[[], object], stream: Any, refused: dict[str, str]
) -> Callable[[], object]:
    """Returns a run as a CUDA graph; the run itself, and why, where it cannot be captured."""
    try:
        return captured.capture(run, stream)
    except RuntimeError as error:
        refused[f"{who} as a CUDA graph"] = make_reason(error)
        return run


def compare_with_goals(name: str, wanted: list[Goal], timings: Timings) -> list[dict[str, Any]]:
    """Returns what a measurement says of each of its goals."""
    found = []
    for goal in (goal for goal in wanted if name in goal.measurements):
        if compared := comparison.compare(goal, timings):
            ratio = timings.best("roofline") / timings.best(compared.ours)
            found.append(asdict(goal) | compared._asdict() | {"of_roofline": ratio})
    return found


def estimate_least(m: Measurement, of_card: tuple[float, float]) -> float:
    """Returns the least seconds that the card needs for a measurement's work."""
    if m.kind in measuring.STEPS:
        sizes = find_sizes(m.size)
        forward, backward = roofline.estimate_attention(m.batch * sizes.side**2, sizes.channels, of_card)
        return {"forward": forward, "backward": backward, "both": forward + backward}[measuring.STEPS[m.kind]]
    config, _ = NETWORKS[m.size]
    seconds = roofline.estimate_network(config, m.batch, of_card)
    return roofline.TRAINING * seconds if m.kind == "training" else seconds


def list_compiled() -> list[str]:
    """Returns the names of the measurements in which a rival is compiled."""
    measurements, _, _ = read()
    return [
        name
        for name, m in measurements.items()
        if m.needs == "gpu" and (m.kind in measuring.STEPS or any(map(is_compiled, m.beside)))
    ]


def is_compiled(rival: str) -> bool:
    """Returns whether a rival's name says that it is compiled."""
    return rival.endswith(COMPILED)


def compile_ahead(name: str) -> None:
    """Compiles the rival of a measurement, up to a minute, so that PyTorch finds its code in its cache."""
    end_with_parent()
    m = read()[0][name]
    with suppress(Exception):  # the part `goals` reports what is wrong with it
        if m.kind in measuring.STEPS:
            case = make_case(m.size, m.batch, getattr(torch, m.precision), m.device)
            case.make_run("compiled", measuring.STEPS[m.kind])()
        else:
            for rival in filter(is_compiled, m.beside):
                measuring.make_network_run(m, rival)()
    torch.cuda.synchronize()
