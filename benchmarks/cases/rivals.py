"""Ways to run that `make standing` adds: timm with torch's fused attention; networks compiled, and frozen."""

from __future__ import annotations

from copy import copy
from functools import cache
from typing import Any

import torch

from benchmarks.cases.contestants import adapter
from swin_torch.torch_adapter import Adapter

SDPA, FROZEN, COMPILED = "+sdpa", ", frozen", ", compiled"


@cache
def rival(name: str) -> Any:
    """The adapter of a contestant or of ``NAME+sdpa``, ``NAME, compiled``, ``NAME, frozen`` of one."""
    for ending, options in ((FROZEN, {"freezing": True}), (COMPILED, {})):
        if name.endswith(ending):
            return _compiled(rival(name.removesuffix(ending)), options)
    if not name.endswith(SDPA):
        return adapter(name)
    base = adapter(name.removesuffix(SDPA))
    found = copy(base)
    found.__class__ = _with_sdpa(type(base))
    return found


def _with_sdpa(kind: type) -> type:
    """timm's own switch: a module that has ``fused_attn`` asks torch's scaled_dot_product_attention."""

    class WithSdpa(kind):  # type: ignore[misc]
        def made(self, *args: Any, **sizes: Any) -> Any:
            model = super().made(*args, **sizes)
            for module in model.modules():
                if hasattr(module, "fused_attn"):
                    module.fused_attn = True
            return model

    return WithSdpa


def _compiled(base: Any, options: dict[str, bool]) -> Any:
    """An adapter whose networks are compiled; ``freezing`` makes constants of their weights."""
    kind = type(base)
    found = copy(base)

    def compiled(module: Any) -> Any:
        return torch.compile(module, options=options)

    class Ours(kind):  # type: ignore[misc]
        def _blocks(self, *args: Any, **sizes: Any) -> Any:
            return compiled(super()._blocks(*args, **sizes))

    class Theirs(kind):  # type: ignore[misc]
        def with_weights(self, part: str, *args: Any, **grid: Any) -> Any:
            return compiled(super().with_weights(part, *args, **grid))

    found.__class__ = Ours if isinstance(base, Adapter) else Theirs
    return found
