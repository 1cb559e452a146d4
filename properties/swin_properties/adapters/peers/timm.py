"""timm's Swin: ``timm.models.swin_transformer``."""

from __future__ import annotations

from math import prod
from typing import Any

from torch import nn

from swin_properties.adapters.peers.base import (
    OFFICIAL,
    Peer,
    dropping,
    package,
    ratio,
    trained_windows,
    two,
    visible,
)


class Timm(Peer):
    """A block takes its window and shift as given (``always_partition``); stages and above decide."""

    convention = layout = "timm"
    scope = {"patch_norm": "always", "no_qk_scale": True, "no_position_embedding": True}  # noqa: RUF012
    places = OFFICIAL | {"merging": "layers.1.downsample."}
    block_class, network_class = "SwinTransformerBlock", "SwinTransformer"

    def window_partition(self, x: Any, window_size: Any) -> Any:
        """(B, H, W, C) -> (B nH nW, Mh, Mw, C)."""
        return self.swin.window_partition(x, two(window_size))

    def window_reverse(self, windows: Any, window_size: Any, height: int, width: int) -> Any:
        """(B nH nW, Mh, Mw, C) -> (B, H, W, C)."""
        return self.swin.window_reverse(windows, two(window_size), height, width)

    def relative_position_index(self, window_size: Any) -> Any:
        """(N, N), integers."""
        return self.swin.get_relative_position_index(*two(window_size))

    def shifted_window_mask(self, height: int, width: int, window_size: Any, shift_size: Any) -> Any:
        """(nW, N, N)."""
        block = self._block((height, width), 1, 1, window_size, shift_size)
        tokens = prod(two(window_size))
        return visible(block.attn_mask, height * width // tokens, tokens)

    def window_attention(
        self, x: Any, params: Any, num_heads: int, window_size: Any, mask: Any = None
    ) -> Any:
        """(B nW, N, C), additive mask (nW, N, N) -> same."""
        attention = self.made(
            self.swin.WindowAttention,
            dim=x.shape[-1],
            num_heads=num_heads,
            window_size=two(window_size),
            qkv_bias="bias" in params["qkv"],
        )
        return self.with_weights("attention", attention, params)(x, mask)

    def shifted_window_attention(
        self, x: Any, params: Any, num_heads: int, window_size: Any, shift_size: Any
    ) -> Any:
        """(B, H, W, C) -> same: a block's attention, without its norm."""
        bias = "bias" in params["qkv"]
        block = self._block(x.shape[1:3], x.shape[-1], num_heads, window_size, shift_size, qkv_bias=bias)
        self.with_weights("attention", block.attn, params)
        return block._attn(x)

    def mlp(self, x: Any, params: Any) -> Any:
        """(..., C) -> same."""
        hidden = len(params["fc1"]["weight"])
        mlp = self.made(self.swin.Mlp, in_features=x.shape[-1], hidden_features=hidden)
        return self.with_weights("mlp", mlp, params)(x)

    def patch_embed(self, images: Any, params: Any, patch_size: Any) -> Any:
        """(B, 3, H, W) -> (B, H', W', C)."""
        channels, colours = params["proj"]["weight"].shape[:2]
        embedding = self.made(
            self.swin.PatchEmbed,
            img_size=tuple(images.shape[2:]),
            patch_size=two(patch_size),
            in_chans=colours,
            embed_dim=channels,
            norm_layer=nn.LayerNorm if "norm" in params else None,
            output_fmt="NHWC",
        )
        return self.with_weights("embedding", embedding, params)(images)

    def patch_merging(self, x: Any, params: Any) -> Any:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        return self.with_weights("merging", self.made(self.swin.PatchMerging, dim=x.shape[-1]), params)(x)

    def swin_block(
        self, x: Any, params: Any, num_heads: int, window_size: Any, shift_size: Any, kept: Any = None
    ) -> Any:
        """(B, H, W, C), drop path's factors (B,) for both branches -> same."""
        sizes = x.shape[1:3], x.shape[-1], num_heads, window_size, shift_size
        bias = "bias" in params["attn"]["qkv"]
        block = self._block(*sizes, qkv_bias=bias, mlp_ratio=ratio(params["mlp"]))
        self.with_weights("block", block, params)
        with dropping(block, ("drop_path1", "drop_path2"), kept):
            return block(x)

    def swin_stage(self, x: Any, params: Any, depth: int, num_heads: int, window_size: Any) -> Any:
        """(B, H, W, C) -> the same, merged by what timm has at the start of the next stage."""
        stage = self.made(
            self.swin.SwinTransformerStage,
            dim=x.shape[-1],
            out_dim=x.shape[-1],
            input_resolution=tuple(x.shape[1:3]),
            depth=depth,
            downsample=False,
            num_heads=num_heads,
            window_size=two(window_size),
            mlp_ratio=ratio(params["blocks"][0]["mlp"]),
            qkv_bias="bias" in params["blocks"][0]["attn"]["qkv"],
        )
        x = self.with_weights("stage", stage, {"blocks": params["blocks"]})(x)
        return self.patch_merging(x, params["downsample"]) if "downsample" in params else x

    def swin_features(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> the map (B, H', W', C') of every stage."""
        maps = self._network(params, config).forward_intermediates(images, intermediates_only=True)
        return [map_.permute(0, 2, 3, 1) for map_ in maps]

    def swin_transformer(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> (B, classes)."""
        return self._network(params, config)(images)

    def _block(
        self, grid: Any, channels: int, heads: int, window_size: Any, shift_size: Any, **sizes: Any
    ) -> Any:
        return self.made(
            getattr(self.swin, self.block_class),
            dim=channels,
            input_resolution=tuple(grid),
            num_heads=heads,
            window_size=two(window_size),
            shift_size=two(shift_size),
            always_partition=True,
            **sizes,
        )

    def _network(self, params: Any, config: Any) -> Any:
        network = self.made(
            getattr(self.swin, self.network_class),
            img_size=two(config.image_size),
            patch_size=two(config.patch_size),
            in_chans=config.in_channels,
            num_classes=config.num_classes,
            embed_dim=config.embed_dim,
            depths=config.depths,
            num_heads=config.num_heads,
            window_size=config.windows if len(set(config.windows)) > 1 else config.windows[0],
            mlp_ratio=config.mlp_ratio,
            qkv_bias=config.qkv_bias,
            drop_path_rate=0.0,
            **trained_windows(config),
        )
        return self.with_weights("network", network, params)


def __getattr__(name: str) -> Any:
    """``adapter``, made when it is asked for: importing this module needs no timm."""
    if name != "adapter":
        raise AttributeError(name)
    return Timm(*package("timm", ("1.0.29", "2"), "timm.models.swin_transformer"))
