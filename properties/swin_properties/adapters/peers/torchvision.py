"""torchvision's Swin: ``torchvision.models.swin_transformer``."""

from __future__ import annotations

from math import prod
from typing import Any

from torch import nn

from swin_properties.adapters.peers.base import Peer, dropping, only, package, ratio, two

BLOCK = "features.1.0."


class Torchvision(Peer):
    """Attention pads, shifts and masks in one function, so that none of these is offered alone."""

    convention = layout = "torchvision"
    scope = {  # noqa: RUF012
        "qkv_bias": "always",
        "patch_norm": "always",
        "own_shift": True,
        "no_qk_scale": True,
        "no_position_embedding": True,
    }
    places = {  # noqa: RUF012
        "network": "",
        "embedding": "features.0.",
        "stage": "features.1.",
        "block": BLOCK,
        "attention": f"{BLOCK}attn.",
        "mlp": f"{BLOCK}mlp.",
        "merging": "features.2.",
    }

    attention_class = "ShiftedWindowAttention"
    block_class, merging_class = "SwinTransformerBlock", "PatchMerging"

    def relative_position_index(self, window_size: Any) -> Any:
        """(N, N), integers."""
        tokens = prod(two(window_size))
        return self._attention(1, 1, window_size, (0, 0)).relative_position_index.view(tokens, tokens)

    def relative_position_bias(self, table: Any, window_size: Any) -> Any:
        """((2 Mh - 1)(2 Mw - 1), heads) -> (heads, N, N)."""
        index = self._attention(1, 1, window_size, (0, 0)).relative_position_index
        return self.swin._get_relative_position_bias(table, index, list(two(window_size)))[0]

    def shifted_window_attention(
        self, x: Any, params: Any, num_heads: int, window_size: Any, shift_size: Any
    ) -> Any:
        """(B, H, W, C) -> same; attention drops the shift itself on an axis that one window spans."""
        bias = "bias" in params["qkv"]
        attention = self._attention(x.shape[-1], num_heads, window_size, shift_size, qkv_bias=bias)
        return self.with_weights("attention", attention, params)(x)

    def mlp(self, x: Any, params: Any) -> Any:
        """(..., C) -> same."""
        widths = [len(params["fc1"]["weight"]), x.shape[-1]]
        mlp = self.made(
            self.swin.MLP,
            in_channels=x.shape[-1],
            hidden_channels=widths,
            activation_layer=nn.GELU,
            inplace=None,
        )
        return self.with_weights("mlp", mlp, params)(x)

    def patch_embed(self, images: Any, params: Any, patch_size: Any) -> Any:
        """(B, 3, H, W) -> (B, H', W', C): the first part of a network, up to its norm if there is none."""
        channels, colours = params["proj"]["weight"].shape[:2]
        only(colours == 3, "images of 3 colours")
        embedding = self._stages(patch_size, channels, (0,), (1,), (1, 1))[0]
        embedding = embedding if "norm" in params else embedding[:2]
        return self.with_weights("embedding", embedding, params)(images)

    def patch_merging(self, x: Any, params: Any) -> Any:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        return self._merge(x, params)

    def swin_block(
        self, x: Any, params: Any, num_heads: int, window_size: Any, shift_size: Any, kept: Any = None
    ) -> Any:
        """(B, H, W, C), drop path's factors (B,) for both branches -> same."""
        return self._apply_block(x, params, num_heads, window_size, shift_size, kept)

    def swin_stage(self, x: Any, params: Any, depth: int, num_heads: int, window_size: Any) -> Any:
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``: parts of a network."""
        return self._apply_stage(x, params, depth, num_heads, window_size)

    def swin_features(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> the map (B, H', W', C') of every stage."""
        return self._list_maps(images, params, config)

    def swin_transformer(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> (B, classes)."""
        return self._network(params, config)(images)

    def _merge(self, x: Any, params: Any) -> Any:
        merging = self.made(getattr(self.swin, self.merging_class), dim=x.shape[-1])
        return self.with_weights("merging", merging, params)(x)

    def _apply_block(
        self, x: Any, params: Any, num_heads: int, window_size: Any, shift_size: Any, kept: Any
    ) -> Any:
        block = self.made(
            getattr(self.swin, self.block_class),
            dim=x.shape[-1],
            num_heads=num_heads,
            window_size=list(two(window_size)),
            shift_size=list(two(shift_size)),
            mlp_ratio=ratio(params["mlp"]),
        )
        self.with_weights("block", block, params)
        with dropping(block, ("stochastic_depth",), kept):
            return block(x)

    def _apply_stage(self, x: Any, params: Any, depth: int, num_heads: int, window_size: Any) -> Any:
        sizes = (depth, 1), (num_heads, num_heads), two(window_size)
        network = self._stages(1, x.shape[-1], *sizes, mlp_ratio=ratio(params["blocks"][0]["mlp"]))
        x = self.with_weights("stage", network[1], {"blocks": params["blocks"]})(x)
        return self._merge(x, params["downsample"]) if "downsample" in params else x

    def _list_maps(self, images: Any, params: Any, config: Any) -> Any:
        maps, x = [], images
        for number, part in enumerate(self._network(params, config).features):
            x = part(x)
            if number % 2:
                maps.append(x)
        return maps

    def _attention(
        self, channels: int, heads: int, window_size: Any, shift_size: Any, qkv_bias: bool = True
    ) -> Any:
        return self.made(
            getattr(self.swin, self.attention_class),
            dim=channels,
            window_size=list(two(window_size)),
            shift_size=list(two(shift_size)),
            num_heads=heads,
            qkv_bias=qkv_bias,
        )

    def _stages(
        self, patch_size: Any, channels: int, depths: Any, heads: Any, window: Any, mlp_ratio: float = 4.0
    ) -> Any:
        """The parts of a network of these stages: embedding, stage, merge, stage, ..."""
        network = self.made(
            self.swin.SwinTransformer,
            patch_size=list(two(patch_size)),
            embed_dim=channels,
            depths=list(depths),
            num_heads=list(heads),
            window_size=list(window),
            mlp_ratio=mlp_ratio,
            stochastic_depth_prob=0.0,
            block=getattr(self.swin, self.block_class),
            downsample_layer=getattr(self.swin, self.merging_class),
        )
        return network.features

    def _network(self, params: Any, config: Any) -> Any:
        only(config.num_classes > 0, "networks with a head")
        only(config.in_channels == 3, "images of 3 colours")
        network = self.made(
            self.swin.SwinTransformer,
            patch_size=list(two(config.patch_size)),
            embed_dim=config.embed_dim,
            depths=list(config.depths),
            num_heads=list(config.num_heads),
            window_size=list(two(config.window_size)),
            mlp_ratio=config.mlp_ratio,
            stochastic_depth_prob=0.0,
            block=getattr(self.swin, self.block_class),
            downsample_layer=getattr(self.swin, self.merging_class),
            num_classes=config.num_classes,
        )
        return self.with_weights("network", network, params)


def __getattr__(name: str) -> Any:
    """``adapter``, made when it is asked for: importing this module needs no torchvision."""
    if name != "adapter":
        raise AttributeError(name)
    return Torchvision(*package("torchvision", ("0.25", "1"), "torchvision.models.swin_transformer"))
