"""Which way each block of a model takes, and why not a faster one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from swin_torch.blocks.calls import recorded
from swin_torch.blocks.parts import Computed


class Explanation(list[tuple[str, str, dict[str, str]]]):
    """For each call of a block or a merge: its name, its way, and why each faster way did not take it.

    Printed, calls that have the same way for the same reasons share a paragraph.
    """

    def __str__(self) -> str:
        names: dict[str, list[str]] = {}
        for name, way, refused in self:
            reasons = "".join(f"\n  not by {other}: {reason}" for other, reason in refused.items())
            names.setdefault(f"{way}{reasons}", []).append(name)
        return "\n".join(f"{', '.join(alike)}: {found}" for found, alike in names.items())


def explain(model: nn.Module, images: Tensor) -> Explanation:
    """Returns for each block and merge of a model the way it takes, and why each faster way does not take it.

    The model runs once on ``images``, in its mode, with gradients recorded or not as they are around the
    call; neither the model nor the state of random numbers changes.

    >>> from swin_torch.model.network import swin_t
    >>> model = swin_t(embed_dim=8, depths=(1,), num_heads=(2,), window_size=2, ways="plain")
    >>> with torch.no_grad():
    ...     print(explain(model, torch.zeros(1, 3, 8, 8)).pop()[:2])
    ('layers.0.blocks.0', 'plain operations')
    """
    names = {part: name for name, part in model.named_modules() if isinstance(part, Computed)}
    devices = [images.device] if images.is_cuda else []
    with torch.random.fork_rng(devices), recorded() as taken:
        model(images)
    return Explanation(
        (names[one.module] or type(one.module).__name__, one.way, one.refused)
        for one in taken
        if one.module in names
    )
