"""The same network in other ways, each an adapter of its own: ``swin-oracle check swin_torch:fused``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from swin_torch.blocks.ways import shifted_window_attention
from swin_torch.judged import PRECISIONS, Adapter
from swin_torch.judged import adapter as eager
from swin_torch.loading import Params


class FusedAdapter(Adapter):
    """What `Adapter` offers, with the fused attention in every shifted window attention, block and network.

    >>> FusedAdapter("float64").with_convention("timm").name
    'swin_torch:fused in float64 on cpu, timm'
    """

    label = "swin_torch:fused"
    attend_grid = staticmethod(shifted_window_attention)
    ways = "fast"


class CompiledAdapter(FusedAdapter):
    """What `FusedAdapter` offers, blocks and all that holds them compiled, whole, for each case anew: slow.

    >>> CompiledAdapter().backend
    'inductor'
    """

    label = "swin_torch:compiled"
    backend = "inductor"

    def _blocks(self, params: Params, kind: Callable[..., Any], *sizes: Any, **options: Any) -> Any:
        module: Any = super()._blocks(params, kind, *sizes, **options)
        # What the compiler refuses it logs as well: a law that asks for refusals says it in one sentence.
        logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
        torch.compiler.reset()  # each case is another size: the last one's code is of no use, and they add up
        compiled: Any = torch.compile(module, backend=self.backend, fullgraph=True)
        if hasattr(module, "features"):
            compiled.features = torch.compile(module.features, backend=self.backend, fullgraph=True)
        return compiled


class CudaAdapter(FusedAdapter):
    """What `FusedAdapter` offers, by the kernels on the first GPU; tf32 as well.

    >>> CudaAdapter().with_precision("tf32").name
    'swin_torch:cuda in tf32 on cuda, canonical'
    """

    label = "swin_torch:cuda"
    precisions = PRECISIONS | {"tf32": torch.float32}

    def __init__(
        self, precision: str = "float32", device: str = "cuda", convention: str = "canonical"
    ) -> None:
        """As `Adapter`, on a GPU."""
        super().__init__(precision, device, convention)

    def _tensors(self, value: Any) -> Any:
        # Every call starts here: what the GPU multiplies in is a setting of the whole process.
        torch.backends.cuda.matmul.fp32_precision = "tf32" if self.precision == "tf32" else "ieee"
        return super()._tensors(value)


def on_a_gpu() -> CudaAdapter:
    """``swin_torch.cuda``.

    Errors: ``ValueError`` where PyTorch sees no GPU: that breaks no law.
    """
    if not torch.cuda.is_available():
        raise ValueError(
            "swin_torch:cuda runs on an NVIDIA GPU, PyTorch sees none here: check swin_torch:fused, which "
            "under TRITON_INTERPRET=1 runs the same kernels, slowly"
        )
    return CudaAdapter()


fused, compiled = FusedAdapter(), CompiledAdapter()

__all__ = ["CompiledAdapter", "CudaAdapter", "FusedAdapter", "compiled", "eager", "fused", "on_a_gpu"]
