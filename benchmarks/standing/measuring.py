"""Times swin_torch beside every installed peer, in interleaved runs.

The ratio is that of the least times, the rival's over ours; its range is the quartiles of the ratios over the
rounds.  Where the machine was disturbed the answer is "inconclusive".
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from swin_properties.adapters.answers import Declined
from swin_properties.adapters.contract import CONTRACT
from swin_timing import interleaved
from swin_timing.interleaved import ROUNDS, Timings, stay_on_one_core

from benchmarks.cases.attention_operator import UNSHIFTED, make_case
from benchmarks.cases.case import NETWORKS, Case, find_network
from benchmarks.cases.contestants import ON_GPU, find_peers, find_variants
from benchmarks.cases.rivals import COMPILED, FROZEN, SDPA, load_rival
from benchmarks.cases.verdicts import explain_adapter_fault
from benchmarks.machine import description
from benchmarks.standing import products
from benchmarks.standing.goals import Measurement

STEPS = {"operator": "forward", "operator-training": "both", "operator-backward": "backward"}
"""The step of the attention operator that each kind of measurement runs."""

IN_FLOAT32 = "swin_torch, float32"
"""Our own network in float32, beside its run in another precision."""

PATIENCE = 3
"""A measurement takes at most this many times the rounds it needs, to find enough quiet ones."""


def explain_lack(measurement: Measurement) -> str:
    """Returns what this machine lacks for a measurement, empty if it lacks nothing."""
    needs = measurement.needs
    if needs == "gpu":
        return "" if torch.cuda.is_available() else "needs a GPU"
    return "" if not needs or needs in description.describe()["instructions"] else f"needs {needs}"


def report_refused(name: str, reason: Exception) -> None:
    """Prints to stderr which run is not timed, and why."""
    print(f"standing: {name} is not timed: {reason}", file=sys.stderr)


def make_runs(
    measurement: Measurement, refuse: Callable[[str, Exception], object] = report_refused
) -> dict[str, Callable[[], Any]]:
    """Returns the runs of a measurement by name: only those that compute Swin.

    ``refuse`` is called with the name of each other run and the reason.
    """
    if measurement.kind in STEPS:
        return _make_operator_runs(measurement, refuse)
    found = {}
    for name in _choose_names(measurement):
        try:
            found[name] = make_network_run(measurement, name)
        except (ValueError, Declined, ImportError) as reason:
            refuse(name, reason)
    of_network = measurement.kind in ("inference", "training") and measurement.device == "cpu"
    in_float32 = measurement.precision == "float32" and not measurement.autocast
    if of_network and in_float32:  # the products alone are those of float32
        config, image = NETWORKS[measurement.size]
        for name, multiply in products.BY.items():
            found[name] = products.make_run(
                config, image, measurement.batch, measurement.kind == "training", multiply
            )
    return found


def _make_operator_runs(
    m: Measurement, refuse: Callable[[str, Exception], object]
) -> dict[str, Callable[[], Any]]:
    """Returns the runs of the attention operator; ours and the usual rivals must compute Swin."""
    case = make_case(m.size, m.batch, getattr(torch, m.precision), m.device)
    for name in case.formulations:
        case.check(name)
    runs = {name: case.make_run(name, STEPS[m.kind]) for name in case.formulations}
    for name in m.beside:
        try:
            if name != UNSHIFTED:  # it computes another function, and is ours
                case.check(name)
            runs[name] = case.make_run(name, STEPS[m.kind])
        except Exception as reason:  # a compiler may fail in many ways
            refuse(name, reason)
    return runs


def _choose_names(m: Measurement) -> list[str]:
    """Returns our variants and the peers on the measurement's device."""
    if m.kind == "frozen":
        return ["swin_torch", f"swin_torch{FROZEN}", f"peer:timm{SDPA}{FROZEN}"]
    version = 1 if find_network(m.size) == "swin_transformer" else 2
    on_gpu = [name for name in find_peers(version) if name.endswith(ON_GPU)]
    if m.device == "cuda":
        return ["swin_torch:cuda", *(m.beside or on_gpu)]
    ours = [name for name in find_variants() if name not in ("swin_torch:cuda", "swin_torch:compiled")]
    peers = [name for name in find_peers(version) if name not in on_gpu]
    return [*ours, *peers, *([f"peer:timm{SDPA}"] if version == 1 else []), *m.beside]


def make_network_run(m: Measurement, name: str) -> Callable[[], Any]:
    """Returns a network's run, after judging it on a small case.

    Errors: ``ValueError`` where it computes another function.
    """
    if name == IN_FLOAT32:
        return make_network_run(replace(m, precision="float32", autocast=False), "swin_torch")
    contestant = load_rival(name)
    if m.precision != "float32":
        contestant = contestant.with_precision(m.precision)
    judged = load_rival(name.removesuffix(COMPILED))  # judging the compiled one would compile it twice
    if m.precision != "float32":
        judged = judged.with_precision(m.precision)
    whole = find_network(m.size)
    if why := explain_adapter_fault(judged, name, Case(whole, m.size).judged, m.precision):
        raise ValueError(why)
    arguments = Case(whole, m.size, m.batch).arguments
    run: Callable[[], Any]
    if m.kind != "training":
        run = contestant.prepare(whole, *arguments)
    else:
        cotangent = np.random.default_rng(2).standard_normal(CONTRACT[whole].shape(*arguments), np.float32)
        run = contestant.prepare("vjp", whole, cotangent, *arguments)
    return partial(_run_in_autocast, run, m.device) if m.autocast else run


def _run_in_autocast(run: Callable[[], Any], device: str) -> Any:
    with torch.autocast(device, torch.bfloat16):
        return run()


def measure(
    measurements: dict[str, Measurement], names: list[str], rounds: int = ROUNDS
) -> dict[str, Timings]:
    """Measures what is named, as far as this machine can.

    Errors: ``ValueError`` for an unknown name.
    """
    if unknown := [name for name in names if name not in measurements]:
        raise ValueError(
            f"a measurement is one of {', '.join(measurements)}, got {', '.join(unknown)}: use these"
        )
    found = {}
    for name in names:
        if not explain_lack(measurements[name]):
            wait = description.find_wait(measurements[name].device)
            runs = make_runs(measurements[name])
            with stay_on_one_core() if torch.get_num_threads() == 1 else nullcontext():
                found[name] = interleaved.measure(runs, rounds, wait=wait, patience=PATIENCE)
            spread = found[name].disturbance
            print(f"{measurements[name]}: the anchor's spread was {spread:.0%}", flush=True)
    return found
