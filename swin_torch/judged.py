"""What is judged: these modules and functions as an adapter, NumPy arrays in and out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from types import SimpleNamespace
from typing import Any, Concatenate, ParamSpec

import torch
from swin_reference.config import CONVENTIONS, SwinConfig, convention_named
from torch import Tensor, nn

from swin_torch.conversion import arrays, tensors
from swin_torch.geometry import functional
from swin_torch.geometry.bias_resizing import resize_relative_position_bias
from swin_torch.geometry.conventions import fitted_window
from swin_torch.geometry.sizes import Size
from swin_torch.loading import Module, Params, hidden_width, loaded
from swin_torch.model.layers import Mlp, SwinBlock, SwinStage, WindowAttention
from swin_torch.model.network import SwinTransformer
from swin_torch.model.patches import PatchEmbed, PatchMerging
from swin_torch.preparing import prepared, pulled_back

PRECISIONS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

Arguments = ParamSpec("Arguments")


def _on_arrays(
    on_tensors: Callable[Concatenate[Adapter, Arguments], Any],
) -> Callable[Concatenate[Adapter, Arguments], Any]:
    """A method written for tensors, as one that takes and gives NumPy arrays."""

    @wraps(on_tensors)
    def on_arrays(self: Adapter, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Any:
        with torch.no_grad():
            return arrays(on_tensors(self, *self._tensors(args), **self._tensors(kwargs)))

    return on_arrays


class Adapter:
    """The callables that an implementation offers to be judged by, in one precision on one device.

    Arrays go in and out as NumPy; parameters are a nested dict with the official checkpoint's names,
    loaded strictly into the modules that users use.  Each callable's equation is in its module or function.

    Errors: ``ValueError`` for a precision other than float64, float32, float16 and bfloat16.

    >>> import numpy as np
    >>> Adapter("float64").relative_position_bias(np.arange(3.0)[:, None], (1, 2))
    array([[[1., 0.],
            [2., 1.]]])
    """

    label = "swin_torch"
    precisions = PRECISIONS
    attend_grid: Callable[..., Tensor] = staticmethod(functional.shifted_window_attention)
    ways = "plain"
    keeping: str | None = None
    _loaded: Callable[..., Any] = staticmethod(loaded)

    def __init__(self, precision: str = "float32", device: str = "cpu", convention: str = "canonical"):
        """``convention`` stands for that of any configuration."""
        if precision not in self.precisions:
            raise ValueError(
                f"{self.label} computes in {', '.join(self.precisions)}, got {precision!r}: use one of these"
            )
        self.decided = convention_named(convention)
        self.name = f"{self.label} in {precision} on {device}, {convention}"
        self.precision = precision
        self.device = device
        self.convention = convention

    def with_precision(self, name: str) -> Adapter:
        """The same adapter in another precision.

        >>> Adapter().with_precision("bfloat16").precision
        'bfloat16'
        """
        return type(self)(name, self.device, self.convention)

    def with_convention(self, name: str) -> Adapter:
        """The same adapter under another convention.

        >>> Adapter().with_convention("timm").convention
        'timm'
        """
        return type(self)(self.precision, self.device, name)

    @_on_arrays
    def window_partition(self, x: Tensor, window_size: Size) -> Tensor:
        """(B, H, W, C) -> (B nH nW, Mh, Mw, C)."""
        return functional.window_partition(x, window_size)

    @_on_arrays
    def window_reverse(self, windows: Tensor, window_size: Size, height: int, width: int) -> Tensor:
        """(B nH nW, Mh, Mw, C) -> (B, H, W, C)."""
        return functional.window_reverse(windows, window_size, height, width)

    @_on_arrays
    def cyclic_shift(self, x: Tensor, shift_size: Size) -> Tensor:
        """(B, H, W, C) -> same."""
        return functional.cyclic_shift(x, shift_size)

    @_on_arrays
    def reverse_cyclic_shift(self, x: Tensor, shift_size: Size) -> Tensor:
        """(B, H, W, C) -> same."""
        return functional.reverse_cyclic_shift(x, shift_size)

    @_on_arrays
    def shifted_window_mask(self, height: int, width: int, window_size: Size, shift_size: Size) -> Tensor:
        """(nW, N, N)."""
        dtype = self.precisions[self.precision]
        return functional.shifted_window_mask(height, width, window_size, shift_size, dtype, self.device)

    @_on_arrays
    def relative_position_index(self, window_size: Size) -> Tensor:
        """(N, N), integers."""
        return functional.relative_position_index(window_size, self.device)

    @_on_arrays
    def relative_position_bias(self, table: Tensor, window_size: Size) -> Tensor:
        """((2 Mh - 1)(2 Mw - 1), heads) -> (heads, N, N)."""
        return functional.relative_position_bias(table, window_size)

    @_on_arrays
    def resize_relative_position_bias(
        self, table: Tensor, window_size: Size, new_window_size: Size
    ) -> Tensor:
        """((2 Mh - 1)(2 Mw - 1), heads) -> the same for the new window."""
        return resize_relative_position_bias(table, window_size, new_window_size)

    @_on_arrays
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
        return self._attention(x, params, num_heads, window_size, qk_scale)(x, mask)

    @_on_arrays
    def shifted_window_attention(
        self, x: Tensor, params: Params, num_heads: int, window_size: Size, shift_size: Size
    ) -> Tensor:
        """(B, H, W, C) -> same."""
        attention = self._attention(x, params, num_heads, window_size)
        return self.attend_grid(x, attention, window_size, shift_size, self.decided)

    @_on_arrays
    def layer_norm(self, x: Tensor, params: Params, eps: float = 1e-5) -> Tensor:
        """(..., C) -> same."""
        return self._loaded(params, nn.LayerNorm, x.shape[-1], eps)(x)

    @_on_arrays
    def mlp(self, x: Tensor, params: Params) -> Tensor:
        """(..., C) -> same."""
        return self._loaded(params, Mlp, x.shape[-1], hidden_width(params))(x)

    @_on_arrays
    def patch_embed(self, images: Tensor, params: Params, patch_size: Size) -> Tensor:
        """(B, colours, H, W) -> (B, ceil(H/p), ceil(W/p), C)."""
        channels, colours = params["proj"]["weight"].shape[:2]
        sizes = channels, patch_size, colours, "norm" in params, self.decided
        return self._loaded(params, PatchEmbed, *sizes)(images)

    @_on_arrays
    def patch_merging(self, x: Tensor, params: Params) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        return self._blocks(params, PatchMerging, x.shape[-1], self.decided)(x)

    @_on_arrays
    def swin_block(
        self,
        x: Tensor,
        params: Params,
        num_heads: int,
        window_size: Size,
        shift_size: Size,
        kept: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """(B, H, W, C), drop path's factors (B,) for both branches -> same."""
        hidden, bias = hidden_width(params["mlp"]), "bias" in params["attn"]["qkv"]
        sizes = x.shape[-1], num_heads, window_size, hidden, bias
        return self._blocks(params, SwinBlock, *sizes, convention=self.decided)(x, shift_size, kept)

    @_on_arrays
    def swin_stage(self, x: Tensor, params: Params, depth: int, num_heads: int, window_size: Size) -> Tensor:
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        first, merge = params["blocks"][0], "downsample" in params
        hidden, bias = hidden_width(first["mlp"]), "bias" in first["attn"]["qkv"]
        window = fitted_window(x.shape[1:3], window_size, self.decided)
        sizes = (x.shape[-1], depth, num_heads, window, hidden, merge, bias)
        return self._blocks(params, SwinStage, *sizes, convention=self.decided)(x)

    @_on_arrays
    def swin_features(self, images: Tensor, params: Params, config: SwinConfig) -> list[Tensor]:
        """(B, colours, H, W) -> the map (B, H', W', C') of every stage."""
        return self._blocks(params, SwinTransformer, self._under(config)).features(images)

    @_on_arrays
    def swin_transformer(self, images: Tensor, params: Params, config: SwinConfig) -> Tensor:
        """(B, colours, H, W) -> (B, classes)."""
        return self._blocks(params, SwinTransformer, self._under(config))(images)

    def vjp(self, name: str, cotangent: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The gradient of <cotangent, callable ``name`` of the arguments>, for each positional argument.

        Shaped like the array or the nested dict it belongs to; None for a size.

        >>> import numpy as np
        >>> x = np.arange(3.0).reshape(1, 1, 3, 1)
        >>> Adapter().vjp("cyclic_shift", x, x, (0, 1))[0].ravel()
        array([2., 0., 1.], dtype=float32)
        """
        given = self._tensors((cotangent, *args))
        return tuple(arrays(pulled_back(self, name, *given, **self._tensors(kwargs))))

    def prepare(self, name: str, *args: Any, **kwargs: Any) -> Callable[[], Any]:
        """A callable with its arguments on the device and its module loaded: calling it is only the work.

        It waits for the device and gives tensors.  ``vjp`` and its arguments make a forward and a backward.

        >>> import numpy as np
        >>> Adapter().prepare("cyclic_shift", np.arange(3.0).reshape(1, 1, 3, 1), (0, 1))().flatten()
        tensor([1., 2., 0.])
        """
        return prepared(self, name, self._tensors(args), self._tensors(kwargs))

    def _blocks(self, params: Params, kind: Callable[..., Module], *sizes: Any, **options: Any) -> Module:
        """A module that has blocks, loaded; they attend as this adapter does."""
        module = self._loaded(params, kind, *sizes, **options)
        for part in module.modules():
            if isinstance(part, (SwinBlock, PatchMerging)):
                part.choose(self.ways, self.keeping)
        return module

    def _under(self, config: SwinConfig) -> SwinConfig:
        return replace(config, convention=self.convention)

    def _attention(
        self, x: Tensor, params: Params, num_heads: int, window_size: Size, qk_scale: float | None = None
    ) -> WindowAttention:
        bias = "bias" in params["qkv"]
        sizes = x.shape[-1], num_heads, window_size, bias, qk_scale
        return self._loaded(params, WindowAttention, *sizes)

    def _tensors(self, value: Any) -> Any:
        return tensors(value, self.precisions[self.precision], self.device)


adapter = Adapter()

adapters = SimpleNamespace(**{name: Adapter(convention=name) for name in CONVENTIONS})
"""The adapter under each named convention: ``swin-oracle check swin_torch:adapters.timm``."""
