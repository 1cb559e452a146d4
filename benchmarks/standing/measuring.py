"""Where swin_torch stands beside every installed peer, in interleaved runs: `make standing`.

The ratio is that of minima, the rival's time over ours; its range are the quartiles of the ratios round by
round.  Where the machine was disturbed the answer is "inconclusive".
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from swin_properties.adapters.answers import Declined
from swin_properties.adapters.contract import CONTRACT
from swin_timing.interleaved import ROUNDS, Paired, measured, on_one_core

from benchmarks.cases.attention_operator import Case as OperatorCase
from benchmarks.cases.attention_operator import stages
from benchmarks.cases.case import NETWORKS, Case
from benchmarks.cases.contestants import ON_GPU, peers, variants
from benchmarks.cases.rivals import COMPILED, FROZEN, SDPA, rival
from benchmarks.cases.verdicts import fault_of
from benchmarks.machine import description
from benchmarks.standing import products
from benchmarks.standing.goals import Measurement

WHOLE = "swin_transformer"

STEPS = {"operator": "forward", "operator-training": "both", "operator-backward": "backward"}
"""What runs of the attention operator by the measurement's kind."""

PATIENCE = 3
"""How many times the rounds that it needs a measurement waits for as many quiet ones."""


def missing(measurement: Measurement) -> str:
    """What this machine lacks for a measurement; empty where nothing."""
    needs = measurement.needs
    if needs == "gpu":
        return "" if torch.cuda.is_available() else "needs a GPU"
    return "" if not needs or needs in description.described()["instructions"] else f"needs {needs}"


def not_timed(name: str, reason: Exception) -> None:
    """Says on stderr who is not timed, and why."""
    print(f"standing: {name} is not timed: {reason}", file=sys.stderr)


def runs(
    measurement: Measurement, refuse: Callable[[str, Exception], object] = not_timed
) -> dict[str, Callable[[], Any]]:
    """The runs of a measurement by name, of those alone that compute Swin; ``refuse`` is told the others."""
    if measurement.kind in STEPS:
        return _operator_runs(measurement)
    found = {}
    for name in _names(measurement):
        try:
            found[name] = _network_run(measurement, name)
        except (ValueError, Declined, ImportError) as reason:
            refuse(name, reason)
    if measurement.kind in ("inference", "training") and measurement.device == "cpu":
        sizes = *NETWORKS[measurement.size], measurement.batch
        for name, multiply in products.BY.items():
            found[name] = products.run(*sizes, measurement.kind == "training", multiply)
    return found


def _operator_runs(m: Measurement) -> dict[str, Callable[[], Any]]:
    case = OperatorCase(stages()[m.size], m.batch, getattr(torch, m.precision), m.device)
    for name in case.formulations:
        case.check(name)
    return {name: case.run(name, STEPS[m.kind]) for name in (*case.formulations, *m.beside)}


def _names(m: Measurement) -> list[str]:
    """Who takes part: ours and the peers on the measurement's device."""
    if m.kind == "frozen":
        return ["swin_torch", f"swin_torch{FROZEN}", f"peer:timm{SDPA}{FROZEN}"]
    compiled = f"peer:timm{ON_GPU}{COMPILED}"
    if (
        m.device == "cuda" and m.size != "T-224"
    ):  # each is compiled for a minute: the one that is compared with
        return ["swin_torch:cuda", compiled]
    if m.device == "cuda":
        theirs = [name for name in peers() if name.endswith(ON_GPU)]
        return ["swin_torch:cuda", *theirs, compiled]
    ours = [name for name in variants() if name not in ("swin_torch:cuda", "swin_torch:compiled")]
    return [*ours, *(name for name in peers() if not name.endswith(ON_GPU)), f"peer:timm{SDPA}"]


def _network_run(m: Measurement, name: str) -> Callable[[], Any]:
    contestant = rival(name)
    if m.precision != "float32":
        contestant = contestant.with_precision(m.precision)
    judged = rival(name.removesuffix(COMPILED))  # the compiler is PyTorch's to judge, and takes a minute
    if m.precision != "float32":
        judged = judged.with_precision(m.precision)
    if why := fault_of(judged, name, Case(WHOLE, m.size).judged, m.precision):
        raise ValueError(why)
    arguments = Case(WHOLE, m.size, m.batch).arguments
    if m.kind != "training":
        run = contestant.prepare(WHOLE, *arguments)
    else:
        cotangent = np.random.default_rng(2).standard_normal(CONTRACT[WHOLE].shape(*arguments), np.float32)
        run = contestant.prepare("vjp", WHOLE, cotangent, *arguments)
    return partial(_in_autocast, run, m.device) if m.autocast else run


def _in_autocast(run: Callable[[], Any], device: str) -> Any:
    with torch.autocast(device, torch.bfloat16):
        return run()


def measure(
    measurements: dict[str, Measurement], names: list[str], rounds: int = ROUNDS
) -> dict[str, Paired]:
    """Those of the named measurements that this machine can make.

    Errors: ``ValueError`` for a name that is none.
    """
    if unknown := [name for name in names if name not in measurements]:
        raise ValueError(
            f"a measurement is one of {', '.join(measurements)}, got {', '.join(unknown)}: use these"
        )
    found = {}
    for name in names:
        if not missing(measurements[name]):
            wait = description.wait_for(measurements[name].device)
            with on_one_core() if torch.get_num_threads() == 1 else nullcontext():
                found[name] = measured(runs(measurements[name]), rounds, wait=wait, patience=PATIENCE)
            spread = found[name].disturbance
            print(f"{measurements[name]}: the anchor's spread was {spread:.0%}", flush=True)
    return found
