"""What one run needs beside time: peak memory, operators started, bytes kept for backward."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from swin_torch.attention.counting import kept_bytes, launches

Run = Callable[[], Any]


def counted(
    run: Run, inputs: tuple[int, ...] | None, training: bool, device: str, out: int
) -> dict[str, int]:
    """All that applies of peak_bytes, launches and, of a training step, saved_bytes.

    ``inputs`` is the shape of the grid or images: the leaves of any other shape are parameters.  ``out``
    is how many float32 numbers the output has: the cotangent, which the loss keeps, has as many.
    """
    found = {
        "peak_bytes": peak_bytes_on_gpu(run) if device == "cuda" else peak_bytes(run),
        "launches": launches(run).total(),
    }
    return found | ({"saved_bytes": saved_bytes(run, inputs) - 4 * out} if training else {})


def peak_bytes(run: Run) -> int:
    """The most memory that torch holds at once for a run, beyond what it held before.

    >>> peak_bytes(lambda: torch.zeros(1000, dtype=torch.float64).exp())
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


def peak_bytes_on_gpu(run: Run) -> int:
    """The same on the GPU."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before


def peak_bytes_of_numpy(run: Run) -> int:
    """The same of Python and NumPy.

    >>> import numpy as np
    >>> 8000 <= peak_bytes_of_numpy(lambda: np.ones(1000)) < 10000
    True
    """
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def saved_bytes(run: Run, inputs: tuple[int, ...] | None) -> int:
    """The bytes that a training step keeps for its backward, each memory once, parameters not counted.

    A parameter is a leaf of another shape than ``inputs``.

    >>> x, weight = torch.ones(3, 2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    >>> saved_bytes(lambda: (x @ weight).exp(), (3, 2))
    48
    """

    def is_parameter(x: Tensor) -> bool:
        root = x if x._base is None else x._base
        return root.requires_grad and root.is_leaf and root.shape != inputs

    return kept_bytes(run, is_parameter)
