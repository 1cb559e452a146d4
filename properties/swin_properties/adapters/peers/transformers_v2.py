"""transformers' Swin V2: ``transformers.models.swinv2``."""

from __future__ import annotations

import importlib
from math import prod
from typing import Any

from swin_properties.adapters.peers.base import (
    Peer,
    dropping,
    only,
    package,
    ratio,
    side,
    trained_windows,
    two,
    visible,
)

BLOCK = "swinv2.encoder.layers.0.blocks.0."


class TransformersV2(Peer):
    """A block decides its window and shift by the grid that it is built for; here that changes neither."""

    convention, layout = "transformers-v2", "transformers"
    version_marks = ("swinv2",)
    scope = {"square_windows": True, "patch_norm": "always", "no_qk_scale": True}  # noqa: RUF012
    ways_to_modules = (*Peer.ways_to_modules, "_config")
    places = {  # noqa: RUF012
        "network": "",
        "embedding": "swinv2.embeddings.",
        "stage": "swinv2.encoder.layers.0.",
        "block": BLOCK,
        "attention": f"{BLOCK}attention.",
        "merging": "swinv2.encoder.layers.0.downsample.",
    }

    def window_partition(self, x: Any, window_size: Any) -> Any:
        """(B, H, W, C) -> (B nH nW, Mh, Mw, C)."""
        return self.swin.window_partition(x, side(window_size, "windows"))

    def window_reverse(self, windows: Any, window_size: Any, height: int, width: int) -> Any:
        """(B nH nW, Mh, Mw, C) -> (B, H, W, C)."""
        return self.swin.window_reverse(windows, side(window_size, "windows"), height, width)

    def relative_position_index(self, window_size: Any) -> Any:
        """(N, N), integers."""
        return self._attention(1, 1, window_size, {}, None).self.relative_position_index

    def shifted_window_mask(self, height: int, width: int, window_size: Any, shift_size: Any) -> Any:
        """(nW, N, N)."""
        block = self._block(1, 1, window_size, shift_size, None)
        parameter = block.layernorm_before.weight
        mask = block.get_attn_mask(height, width, parameter.dtype, parameter.device)
        tokens = prod(two(window_size))
        return visible(mask, height * width // tokens, tokens)

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
        return self.with_weights("attention", attention, params)(x, mask)[0]

    def mlp(self, x: Any, params: Any) -> Any:
        """(..., C) -> same: two modules, which a block applies one after the other."""
        sizes = {"config": self._config(mlp_ratio=ratio(params)), "dim": x.shape[-1]}
        for kind, layer in ((self.swin.Swinv2Intermediate, "fc1"), (self.swin.Swinv2Output, "fc2")):
            part = self.made(kind, **sizes)
            x = self.holding(part, {f"dense.{name}": y for name, y in params[layer].items()})(x)
        return x

    def patch_embed(self, images: Any, params: Any, patch_size: Any) -> Any:
        """(B, 3, H, W) -> (B, H', W', C)."""
        channels, colours = params["proj"]["weight"].shape[:2]
        sizes = {"image_size": tuple(images.shape[2:]), "patch_size": two(patch_size)}
        config = self._config(**sizes, embed_dim=channels, num_channels=colours)
        if "norm" in params:
            embedding = self.made(self.swin.Swinv2Embeddings, config=config)
            self.with_weights("embedding", embedding, params)
        else:
            embedding = self.made(self.swin.Swinv2PatchEmbeddings, config=config)
            self.holding(embedding, {f"projection.{name}": x for name, x in params["proj"].items()})
        tokens, (height, width) = embedding(images)
        return tokens.view(len(images), height, width, channels)

    def swin_v2_patch_merging(self, x: Any, params: Any) -> Any:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        batch, height, width, channels = x.shape
        merging = self.made(self.swin.Swinv2PatchMerging, input_resolution=(height, width), dim=channels)
        merged = self.with_weights("merging", merging, params)(x.flatten(1, 2), (height, width))
        return merged.view(batch, (height + 1) // 2, (width + 1) // 2, 2 * channels)

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
        sizes = {"qkv_bias": "q_bias" in params["attn"], "mlp_ratio": ratio(params["mlp"])}
        trained = pretrained_window_size
        block = self._block(x.shape[-1], num_heads, window_size, shift_size, trained, **sizes)
        self.with_weights("block", block, params)
        with dropping(block, ("drop_path",), kept):
            return block(x.flatten(1, 2), tuple(x.shape[1:3]))[0].view(x.shape)

    def swin_v2_stage(
        self,
        x: Any,
        params: Any,
        depth: int,
        num_heads: int,
        window_size: Any,
        pretrained_window_size: Any = None,
    ) -> Any:
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        batch, height, width, channels = x.shape
        merge, first = "downsample" in params, params["blocks"][0]
        sizes = {"qkv_bias": "q_bias" in first["attn"], "mlp_ratio": ratio(first["mlp"])}
        stage = self.made(
            self.swin.Swinv2Stage,
            config=self._config(window_size=side(window_size, "windows"), **sizes),
            dim=channels,
            input_resolution=(height, width),
            depth=depth,
            num_heads=num_heads,
            drop_path=[0.0] * depth,
            downsample=self.swin.Swinv2PatchMerging if merge else None,
            pretrained_window_size=pretrained_window_size or 0,
        )
        y = self.with_weights("stage", stage, params)(x.flatten(1, 2), (height, width))[0]
        if merge:
            height, width, channels = (height + 1) // 2, (width + 1) // 2, 2 * channels
        return y.view(batch, height, width, channels)

    def swin_v2_features(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> the map (B, H', W', C') of every stage."""
        # Its position embedding has a row too many: `swin_v2_transformer` shows it, here it would hide more.
        only(not config.absolute_position_embedding, "networks without a position embedding")
        asked = {"output_hidden_states": True, "output_hidden_states_before_downsampling": True}
        swin = self._network(params, config).swinv2
        maps = swin.encoder(*swin.embeddings(images), **asked).reshaped_hidden_states
        return [map_.permute(0, 2, 3, 1) for map_ in maps[1:]]

    def swin_v2_transformer(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> (B, classes)."""
        return self._network(params, config)(images).logits

    def _config(self, **sizes: Any) -> Any:
        home = importlib.import_module("transformers.models.swinv2.configuration_swinv2")
        return home.Swinv2Config(**sizes, drop_path_rate=0.0)

    def _attention(self, channels: int, heads: int, window_size: Any, params: Any, trained: Any) -> Any:
        return self.made(
            self.swin.Swinv2Attention,
            config=self._config(qkv_bias="q_bias" in params),
            dim=channels,
            num_heads=heads,
            window_size=side(window_size, "windows"),
            pretrained_window_size=trained or 0,
        )

    def _block(
        self, channels: int, heads: int, window_size: Any, shift_size: Any, trained: Any, **sizes: Any
    ) -> Any:
        window = side(window_size, "windows")
        return self.made(
            self.swin.Swinv2Layer,
            config=self._config(window_size=window, **sizes),
            dim=channels,
            input_resolution=(window + 1, window + 1),  # the least that keeps the window and the shift
            num_heads=heads,
            shift_size=side(shift_size, "shifts"),
            pretrained_window_size=trained or 0,
        )

    def _network(self, params: Any, config: Any) -> Any:
        theirs = self._config(
            image_size=two(config.image_size),
            patch_size=two(config.patch_size),
            num_channels=config.in_channels,
            embed_dim=config.embed_dim,
            depths=config.depths,
            num_heads=config.num_heads,
            window_size=side(config.window_size, "windows"),
            mlp_ratio=config.mlp_ratio,
            qkv_bias=config.qkv_bias,
            use_absolute_embeddings=config.absolute_position_embedding,
            num_labels=config.num_classes,
            **trained_windows(config),
        )
        network = self.made(self.swin.Swinv2ForImageClassification, config=theirs)
        return self.with_weights("network", network, params)


def __getattr__(name: str) -> Any:
    """``adapter``, made when it is asked for: importing this module needs no transformers."""
    if name != "adapter":
        raise AttributeError(name)
    return TransformersV2(
        *package("transformers", ("5.17", "6"), "transformers.models.swinv2.modeling_swinv2")
    )
