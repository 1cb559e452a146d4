"""Times the matrix products of a network's linear layers alone: the least time by the same products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from swin_reference.config import SwinConfig
from swin_reference.sizes import pair

from swin_torch.backends.c.products import multiply

BY: dict[str, Callable[..., Any]] = {
    "products alone, PyTorch's": torch.mm,
    "products alone, swin_torch's": multiply,
}
"""Functions (left, right, out=...) by name."""


def find_linear_layers(
    config: SwinConfig, image: tuple[int, int], batch: int
) -> Iterator[tuple[int, int, int]]:
    """Yields tokens, inputs and outputs of each linear layer, with the embedding and the head."""
    ph, pw = pair(config.patch_size)
    height, width = -(-image[0] // ph), -(-image[1] // pw)
    yield batch * height * width, config.in_channels * ph * pw, config.embed_dim
    for stage, channels in enumerate(config.channels):
        if stage:
            height, width = -(-height // 2), -(-width // 2)
            yield batch * height * width, 2 * channels, channels
        hidden = config.hidden(channels)
        layers = (channels, 3 * channels), (channels, channels), (channels, hidden), (hidden, channels)
        for inputs, outputs in config.depths[stage] * layers:
            yield batch * height * width, inputs, outputs
    yield batch, config.channels[-1], config.num_classes


def make_run(
    config: SwinConfig, image: tuple[int, int], batch: int, training: bool, multiply: Callable[..., Any]
) -> Callable[[], None]:
    """Returns a run of the products of a forward in float32; in training also of the gradients."""
    layers = []
    for tokens, inputs, outputs in find_linear_layers(config, image, batch):
        x, weight, d_out = (
            torch.rand(tokens, inputs),
            torch.rand(outputs, inputs),
            torch.rand(tokens, outputs),
        )
        results = torch.empty_like(d_out), torch.empty_like(x), torch.empty_like(weight)
        layers.append(((x, weight, d_out), results))

    def work() -> None:
        for (x, weight, d_out), (out, d_x, d_weight) in layers:
            multiply(x, weight.T, out=out)
            if training:
                multiply(d_out, weight, out=d_x)
                multiply(d_out.T, x, out=d_weight)

    return work
