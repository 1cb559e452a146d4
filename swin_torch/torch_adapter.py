"""The adapter that ``swin-oracle check swin_torch`` judges, and its variants.

It is loaded when somebody judges, and not by ``import swin_torch``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from swin_properties import TorchAdapter
from swin_reference.config import CONVENTIONS, SwinConfig
from swin_reference.config_v2 import SwinV2Config
from swin_weights import flatten
from torch import Tensor, nn

from swin_torch.blocks import ways, ways_v2
from swin_torch.geometry import functional, functional_v2
from swin_torch.geometry.bias_resizing import resize_relative_position_bias
from swin_torch.geometry.conventions import fit_window, take_convention
from swin_torch.geometry.sizes import Size
from swin_torch.model import network
from swin_torch.model.layers import Kept, Mlp, SwinBlock, SwinStage, WindowAttention
from swin_torch.model.layers_v2 import CosineWindowAttention, SwinV2Block, SwinV2PatchMerging, SwinV2Stage
from swin_torch.model.network import SwinTransformer
from swin_torch.model.network_v2 import SwinV2Transformer
from swin_torch.model.patches import PatchEmbed, PatchMerging

Params = Mapping[str, Any]
Module = TypeVar("Module", bound=nn.Module)
Config = TypeVar("Config", bound=SwinConfig)


class Adapter(TorchAdapter):
    """The callables by which the modules and functions of this package are judged.

    Parameters go, by name, into the modules that users build.  The equation of each callable is in its module
    or function.

    >>> import numpy as np
    >>> Adapter("float64").relative_position_bias(np.arange(3.0)[:, None], (1, 2))
    array([[[1., 0.],
            [2., 1.]]])
    """

    label = "swin_torch"
    ways = "fast"
    keeping: str | None = None
    ways_to_modules = ("_module", "_blocks")

    def __init__(
        self, precision: str = "float32", device: str = "cpu", convention: str = "canonical"
    ) -> None:
        """``convention`` replaces the convention of every configuration."""
        super().__init__(precision, device)
        self.convention = convention
        self.decided = take_convention(convention)

    @property
    def name(self) -> str:
        """What reports call the adapter.

        >>> Adapter("float64").name
        'swin_torch in float64 on cpu, canonical'
        """
        return f"{self.label} in {self.precision} on {self.device}, {self.convention}"

    def with_convention(self, name: str) -> Any:
        """Returns the same adapter under another convention.

        >>> Adapter().with_convention("timm").convention
        'timm'
        """
        other = copy(self)
        other.convention, other.decided = name, take_convention(name)
        return other

    def window_partition(self, x: Tensor, window_size: Size) -> Tensor:
        """(B, H, W, C) -> (B nH nW, Mh, Mw, C)."""
        return functional.window_partition(x, window_size)

    def window_reverse(self, windows: Tensor, window_size: Size, height: int, width: int) -> Tensor:
        """(B nH nW, Mh, Mw, C) -> (B, H, W, C)."""
        return functional.window_reverse(windows, window_size, height, width)

    def cyclic_shift(self, x: Tensor, shift_size: Size) -> Tensor:
        """(B, H, W, C) -> same."""
        return functional.cyclic_shift(x, shift_size)

    def reverse_cyclic_shift(self, x: Tensor, shift_size: Size) -> Tensor:
        """(B, H, W, C) -> same."""
        return functional.reverse_cyclic_shift(x, shift_size)

    def shifted_window_mask(self, height: int, width: int, window_size: Size, shift_size: Size) -> Tensor:
        """(nW, N, N)."""
        dtype = self.precisions[self.precision]
        return functional.shifted_window_mask(height, width, window_size, shift_size, dtype, self.device)

    def relative_position_index(self, window_size: Size) -> Tensor:
        """(N, N), integers."""
        return functional.relative_position_index(window_size, self.device)

    def relative_position_bias(self, table: Tensor, window_size: Size) -> Tensor:
        """((2 Mh - 1)(2 Mw - 1), heads) -> (heads, N, N)."""
        return functional.relative_position_bias(table, window_size)

    def resize_relative_position_bias(
        self, table: Tensor, window_size: Size, new_window_size: Size
    ) -> Tensor:
        """((2 Mh - 1)(2 Mw - 1), heads) -> the same for the new window."""
        return resize_relative_position_bias(table, window_size, new_window_size)

    def window_attention(
        self,
        x: Tensor,
        params: Params,
        num_heads: int,
        window_size: Size,
        mask: Tensor | None = None,
        qk_scale: float | None = None,
    ) -> Tensor:
        """(B nW, N, C), additive mask (nW, N, N) -> same."""
        sizes = x.shape[-1], num_heads, window_size, "bias" in params["qkv"], qk_scale
        return self._module(params, WindowAttention, *sizes)(x, mask)

    def shifted_window_attention(
        self,
        x: Tensor,
        params: Params,
        num_heads: int,
        window_size: Size,
        shift_size: Size,
        qk_scale: float | None = None,
    ) -> Tensor:
        """(B, H, W, C) -> same."""
        sizes = x.shape[-1], num_heads, window_size, "bias" in params["qkv"], qk_scale
        attention = self._module(params, WindowAttention, *sizes)
        fast = self.ways == "fast"
        attend = ways.shifted_window_attention if fast else functional.shifted_window_attention
        return attend(x, attention, window_size, shift_size, self.decided)

    def layer_norm(self, x: Tensor, params: Params, eps: float = 1e-5) -> Tensor:
        """(..., C) -> same."""
        return self._module(params, nn.LayerNorm, x.shape[-1], eps)(x)

    def mlp(self, x: Tensor, params: Params) -> Tensor:
        """(..., C) -> same."""
        return self._module(params, Mlp, x.shape[-1], _hidden(params))(x)

    def patch_embed(self, images: Tensor, params: Params, patch_size: Size) -> Tensor:
        """(B, colours, H, W) -> (B, ceil(H/p), ceil(W/p), C)."""
        channels, colours = params["proj"]["weight"].shape[:2]
        sizes = channels, patch_size, colours, "norm" in params, self.decided
        return self._module(params, PatchEmbed, *sizes)(images)

    def patch_merging(self, x: Tensor, params: Params) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        return self._blocks(params, PatchMerging, x.shape[-1], convention=self.decided)(x)

    def swin_block(
        self,
        x: Tensor,
        params: Params,
        num_heads: int,
        window_size: Size,
        shift_size: Size,
        kept: Kept | None = None,
        qk_scale: float | None = None,
    ) -> Tensor:
        """(B, H, W, C), drop path's factors (B,) for both branches -> same."""
        bias = "bias" in params["attn"]["qkv"]
        sizes = x.shape[-1], num_heads, window_size, _hidden(params["mlp"]), bias, qk_scale
        return self._blocks(params, SwinBlock, *sizes, convention=self.decided)(x, shift_size, kept)

    def drop_path_rates(self, rate: float, depths: Sequence[int]) -> list[Tensor]:
        """Returns the rates (depth,) of the blocks of every stage."""
        rates = network.drop_path_rates(rate, depths)
        return [torch.tensor(stage, dtype=torch.float64) for stage in rates]

    def swin_stage(
        self,
        x: Tensor,
        params: Params,
        depth: int,
        num_heads: int,
        window_size: Size,
        kept: Sequence[Kept] | None = None,
        qk_scale: float | None = None,
    ) -> Tensor:
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        first, merge = params["blocks"][0], "downsample" in params
        window = fit_window(x.shape[1:3], window_size, self.decided)
        bias = "bias" in first["attn"]["qkv"]
        sizes = x.shape[-1], depth, num_heads, window, _hidden(first["mlp"]), merge, bias, qk_scale
        return self._blocks(params, SwinStage, *sizes, convention=self.decided)(x, kept)

    def swin_features(
        self,
        images: Tensor,
        params: Params,
        config: SwinConfig,
        kept: Sequence[Sequence[Kept]] | None = None,
    ) -> list[Tensor]:
        """(B, colours, H, W) -> the map (B, H', W', C') of every stage."""
        return self._blocks(params, SwinTransformer, self._under(config)).features(images, kept)

    def swin_transformer(
        self,
        images: Tensor,
        params: Params,
        config: SwinConfig,
        kept: Sequence[Sequence[Kept]] | None = None,
    ) -> Tensor:
        """(B, colours, H, W) -> (B, classes)."""
        return self._blocks(params, SwinTransformer, self._under(config))(images, kept)

    def continuous_position_bias_table(
        self, params: Params, window_size: Size, pretrained_window_size: Size | None = None
    ) -> Tensor:
        """((2 Mh - 1)(2 Mw - 1), heads)."""
        first, last = params["0"], params["2"]["weight"]
        sizes = window_size, pretrained_window_size, self.decided.offsets
        table = functional_v2.continuous_position_bias_table(first["weight"], first["bias"], last, *sizes)
        return table.to(last.dtype)

    def cosine_window_attention(
        self,
        x: Tensor,
        params: Params,
        num_heads: int,
        window_size: Size,
        mask: Tensor | None = None,
        pretrained_window_size: Size | None = None,
    ) -> Tensor:
        """(B nW, N, C), additive mask (nW, N, N) -> same."""
        sizes = x.shape[-1], num_heads, window_size, "q_bias" in params, pretrained_window_size, self.decided
        return self._module(params, CosineWindowAttention, *sizes)(x, mask)

    def shifted_cosine_window_attention(
        self,
        x: Tensor,
        params: Params,
        num_heads: int,
        window_size: Size,
        shift_size: Size,
        pretrained_window_size: Size | None = None,
    ) -> Tensor:
        """(B, H, W, C) -> same."""
        sizes = x.shape[-1], num_heads, window_size, "q_bias" in params, pretrained_window_size, self.decided
        attention = self._module(params, CosineWindowAttention, *sizes)
        fast = self.ways == "fast"
        attend = ways_v2.shifted_cosine_window_attention if fast else functional.shifted_window_attention
        return attend(x, attention, window_size, shift_size, self.decided)

    def swin_v2_patch_merging(self, x: Tensor, params: Params) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        return self._blocks(params, SwinV2PatchMerging, x.shape[-1], convention=self.decided)(x)

    def swin_v2_block(
        self,
        x: Tensor,
        params: Params,
        num_heads: int,
        window_size: Size,
        shift_size: Size,
        kept: Kept | None = None,
        pretrained_window_size: Size | None = None,
    ) -> Tensor:
        """(B, H, W, C), drop path's factors (B,) for both branches -> same."""
        hidden, bias = _hidden(params["mlp"]), "q_bias" in params["attn"]
        sizes = x.shape[-1], num_heads, window_size, hidden, bias, pretrained_window_size
        return self._blocks(params, SwinV2Block, *sizes, convention=self.decided)(x, shift_size, kept)

    def swin_v2_stage(
        self,
        x: Tensor,
        params: Params,
        depth: int,
        num_heads: int,
        window_size: Size,
        kept: Sequence[Kept] | None = None,
        pretrained_window_size: Size | None = None,
    ) -> Tensor:
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        first, merge = params["blocks"][0], "downsample" in params
        window = fit_window(x.shape[1:3], window_size, self.decided)
        hidden, bias = _hidden(first["mlp"]), "q_bias" in first["attn"]
        sizes = x.shape[-1], depth, num_heads, window, hidden, merge, bias, pretrained_window_size
        return self._blocks(params, SwinV2Stage, *sizes, convention=self.decided)(x, kept)

    def swin_v2_features(
        self,
        images: Tensor,
        params: Params,
        config: SwinV2Config,
        kept: Sequence[Sequence[Kept]] | None = None,
    ) -> list[Tensor]:
        """(B, colours, H, W) -> the map (B, H', W', C') of every stage."""
        return self._blocks(params, SwinV2Transformer, self._under(config)).features(images, kept)

    def swin_v2_transformer(
        self,
        images: Tensor,
        params: Params,
        config: SwinV2Config,
        kept: Sequence[Sequence[Kept]] | None = None,
    ) -> Tensor:
        """(B, colours, H, W) -> (B, classes)."""
        return self._blocks(params, SwinV2Transformer, self._under(config))(images, kept)

    def _tensors(self, value: Any, leaf: bool = True) -> Any:
        # Inputs want gradients, as in training: without, PyTorch may multiply in another order.
        return super()._tensors(value, leaf=True)

    def _under(self, config: Config) -> Config:
        return replace(config, convention=self.convention)

    def _blocks(self, params: Params, kind: Callable[..., Module], *sizes: Any, **options: Any) -> Module:
        """Returns a module that has blocks or merges, computed in the ways of this adapter."""
        return self._module(params, kind, *sizes, **options, ways=self.ways, keeping=self.keeping)

    def _module(self, params: Params, kind: Callable[..., Module], *sizes: Any, **options: Any) -> Module:
        """Returns a module in evaluation mode that holds exactly these parameters: gradients reach them."""
        with torch.device("meta"):  # no time is spent on initial values
            module = kind(*sizes, **options)
        return self.holding(module.eval(), flatten(params))


class PlainAdapter(Adapter):
    """The same modules, computed in plain operations."""

    label = "swin_torch:plain"
    ways = "plain"


class CompiledAdapter(Adapter):
    """The same modules, blocks and all that holds them compiled, whole, for each case anew: slow.

    >>> CompiledAdapter().backend
    'inductor'
    """

    label = "swin_torch:compiled"
    backend = "inductor"

    def _blocks(self, params: Params, kind: Callable[..., Any], *sizes: Any, **options: Any) -> Any:
        module: Any = super()._blocks(params, kind, *sizes, **options)
        # What the compiler refuses it logs as well: a law that asks for refusals says it in one sentence.
        logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
        torch.compiler.reset()  # each case has another size: the code for the last one is of no use
        compiled: Any = torch.compile(module, backend=self.backend, fullgraph=True)
        if hasattr(module, "features"):
            compiled.features = torch.compile(module.features, backend=self.backend, fullgraph=True)
        return compiled


class CudaAdapter(Adapter):
    """The same modules on the first GPU, in tf32 as well.

    >>> CudaAdapter().with_precision("tf32").name
    'swin_torch:cuda in tf32 on cuda, canonical'
    """

    label = "swin_torch:cuda"
    precisions = TorchAdapter.precisions | {"tf32": torch.float32}

    def __init__(
        self, precision: str = "float32", device: str = "cuda", convention: str = "canonical"
    ) -> None:
        """As `Adapter`, on a GPU."""
        super().__init__(precision, device, convention)

    def _tensors(self, value: Any, leaf: bool = True) -> Any:
        # Every call starts here: what the GPU multiplies in is a setting of the whole process.
        torch.backends.cuda.matmul.fp32_precision = "tf32" if self.precision == "tf32" else "ieee"
        return super()._tensors(value, leaf)


def _hidden(mlp: Params) -> int:
    """Returns the width of the hidden layer of an MLP."""
    width: int = mlp["fc1"]["weight"].shape[0]
    return width


def on_a_gpu() -> CudaAdapter:
    """Returns ``swin_torch.cuda``.

    Errors: ``ValueError`` where PyTorch sees no GPU, which says nothing about an implementation.
    """
    if not torch.cuda.is_available():
        raise ValueError(
            "swin_torch:cuda runs on an NVIDIA GPU, PyTorch sees none here: check swin_torch, which "
            "under TRITON_INTERPRET=1 runs the same kernels, slowly"
        )
    return CudaAdapter()


adapter, plain, compiled = Adapter(), PlainAdapter(), CompiledAdapter()

adapters = SimpleNamespace(**{name: Adapter(convention=name) for name in CONVENTIONS})
"""The adapter under each named convention: ``swin-oracle check swin_torch:adapters.timm``."""
