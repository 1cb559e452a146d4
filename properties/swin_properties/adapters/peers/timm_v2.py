"""timm's Swin V2: ``timm.models.swin_transformer_v2``."""

from __future__ import annotations

from typing import Any

from swin_weights import flatten

from swin_properties.adapters.peers.base import (
    bias_of_softmax,
    dropping,
    package,
    ratio,
    table_of_bias,
    two,
    withdraw_v1,
)
from swin_properties.adapters.peers.timm import Timm


@withdraw_v1
class TimmV2(Timm):
    """A block takes its window and shift as given (``always_partition``); stages and above decide."""

    convention = "timm-v2"
    block_class, network_class = "SwinTransformerV2Block", "SwinTransformerV2"

    def window_reverse(self, windows: Any, window_size: Any, height: int, width: int) -> Any:
        """(B nH nW, Mh, Mw, C) -> (B, H, W, C)."""
        return self.swin.window_reverse(windows, two(window_size), (height, width))

    def relative_position_index(self, window_size: Any) -> Any:
        """(N, N), integers."""
        return self._attention(1, 1, window_size, {}, None).relative_position_index

    def continuous_position_bias_table(
        self, params: Any, window_size: Any, pretrained_window_size: Any = None
    ) -> Any:
        """The weights of a bias MLP -> ((2 Mh - 1)(2 Mw - 1), heads)."""
        heads = len(params["2"]["weight"])
        attention = self._attention(heads, heads, window_size, {}, pretrained_window_size)
        self.holding(attention.cpb_mlp, flatten(params))
        return table_of_bias(bias_of_softmax(attention), attention.relative_position_index)

    def cosine_window_attention(
        self,
        x: Any,
        params: Any,
        num_heads: int,
        window_size: Any,
        mask: Any = None,
        pretrained_window_size: Any = None,
    ) -> Any:
        """(B nW, N, C), additive mask (nW, N, N) -> same."""
        attention = self._attention(x.shape[-1], num_heads, window_size, params, pretrained_window_size)
        return self.with_weights("attention", attention, params)(x, mask)

    def shifted_cosine_window_attention(
        self,
        x: Any,
        params: Any,
        num_heads: int,
        window_size: Any,
        shift_size: Any,
        pretrained_window_size: Any = None,
    ) -> Any:
        """(B, H, W, C) -> same: a block's attention, without its norm."""
        sizes = x.shape[1:3], x.shape[-1], num_heads, window_size, shift_size
        block = self._block(
            *sizes, qkv_bias="q_bias" in params, pretrained_window_size=two(pretrained_window_size or 0)
        )
        self.with_weights("attention", block.attn, params)
        return block._attn(x)

    def swin_v2_patch_merging(self, x: Any, params: Any) -> Any:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        return self.with_weights("merging", self.made(self.swin.PatchMerging, dim=x.shape[-1]), params)(x)

    def swin_v2_block(
        self,
        x: Any,
        params: Any,
        num_heads: int,
        window_size: Any,
        shift_size: Any,
        kept: Any = None,
        pretrained_window_size: Any = None,
    ) -> Any:
        """(B, H, W, C), drop path's factors (B,) for both branches -> same."""
        block = self._block(
            *(x.shape[1:3], x.shape[-1], num_heads, window_size, shift_size),
            qkv_bias="q_bias" in params["attn"],
            mlp_ratio=ratio(params["mlp"]),
            pretrained_window_size=two(pretrained_window_size or 0),
        )
        self.with_weights("block", block, params)
        with dropping(block, ("drop_path1", "drop_path2"), kept):
            return block(x)

    def swin_v2_stage(
        self,
        x: Any,
        params: Any,
        depth: int,
        num_heads: int,
        window_size: Any,
        pretrained_window_size: Any = None,
    ) -> Any:
        """(B, H, W, C) -> the same, merged by what timm has at the start of the next stage."""
        stage = self.made(
            self.swin.SwinTransformerV2Stage,
            dim=x.shape[-1],
            out_dim=x.shape[-1],
            input_resolution=tuple(x.shape[1:3]),
            depth=depth,
            downsample=False,
            num_heads=num_heads,
            window_size=two(window_size),
            mlp_ratio=ratio(params["blocks"][0]["mlp"]),
            qkv_bias="q_bias" in params["blocks"][0]["attn"],
            pretrained_window_size=two(pretrained_window_size or 0),
        )
        x = self.with_weights("stage", stage, {"blocks": params["blocks"]})(x)
        return self.swin_v2_patch_merging(x, params["downsample"]) if "downsample" in params else x

    def swin_v2_features(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> the map (B, H', W', C') of every stage."""
        maps = self._network(params, config).forward_intermediates(images, intermediates_only=True)
        return [map_.permute(0, 2, 3, 1) for map_ in maps]

    def swin_v2_transformer(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> (B, classes)."""
        return self._network(params, config)(images)

    def _attention(self, channels: int, heads: int, window_size: Any, params: Any, trained: Any) -> Any:
        return self.made(
            self.swin.WindowAttention,
            dim=channels,
            num_heads=heads,
            window_size=two(window_size),
            qkv_bias="q_bias" in params,
            pretrained_window_size=two(trained or 0),
        )


def __getattr__(name: str) -> Any:
    """``adapter``, made when it is asked for: importing this module needs no timm."""
    if name != "adapter":
        raise AttributeError(name)
    return TimmV2(*package("timm", ("1.0.29", "2"), "timm.models.swin_transformer_v2"))
