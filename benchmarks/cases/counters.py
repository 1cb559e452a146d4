"""Counts what a run needs beside time: peak memory, operators started, bytes kept for backward."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from swin_torch.attention.counting import count_kept_bytes, count_launches

Run = Callable[[], Any]


def count_all(
    run: Run, inputs: tuple[int, ...] | None, training: bool, device: str, out: int
) -> dict[str, int]:
    """Returns peak_bytes and launches, and saved_bytes of a training step.

    ``inputs`` is the shape of the grid or images; a leaf of any other shape counts as a parameter.  ``out``
    is the number of float32 numbers in the output: the loss keeps a cotangent of that size, which does not
    count.
    """
    found = {
        "peak_bytes": measure_peak_bytes_on_gpu(run) if device == "cuda" else measure_peak_bytes(run),
        "launches": count_launches(run).total(),
    }
    return found | ({"saved_bytes": count_saved_bytes(run, inputs) - 4 * out} if training else {})


def measure_peak_bytes(run: Run) -> int:
    """Returns the most bytes that torch allocates during a run, beyond what it held before.

    >>> measure_peak_bytes(lambda: torch.zeros(1000, dtype=torch.float64).exp())
    16000
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def measure_peak_bytes_on_gpu(run: Run) -> int:
    """Returns the same on the GPU."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before


def measure_peak_bytes_of_numpy(run: Run) -> int:
    """Returns the same for Python and NumPy.

    >>> import numpy as np
    >>> 8000 <= measure_peak_bytes_of_numpy(lambda: np.ones(1000)) < 10000
    True
    """
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def count_saved_bytes(run: Run, inputs: tuple[int, ...] | None) -> int:
    """Returns the bytes that a training step keeps for its backward, without parameters.

    Memory that several tensors share counts once.  A parameter is a leaf of another shape than ``inputs``.

    >>> x, weight = torch.ones(3, 2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    >>> count_saved_bytes(lambda: (x @ weight).exp(), (3, 2))
    48
    """

    def is_parameter(x: Tensor) -> bool:
        root = x if x._base is None else x._base
        return root.requires_grad and root.is_leaf and root.shape != inputs

    return count_kept_bytes(run, is_parameter)
