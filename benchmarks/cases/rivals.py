"""Makes the adapters that `make standing` adds: timm with torch's fused attention, and compiled networks."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from swin_properties.adapters.peers.timm import Timm
from swin_properties.adapters.peers.timm_v2 import TimmV2

from benchmarks.cases.contestants import load_adapter
from swin_torch.torch_adapter import Adapter

SDPA, FROZEN, COMPILED = "+sdpa", ", frozen", ", compiled"

OPTIONS: dict[str, dict[str, Any]] = {FROZEN: {"freezing": True}, COMPILED: {}}
"""The options of torch.compile; ``freezing`` turns the weights into constants."""


class FrozenAdapter(Adapter):
    """Our adapter with its networks compiled and frozen."""

    def _blocks(self, *args: Any, **sizes: Any) -> Any:
        return torch.compile(super()._blocks(*args, **sizes), options=OPTIONS[FROZEN])


class TimmRival(Timm):
    """timm with torch's fused attention, or with its networks compiled, or both: its Swin.

    ``options`` are those of torch.compile; None compiles nothing.
    """

    def __init__(self, base: Timm, sdpa: bool, options: dict[str, Any] | None) -> None:
        """``base`` is timm's own adapter, whose precision and device are taken."""
        super().__init__(base.swin, base.name, base.precision, base.device)
        self.sdpa, self.options = sdpa, options

    def made(self, *args: Any, **sizes: Any) -> Any:
        """Returns the model; a module with the switch ``fused_attn`` calls scaled_dot_product_attention."""
        model = super().made(*args, **sizes)
        if self.sdpa:
            for module in model.modules():
                if hasattr(module, "fused_attn"):
                    module.fused_attn = True
        return model

    def with_weights(self, part: str, *args: Any, **grid: Any) -> Any:
        """Returns the module with its weights, compiled if that is asked for."""
        module = super().with_weights(part, *args, **grid)
        return module if self.options is None else torch.compile(module, options=self.options)


class TimmV2Rival(TimmRival, TimmV2):
    """The same of timm's Swin V2."""


@cache
def load_rival(name: str) -> Any:
    """Returns the adapter of a contestant, or of timm by ``NAME+sdpa``, ``NAME, compiled``, ``NAME, frozen``.

    Our adapter has the form ``NAME, frozen`` too.
    """
    ending = next((one for one in OPTIONS if name.endswith(one)), "")
    base = name.removesuffix(ending)
    sdpa = base.endswith(SDPA)
    found = load_adapter(base.removesuffix(SDPA))
    if not ending and not sdpa:
        return found
    if isinstance(found, Adapter):
        return FrozenAdapter(found.precision, found.device, found.convention)
    kind = TimmV2Rival if isinstance(found, TimmV2) else TimmRival
    return kind(found, sdpa, OPTIONS.get(ending))
