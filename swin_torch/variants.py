"""The same network in other ways, each an adapter of its own: ``swin-oracle check swin_torch:fused``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from swin_torch.fusing import fused_block, fused_norm_reduce, shifted_window_attention
from swin_torch.judged import Adapter
from swin_torch.judged import adapter as eager
from swin_torch.loading import Params


class FusedAdapter(Adapter):
    """What `Adapter` offers, with the fused attention in every shifted window attention, block and network.

    >>> FusedAdapter("float64").with_convention("timm").name
    'swin_torch:fused in float64 on cpu, timm'
    """

    label = "swin_torch:fused"
    attend_grid = staticmethod(shifted_window_attention)
    compute_block = staticmethod(fused_block)
    norm_reduce = staticmethod(fused_norm_reduce)


class CompiledAdapter(FusedAdapter):
    """What `FusedAdapter` offers, blocks and all that holds them compiled, whole, for each case anew: slow.

    >>> CompiledAdapter().backend
    'inductor'
    """

    label = "swin_torch:compiled"
    backend = "inductor"

    def _blocks(self, params: Params, kind: Callable[..., Any], *sizes: Any, **options: Any) -> Any:
        module: Any = super()._blocks(params, kind, *sizes, **options)
        torch.compiler.reset()  # each case is another size: the last one's code is of no use, and they add up
        compiled: Any = torch.compile(module, backend=self.backend, fullgraph=True)
        if hasattr(module, "features"):
            compiled.features = torch.compile(module.features, backend=self.backend, fullgraph=True)
        return compiled


fused, compiled = FusedAdapter(), CompiledAdapter()

cuda = FusedAdapter(device="cuda")
"""The fused one on the first GPU, by the kernels: ``swin-oracle check swin_torch:cuda --dtype bfloat16``."""

__all__ = ["CompiledAdapter", "FusedAdapter", "compiled", "cuda", "eager", "fused"]
