"""A call of a block or a merge: what its ways ask about it, and which way takes it.

Swin and Swin V2 have tables of ways of their own (`ways`, `ways_v2`); what both ask is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from swin_torch.blocks import cpu_inference
from swin_torch.blocks.parts import Computed, Merge, Parameters, is_whole
from swin_torch.blocks.touched import find_touch
from swin_torch.geometry import functional
from swin_torch.geometry.exported import is_recorded
from swin_torch.geometry.plan import Plan
from swin_torch.geometry.sizes import Size

Kept = tuple[Tensor | None, Tensor | None]
"""The factors of drop path for the attention branch and the MLP branch of a block, (B) each."""


class Way(NamedTuple):
    """A way of computing: ``refuse`` returns why it does not take a call, else None; ``run`` computes."""

    name: str
    refuse: Callable[[Any], str | None]
    run: Callable[[Any], Tensor]


class Call(NamedTuple):
    """A call of a block, with all that its ways ask about it.

    ``obstacle`` says why only the plain way takes the call; None if others may.  ``of`` is None where there
    is one, and while PyTorch compiles the block: what it then traces is no tensor with an address.  The plan
    is made where there is no obstacle.  ``factors`` are what multiplies the cosines in a block of Swin V2,
    None in one of Swin.
    """

    block: Any
    x: Tensor
    shift_size: Size
    kept: Kept
    keeping: str
    by_kernels: bool
    gradients: bool
    obstacle: str | None
    of: Parameters | None
    plan: Plan
    factors: Tensor | None = None


@dataclass
class MergeCall:
    """A call of a merge, with all that its ways ask about it: ``x`` is the grid, (B, H, W, C)."""

    merging: Merge
    x: Tensor
    keeping: str
    by_kernels: bool
    gradients: bool
    obstacle: str | None
    _merged: Tensor | None = field(default=None, init=False)

    @property
    def merged(self) -> Tensor:
        """The 2x2 tokens side by side, (B, ceil(H/2), ceil(W/2), 4 C), made once, where a way needs them."""
        if self._merged is None:  # no cached_property: torch.compile does not take its lock
            self._merged = functional.merge_neighbours(self.x)
        return self._merged


NO_PLAN = Plan((0, 0), (0, 0), (1, 1), (0, 0), 1, False)
"""The plan of a call that only the plain way takes."""


def find_obstacle(module: Computed) -> str | None:
    """Returns why a module is computed in plain operations whatever it is given."""
    if module.ways == "plain":
        return "it was made with ways='plain'"
    if is_recorded():
        return "a graph is exported or traced, which other programs run"
    return find_touch(module, module.kinds)


def find_keeping(by_kernels: bool) -> str:
    """Returns what training keeps unless told: on a GPU memory is what is short, elsewhere time."""
    return "little" if by_kernels else "most"


# Why a way does not take a call of a block.


def refuse_by_layers(call: Call) -> str | None:
    """Returns why a block cannot be computed from its parameters, layer by layer; None if it can."""
    if call.obstacle is not None:
        return call.obstacle
    if call.of is None:
        return "PyTorch compiles it"
    return None if is_whole(call.of) else "a layer has no weight or no bias"


def refuse_in_one_type(call: Call) -> str | None:
    """Returns why a block cannot be computed in the type of x alone; None if it can."""
    found = refuse_by_layers(call)
    if found is None and torch.is_autocast_enabled(call.x.device.type):
        return "autocast chooses the types of its layers"
    return found


def refuse_c(call: Call) -> str | None:
    """Returns why C cannot compute a block; None if it can."""
    found = refuse_in_one_type(call)
    if found is not None or call.of is None:
        return found
    if call.by_kernels:
        return "x is on a GPU, or TRITON_INTERPRET is 1"
    return cpu_inference.find_refusal(call.of, call.x, call.plan)


def refuse_without_gradients(call: Call) -> str | None:
    """Returns why a way that records no gradients does not take a call; None if it does."""
    if call.gradients:
        return "gradients are recorded"
    if call.kept[0] is not None or call.kept[1] is not None:
        return "drop path is given factors"
    return None


def refuse_with_gradients(call: Call, keeping: str) -> str | None:
    """Returns why a way of training that keeps so much does not take a call; None if it does."""
    if not call.gradients:
        return "no gradients are recorded"
    return None if call.keeping == keeping else f"training keeps {call.keeping!r}, not {keeping!r}"


# What ran, and why.


class Taken(NamedTuple):
    """The way that a call of a module took, and for each way before it, why it did not take the call."""

    module: nn.Module
    way: str
    refused: dict[str, str]


_recordings: list[list[Taken]] = []


def run_first(ways: tuple[Way, ...], call: Any, module: nn.Module) -> Tensor:
    """Runs the first way that takes a call."""
    refused = []
    for way in ways:
        refusal = way.refuse(call)
        if refusal is None:
            break
        refused.append(refusal)
    if _recordings and not torch.compiler.is_compiling():
        names = (one.name for one in ways)
        taken = Taken(module, way.name, dict(zip(names, refused, strict=False)))
        for recording in _recordings:
            recording.append(taken)
    return way.run(call)


@contextmanager
def recorded() -> Iterator[list[Taken]]:
    """Records the way of every block and merge that is computed inside, in the order of their calls.

    A call that fails is recorded as well.  Code that PyTorch compiled records nothing.
    """
    recording: list[Taken] = []
    _recordings.append(recording)
    try:
        yield recording
    finally:
        _recordings[:] = [other for other in _recordings if other is not recording]
