"""CUDA graphs: the launches of a forward are recorded once and replayed, for small batches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def graphed(model: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns the inference of a model at the size of ``images`` as one CUDA graph.

    The returned function takes images of that shape; its output is overwritten by its next call.

    Errors: ``ValueError`` for images that are not on a GPU, or later of another shape.

    >>> graphed(nn.Identity(), torch.zeros(1))
    Traceback (most recent call last):
    ValueError: a CUDA graph records work of a GPU, got images on cpu: move model and images there
    """
    if not images.is_cuda:
        raise ValueError(
            f"a CUDA graph records work of a GPU, got images on {images.device}: move model and images there"
        )
    own, graph, beside = images.clone(), torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.no_grad():
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # kernels are compiled and memory is taken ahead of the recording
            for _ in range(3):
                model(own)
        torch.cuda.current_stream().wait_stream(beside)
        with torch.cuda.graph(graph):
            logits = model(own)

    def replay(given: Tensor) -> Tensor:
        if given.shape != own.shape:
            raise ValueError(
                f"a CUDA graph is of one shape, got images {tuple(given.shape)} for {tuple(own.shape)}: "
                "record another"
            )
        own.copy_(given)
        graph.replay()
        return logits

    return replay
