"""The products of a network's linear layers alone: no implementation by the same products takes less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from swin_reference.config import SwinConfig
from swin_reference.sizes import pair

from swin_torch.backends.c.products import product

BY = {"products alone, PyTorch's": torch.mm, "products alone, swin_torch's": product}
"""(left, right, out=...) by name."""


def linear_layers(config: SwinConfig, image: tuple[int, int], batch: int) -> Iterator[tuple[int, int, int]]:
    """Tokens, inputs and outputs of each layer, the embedding and the head too."""
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


def run(
    config: SwinConfig, image: tuple[int, int], batch: int, training: bool, multiply: Callable[..., Any]
) -> Callable[[], None]:
    """The products of a forward, in float32; of a training step also those of each layer's two gradients."""
    layers = []
    for tokens, inputs, outputs in linear_layers(config, image, batch):
        x, weight, of_out = (
            torch.rand(tokens, inputs),
            torch.rand(outputs, inputs),
            torch.rand(tokens, outputs),
        )
        results = torch.empty_like(of_out), torch.empty_like(x), torch.empty_like(weight)
        layers.append(((x, weight, of_out), results))

    def work() -> None:
        for (x, weight, of_out), (out, of_x, of_weight) in layers:
            multiply(x, weight.T, out=out)
            if training:
                multiply(of_out, weight, out=of_x)
                multiply(of_out.T, x, out=of_weight)

    return work
