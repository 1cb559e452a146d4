"""transformers' Swin, V1: ``transformers.models.swin``, with sdpa attention."""

from __future__ import annotations

import importlib
from math import prod
from typing import Any

from swin_properties.adapters.peers.base import (
    Peer,
    dropping,
    embeds_whole_patches,
    package,
    ratio,
    side,
    two,
    visible,
)

BLOCK = "swin.encoder.layers.0.blocks.0."


class Transformers(Peer):
    """Attention is torch's (``sdpa``): the eager one takes its softmax in float32, whatever it is given.

    A block takes its window and shift as given (``always_partition``); stages and above decide.
    """

    convention = layout = "transformers"
    scope = {"square_windows": True, "patch_norm": "always", "no_qk_scale": True}  # noqa: RUF012
    ways_to_modules = (*Peer.ways_to_modules, "_config")
    places = {  # noqa: RUF012
        "network": "",
        "embedding": "swin.embeddings.",
        "stage": "swin.encoder.layers.0.",
        "block": BLOCK,
        "attention": f"{BLOCK}attention.",
        "mlp": f"{BLOCK}mlp.",
        "merging": "swin.encoder.layers.0.downsample.",
    }

    def window_partition(self, x: Any, window_size: Any) -> Any:
        """(B, H, W, C) -> (B nH nW, Mh, Mw, C)."""
        return self.swin.window_partition(x, side(window_size, "windows"))

    def window_reverse(self, windows: Any, window_size: Any, height: int, width: int) -> Any:
        """(B nH nW, Mh, Mw, C) -> (B, H, W, C)."""
        return self.swin.window_reverse(windows, side(window_size, "windows"), height, width)

    def relative_position_index(self, window_size: Any) -> Any:
        """(N, N), integers."""
        bias = self.made(self.swin.SwinRelativePositionBias, num_heads=1, window_size=two(window_size))
        tokens = prod(two(window_size))
        return bias.relative_position_index.view(tokens, tokens)

    def relative_position_bias(self, table: Any, window_size: Any) -> Any:
        """((2 Mh - 1)(2 Mw - 1), heads) -> (heads, N, N)."""
        sizes = {"num_heads": table.shape[1], "window_size": two(window_size)}
        bias = self.made(self.swin.SwinRelativePositionBias, **sizes)
        return self.holding(bias, {"relative_position_bias_table": table})()[0]

    def shifted_window_mask(self, height: int, width: int, window_size: Any, shift_size: Any) -> Any:
        """(nW, N, N)."""
        block = self._block((height, width), 1, 1, window_size, shift_size)
        parameter = block.layernorm_before.weight
        mask = block.get_attn_mask(height, width, parameter.dtype, parameter.device)
        tokens = prod(two(window_size))
        return visible(mask, height * width // tokens, tokens)

    def window_attention(
        self, x: Any, params: Any, num_heads: int, window_size: Any, mask: Any = None
    ) -> Any:
        """(B nW, N, C), additive mask (nW, N, N) -> same."""
        attention = self.made(
            self.swin.SwinAttention,
            config=self._config(qkv_bias="bias" in params["qkv"]),
            hidden_size=x.shape[-1],
            num_attention_heads=num_heads,
            window_size=side(window_size, "windows"),
        )
        return self.with_weights("attention", attention, params)(x, mask)[0]

    def mlp(self, x: Any, params: Any) -> Any:
        """(..., C) -> same."""
        mlp = self.made(self.swin.SwinMLP, config=self._config(mlp_ratio=ratio(params)), dim=x.shape[-1])
        return self.with_weights("mlp", mlp, params)(x)

    def patch_embed(self, images: Any, params: Any, patch_size: Any) -> Any:
        """(B, 3, H, W) -> (B, H', W', C)."""
        channels, colours = params["proj"]["weight"].shape[:2]
        sizes = {"image_size": tuple(images.shape[2:]), "patch_size": two(patch_size)}
        config = self._config(**sizes, embed_dim=channels, num_channels=colours)
        if "norm" in params:
            embedding = self.made(self.swin.SwinEmbeddings, config=config)
            self.with_weights("embedding", embedding, params)
        else:
            embedding = self.made(self.swin.SwinPatchEmbeddings, config=config)
            self.holding(embedding, {f"projection.{name}": x for name, x in params["proj"].items()})
        tokens, (height, width) = embedding(images)
        return tokens.view(len(images), height, width, channels)

    def patch_merging(self, x: Any, params: Any) -> Any:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        batch, height, width, channels = x.shape
        merging = self.made(self.swin.SwinPatchMerging, dim=channels)
        merged = self.with_weights("merging", merging, params)(x.flatten(1, 2), (height, width))
        return merged.view(batch, (height + 1) // 2, (width + 1) // 2, 2 * channels)

    def swin_block(
        self, x: Any, params: Any, num_heads: int, window_size: Any, shift_size: Any, kept: Any = None
    ) -> Any:
        """(B, H, W, C), drop path's factors (B,) for both branches -> same."""
        grid, bias = tuple(x.shape[1:3]), "bias" in params["attn"]["qkv"]
        sizes = {"qkv_bias": bias, "mlp_ratio": ratio(params["mlp"])}
        block = self._block(grid, x.shape[-1], num_heads, window_size, shift_size, **sizes)
        self.with_weights("block", block, params)
        with dropping(block, ("drop_path",), kept):
            return block(x.flatten(1, 2), grid, always_partition=True)[0].view(x.shape)

    def swin_stage(self, x: Any, params: Any, depth: int, num_heads: int, window_size: Any) -> Any:
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        batch, height, width, channels = x.shape
        merge, first = "downsample" in params, params["blocks"][0]
        sizes = {"qkv_bias": "bias" in first["attn"]["qkv"], "mlp_ratio": ratio(first["mlp"])}
        stage = self.made(
            self.swin.SwinStage,
            config=self._config(window_size=side(window_size, "windows"), **sizes),
            dim=channels,
            input_resolution=(height, width),
            depth=depth,
            num_heads=num_heads,
            drop_path=[0.0] * depth,
            downsample=self.swin.SwinPatchMerging if merge else None,
        )
        y = self.with_weights("stage", stage, params)(x.flatten(1, 2), (height, width))[0]
        if merge:
            height, width, channels = (height + 1) // 2, (width + 1) // 2, 2 * channels
        return y.view(batch, height, width, channels)

    def swin_features(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> the map (B, H', W', C') of every stage."""
        asked = {"output_hidden_states": True, "output_hidden_states_before_downsampling": True}
        maps = self._network(params, config).swin(images, **asked).reshaped_hidden_states
        return [map_.permute(0, 2, 3, 1) for map_ in maps[1:]]

    def swin_transformer(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> (B, classes)."""
        return self._network(params, config)(images).logits

    def _config(self, **sizes: Any) -> Any:
        home = importlib.import_module("transformers.models.swin.configuration_swin")
        return home.SwinConfig(**sizes, drop_path_rate=0.0, attn_implementation="sdpa")

    def _block(
        self, grid: Any, channels: int, heads: int, window_size: Any, shift_size: Any, **sizes: Any
    ) -> Any:
        return self.made(
            self.swin.SwinLayer,
            config=self._config(window_size=side(window_size, "windows"), **sizes),
            dim=channels,
            input_resolution=tuple(grid),
            num_heads=heads,
            shift_size=side(shift_size, "shifts"),
        )

    def _network(self, params: Any, config: Any) -> Any:
        embeds_whole_patches(config)
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
        )
        network = self.made(self.swin.SwinForImageClassification, config=theirs)
        return self.with_weights("network", network, params)


def __getattr__(name: str) -> Any:
    """``adapter``, made when it is asked for: importing this module needs no transformers."""
    if name != "adapter":
        raise AttributeError(name)
    return Transformers(*package("transformers", ("5.17", "6"), "transformers.models.swin.modeling_swin"))
