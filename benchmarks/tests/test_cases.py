"""Every case, by every contestant that offers it: judged where it is small, timed where times are asked for.

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
from pytest_benchmark.fixture import BenchmarkFixture
from swin_properties.adapters.answers import Declined
from swin_properties.adapters.contract import CONTRACT

from benchmarks.cases import counters, operations
from benchmarks.cases.case import UNTRAINED, Case, cases
from benchmarks.cases.contestants import adapter, contestants, offers
from benchmarks.cases.verdicts import compare_with_oracle, fault, wide
from benchmarks.machine.description import ceilings
from swin_torch.attention.counting import launches

BACKWARD = 3
"""A training step's operations in those of its forward: each matmul has two more in backward."""

SECONDS = 0.3
"""Of rounds, about: at least one is run, at most `ROUNDS`."""
ROUNDS = 9

COMPILED = ":compiled"
"""How the name of what is compiled ends."""


def parameters(training: bool) -> list[Any]:
    """One for each case and contestant."""
    return [
        pytest.param(case, name, id=f"{case}-{name}", marks=_marks(case, name))
        for case in cases()
        for name in contestants()
        if offers(name, case.component) and _is_timed(case, name, training)
    ]


def _marks(case: Case, name: str) -> list[Any]:
    """Compiling takes a minute a case, and torch's compiler warns of what torch itself does."""
    if name.endswith(COMPILED):
        return [pytest.mark.heavy, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
    return [] if case.level == "small" else [getattr(pytest.mark, case.level)]


def _is_timed(case: Case, name: str, training: bool) -> bool:
    """The oracle, float64 in NumPy, only where it is small; it has no backward.

    What is compiled are blocks and what holds them: the rest is as in the fused variant.
    """
    if name == "oracle" and (training or case.level != "small"):
        return False
    if name.endswith(COMPILED) and not (case.component.startswith("swin_") and case.level == "bench"):
        return False
    return not (training and case.component in UNTRAINED)


@pytest.mark.parametrize(("case", "name"), parameters(training=False))
def test_inference(benchmark: BenchmarkFixture, case: Case, name: str) -> None:
    _refuse_others(case, name)
    if name == "oracle":
        run = partial(getattr(adapter(name), case.component), *wide(case.arguments))
    else:
        run = _prepared(case, name, case.component, *case.arguments)
    _time(benchmark, case, name, "inference", run)


@pytest.mark.parametrize(("case", "name"), parameters(training=True))
def test_training(benchmark: BenchmarkFixture, case: Case, name: str) -> None:
    _refuse_others(case, name)
    shape = CONTRACT[case.component].shape(*case.arguments)
    cotangent = np.random.default_rng(2).standard_normal(shape, np.float32)
    run = _prepared(case, name, "vjp", case.component, cotangent, *case.arguments)
    _time(benchmark, case, name, "training", run)


def _refuse_others(case: Case, name: str) -> None:
    """A peer that is no Swin, or does not load, is named and not timed; ours may not be."""
    if why := fault(name, case.judged):
        assert name.startswith("peer:"), why
        pytest.skip(why)


def _prepared(case: Case, name: str, *arguments: Any) -> Any:
    if case.component == "swin_transformer":
        gc.collect()  # what is prepared refers to itself: the last network's weights wait for the collector
    try:
        return adapter(name).prepare(*arguments)
    except Declined as reason:
        pytest.skip(f"{name} does not take these sizes: {reason}")


def _time(benchmark: BenchmarkFixture, case: Case, name: str, step: str, run: Any) -> None:
    benchmark.group = f"{case} {step}"
    if not benchmark.disabled and _is_counted(name) and not launches(run):
        pytest.skip(f"{name} has {case.component} at hand, made with its model: there is nothing to time")
    start = perf_counter()
    result = run()
    seconds = max(perf_counter() - start, 1e-7)
    iterations = max(1, round(1e-3 / seconds))
    rounds = max(1, min(ROUNDS, round(SECONDS / (seconds * iterations))))
    benchmark.pedantic(run, rounds=rounds, iterations=iterations)
    assert _finite(result)
    if case.level == "small" and step == "inference" and name != "oracle":
        got = result.double().cpu().numpy()
        timed = SimpleNamespace(**{case.component: lambda *_: got})
        assert compare_with_oracle(timed, case, "float32").holds, "what is timed is another function"
    if not benchmark.disabled:
        benchmark.extra_info |= _information(case, name, step == "training", run, benchmark.stats.stats.min)


def _information(case: Case, name: str, training: bool, run: Any, seconds: float) -> dict[str, Any]:
    """The shares of this machine's ceilings that the work, as formulas have it, reaches; memory; counts."""
    device = getattr(adapter(name), "device", "cpu")
    matmul, copy = ceilings(device)
    out = int(np.prod(CONTRACT[case.component].shape(*case.arguments)))
    moved = 4 * (operations.numbers(case.arguments) + out) * (2 if training else 1)
    work = case.work * (BACKWARD if training else 1)
    found = {
        "of_matmul": round(work / seconds / matmul, 4),
        "of_copy": round(moved / seconds / copy, 4),
    }
    if not _is_counted(name):
        return found | ({"peak_bytes": counters.peak_bytes_of_numpy(run)} if name == "oracle" else {})
    first = case.arguments[0]
    return found | counters.counted(run, getattr(first, "shape", None), training, device, out)


def _is_counted(name: str) -> bool:
    """Whether torch's operators tell what is done: not NumPy's work, not the compiler's."""
    return name != "oracle" and not name.endswith(COMPILED)


def _finite(result: Any) -> bool:
    """Whether there are no NaN in a result at any level."""
    if isinstance(result, dict):
        return all(map(_finite, result.values()))
    if isinstance(result, (list, tuple)):
        return all(map(_finite, result))
    return result is None or not bool(torch.as_tensor(result).isnan().any())
