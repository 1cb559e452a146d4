"""Captures runs as CUDA graphs, whose times are the GPU's alone.

A launch from Python can take longer than the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

WARM_UPS = 3
"""The calls before a capture: they compile and allocate."""


@contextmanager
def on_side_stream() -> Iterator[Any]:
    """Makes another stream than the default one the current one: only such a stream can be captured."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield stream
    torch.cuda.synchronize()


def capture(run: Callable[[], object], stream: Any) -> Callable[[], object]:
    """Returns a function that starts the same kernels as ``run`` in one launch.

    Errors: ``RuntimeError`` for a run that waits for the GPU, or does not always start the same kernels.
    """
    for _ in range(WARM_UPS):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        run()
    return graph.replay
