"""Swin Transformer in PyTorch: modules, functions on tensors, and the adapter by which they are judged."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from swin_torch.attention.operator import shifted_window_attention_core
from swin_torch.blocks.explain import explain
from swin_torch.geometry import functional, functional_v2
from swin_torch.geometry.bias_resizing import resize_relative_position_bias
from swin_torch.geometry.functional import (
    cyclic_shift,
    drop_path,
    merge_neighbours,
    relative_position_bias,
    relative_position_index,
    reverse_cyclic_shift,
    shifted_window_attention,
    shifted_window_mask,
    window_attention,
    window_partition,
    window_reverse,
)
from swin_torch.model.graphs import graphed
from swin_torch.model.layers import (
    Mlp,
    SwinBlock,
    SwinStage,
    WindowAttention,
)
from swin_torch.model.layers_v2 import (
    CosineWindowAttention,
    SwinV2Block,
    SwinV2PatchMerging,
    SwinV2Stage,
)
from swin_torch.model.network import SwinTransformer, swin_b, swin_l, swin_s, swin_t
from swin_torch.model.network_v2 import SwinV2Transformer, swin_v2_b, swin_v2_l, swin_v2_s, swin_v2_t
from swin_torch.model.patches import PatchEmbed, PatchMerging

if TYPE_CHECKING:
    from swin_torch.model.from_checkpoint import from_checkpoint
    from swin_torch.torch_adapter import Adapter, adapter, adapters, compiled, plain

__all__ = [
    "Adapter",
    "CosineWindowAttention",
    "Mlp",
    "PatchEmbed",
    "PatchMerging",
    "SwinBlock",
    "SwinStage",
    "SwinTransformer",
    "SwinV2Block",
    "SwinV2PatchMerging",
    "SwinV2Stage",
    "SwinV2Transformer",
    "WindowAttention",
    "adapter",
    "adapters",
    "compiled",
    "cyclic_shift",
    "drop_path",
    "explain",
    "from_checkpoint",
    "functional",
    "functional_v2",
    "graphed",
    "merge_neighbours",
    "plain",
    "relative_position_bias",
    "relative_position_index",
    "resize_relative_position_bias",
    "reverse_cyclic_shift",
    "shifted_window_attention",
    "shifted_window_attention_core",
    "shifted_window_mask",
    "swin_b",
    "swin_l",
    "swin_s",
    "swin_t",
    "swin_v2_b",
    "swin_v2_l",
    "swin_v2_s",
    "swin_v2_t",
    "window_attention",
    "window_partition",
    "window_reverse",
]


_HOMES = {
    "from_checkpoint": "model.from_checkpoint",
    **dict.fromkeys(("Adapter", "adapter", "adapters", "compiled", "plain"), "torch_adapter"),
}
"""The names that are loaded when they are first asked for, each with its module."""


def __getattr__(name: str) -> Any:
    """Loads a name of `_HOMES`; ``swin_torch.cuda`` exists only where there is a GPU."""
    if name == "cuda":
        from swin_torch.torch_adapter import on_a_gpu

        return on_a_gpu()
    if name not in _HOMES:
        raise AttributeError(f"module 'swin_torch' has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
