"""torchvision's Swin V2: ``torchvision.models.swin_transformer``."""

from __future__ import annotations

from typing import Any

from swin_weights import flatten

from swin_properties.adapters.peers.base import NoSingleTokens, package, table_of_bias, withdraw_v1
from swin_properties.adapters.peers.torchvision import Torchvision


@withdraw_v1
class TorchvisionV2(NoSingleTokens, Torchvision):
    """The parts of V1, with V2's attention, block and merge in them."""

    convention = "torchvision-v2"
    scope = Torchvision.scope | {"no_pretrained_window": True}
    attention_class = "ShiftedWindowAttentionV2"
    block_class, merging_class = "SwinTransformerBlockV2", "PatchMergingV2"

    def continuous_position_bias_table(self, params: Any, window_size: Any) -> Any:
        """The weights of a bias MLP -> ((2 Mh - 1)(2 Mw - 1), heads)."""
        heads = len(params["2"]["weight"])
        attention = self._attention(heads, heads, window_size, (0, 0))
        self.holding(attention.cpb_mlp, flatten(params))
        return table_of_bias(attention.get_relative_position_bias()[0], attention.relative_position_index)

    def shifted_cosine_window_attention(
        self, x: Any, params: Any, num_heads: int, window_size: Any, shift_size: Any
    ) -> Any:
        """(B, H, W, C) -> same; attention drops the shift itself on an axis that one window spans."""
        attention = self._attention(
            x.shape[-1], num_heads, window_size, shift_size, qkv_bias="q_bias" in params
        )
        return self.with_weights("attention", attention, params)(x)

    def swin_v2_patch_merging(self, x: Any, params: Any) -> Any:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        return self._merge(x, params)

    def swin_v2_block(
        self, x: Any, params: Any, num_heads: int, window_size: Any, shift_size: Any, kept: Any = None
    ) -> Any:
        """(B, H, W, C), drop path's factors (B,) for both branches -> same."""
        return self._apply_block(x, params, num_heads, window_size, shift_size, kept)

    def swin_v2_stage(self, x: Any, params: Any, depth: int, num_heads: int, window_size: Any) -> Any:
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``: parts of a network."""
        return self._apply_stage(x, params, depth, num_heads, window_size)

    def swin_v2_features(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> the map (B, H', W', C') of every stage."""
        return self._list_maps(images, params, config)

    def swin_v2_transformer(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> (B, classes)."""
        return self._network(params, config)(images)


def __getattr__(name: str) -> Any:
    """``adapter``, made when it is asked for: importing this module needs no torchvision."""
    if name != "adapter":
        raise AttributeError(name)
    return TorchvisionV2(*package("torchvision", ("0.25", "1"), "torchvision.models.swin_transformer"))
