"""Judges every small case of every contestant, and times the others where `--benchmark-enable` is given.

pytest benchmarks --benchmark-enable -k "attention and timm"
"""

from __future__ import annotations

import gc
from functools import partial
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from swin_properties.adapters.answers import Declined
from swin_properties.adapters.contract import CONTRACT

from benchmarks.cases import counters, operations
from benchmarks.cases.case import UNTRAINED, Case, make_cases
from benchmarks.cases.contestants import find_contestants, load_adapter, offers
from benchmarks.cases.verdicts import compare_with_oracle, explain_fault, widen
from benchmarks.machine.description import measure_ceilings
from swin_torch.attention.counting import count_launches

BACKWARD = 3
"""The operations of a training step in those of a forward: backward has two matmuls for each one."""

SECONDS = 0.3
"""About the seconds of all rounds; at least one is run, at most `ROUNDS`."""
ROUNDS = 9

COMPILED = ":compiled"
"""The ending of a compiled variant's name."""


def make_parameters(training: bool) -> list[Any]:
    """Returns a parameter for each case and contestant."""
    return [
        pytest.param(case, name, id=f"{case}-{name}", marks=_choose_marks(case, name))
        for case in make_cases()
        for name in find_contestants()
        if offers(name, case.component) and _is_timed(case, name, training)
    ]


def _choose_marks(case: Case, name: str) -> list[Any]:
    """Returns the marks: compiling takes a minute a case, and torch's compiler warns of torch's own code."""
    if name.endswith(COMPILED):
        return [pytest.mark.heavy, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
    return [] if case.level == "small" else [getattr(pytest.mark, case.level)]


def _is_timed(case: Case, name: str, training: bool) -> bool:
    """Returns whether a contestant is timed in a case.

    The oracle is timed only where the case is small, and has no backward.  The compiled variant compiles
    blocks and what holds them; the rest is as in the fused variant.
    """
    if name == "oracle" and (training or case.level != "small"):
        return False
    if name.endswith(COMPILED) and not (case.component.startswith("swin_") and case.level == "bench"):
        return False
    return not (training and case.component in UNTRAINED)


@pytest.mark.parametrize(("case", "name"), make_parameters(training=False))
def test_inference(benchmark: Any, case: Case, name: str) -> None:
    _skip_others(case, name)
    if name == "oracle":
        run = partial(getattr(load_adapter(name), case.component), *widen(case.arguments))
    else:
        run = _prepare(case, name, case.component, *case.arguments)
    _measure(benchmark, case, name, "inference", run)


@pytest.mark.parametrize(("case", "name"), make_parameters(training=True))
def test_training(benchmark: Any, case: Case, name: str) -> None:
    _skip_others(case, name)
    shape = CONTRACT[case.component].shape(*case.arguments)
    cotangent = np.random.default_rng(2).standard_normal(shape, np.float32)
    run = _prepare(case, name, "vjp", case.component, cotangent, *case.arguments)
    _measure(benchmark, case, name, "training", run)


def _skip_others(case: Case, name: str) -> None:
    """Skips a peer that is not Swin or does not load; fails if that is ours."""
    if why := explain_fault(name, case.judged):
        assert name.startswith("peer:"), why
        pytest.skip(why)


def _prepare(case: Case, name: str, *arguments: Any) -> Any:
    if case.component == "swin_transformer":
        gc.collect()  # frees the last network, whose run refers to itself
    try:
        return load_adapter(name).prepare(*arguments)
    except Declined as reason:
        pytest.skip(f"{name} does not take these sizes: {reason}")


def _measure(benchmark: Any, case: Case, name: str, step: str, run: Any) -> None:
    benchmark.group = f"{case} {step}"
    if not benchmark.disabled and _is_counted(name) and not count_launches(run):
        pytest.skip(f"{name} makes {case.component} with its model: there is nothing to time")
    start = perf_counter()
    result = run()
    seconds = max(perf_counter() - start, 1e-7)
    iterations = max(1, round(1e-3 / seconds))
    rounds = max(1, min(ROUNDS, round(SECONDS / (seconds * iterations))))
    benchmark.pedantic(run, rounds=rounds, iterations=iterations)
    assert _is_finite(result)
    if case.level == "small" and step == "inference" and name != "oracle":
        got = result.double().cpu().numpy()
        timed = SimpleNamespace(**{case.component: lambda *_: got})
        assert compare_with_oracle(timed, case, "float32").holds, "what is timed is another function"
    if not benchmark.disabled:
        benchmark.extra_info |= _collect_information(
            case, name, step == "training", run, benchmark.stats.stats.min
        )


def _collect_information(case: Case, name: str, training: bool, run: Any, seconds: float) -> dict[str, Any]:
    """Returns the shares of this machine's ceilings that the work reaches by formula, memory and counts."""
    device = getattr(load_adapter(name), "device", "cpu")
    matmul, copy = measure_ceilings(device)
    out = int(np.prod(CONTRACT[case.component].shape(*case.arguments)))
    moved = 4 * (operations.count_numbers(case.arguments) + out) * (2 if training else 1)
    work = case.work * (BACKWARD if training else 1)
    found = {
        "of_matmul": round(work / seconds / matmul, 4),
        "of_copy": round(moved / seconds / copy, 4),
    }
    if not _is_counted(name):
        return found | ({"peak_bytes": counters.measure_peak_bytes_of_numpy(run)} if name == "oracle" else {})
    first = case.arguments[0]
    return found | counters.count_all(run, getattr(first, "shape", None), training, device, out)


def _is_counted(name: str) -> bool:
    """Returns whether torch's operators can be counted: not for NumPy and not for compiled code."""
    return name != "oracle" and not name.endswith(COMPILED)


def _is_finite(result: Any) -> bool:
    """Returns whether a nested result has no NaN."""
    if isinstance(result, dict):
        return all(map(_is_finite, result.values()))
    if isinstance(result, (list, tuple)):
        return all(map(_is_finite, result))
    return result is None or not bool(torch.as_tensor(result).isnan().any())
