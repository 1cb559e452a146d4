"""microsoft's own Swin, for classification: ``models/swin_transformer.py`` of a Swin-Transformer checkout."""

from __future__ import annotations

from math import prod
from typing import Any

from swin_properties.adapters.peers.base import dropping, only, ratio, side, trained_windows, two, visible
from swin_properties.adapters.peers.checkout import TIMM, Checkout, found, load_file, of_peer

FILE = "models/swin_transformer.py"
PACKAGES = ("timm", "timm.models", "kernels", "kernels.window_process")


class Official(Checkout):
    """Blocks, stages and networks are built for one grid, and decide window and shift by it themselves."""

    convention = layout = "official"
    network_class = "SwinTransformer"
    scope = {"square_windows": True, "own_shift": True}  # noqa: RUF012

    def shifted_window_mask(self, height: int, width: int, window_size: Any, shift_size: Any) -> Any:
        """(nW, N, N)."""
        block = self._block((height, width), 1, 1, window_size, shift_size)
        tokens = prod(two(window_size))
        return visible(block.attn_mask, height * width // tokens, tokens)

    def patch_embed(self, images: Any, params: Any, patch_size: Any) -> Any:
        """(B, 3, H, W) -> (B, H', W', C)."""
        channels, colours = params["proj"]["weight"].shape[:2]
        embedding = self.made(
            self.swin.PatchEmbed,
            img_size=tuple(images.shape[2:]),
            patch_size=two(patch_size),
            in_chans=colours,
            embed_dim=channels,
            norm_layer=self.swin.nn.LayerNorm if "norm" in params else None,
        )
        tokens = self.with_weights("embedding", embedding, params)(images)
        return tokens.view(len(images), *embedding.patches_resolution, channels)

    def patch_merging(self, x: Any, params: Any) -> Any:
        """(B, H, W, C), even sides -> (B, H/2, W/2, 2 C)."""
        return self._merge(x, params)

    def swin_block(
        self, x: Any, params: Any, num_heads: int, window_size: Any, shift_size: Any, kept: Any = None
    ) -> Any:
        """(B, H, W, C), drop path's factors (B,) for both branches -> same."""
        bias = "bias" in params["attn"]["qkv"]
        return self._apply_block(x, params, num_heads, window_size, shift_size, kept, qkv_bias=bias)

    def swin_stage(self, x: Any, params: Any, depth: int, num_heads: int, window_size: Any) -> Any:
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        bias = "bias" in params["blocks"][0]["attn"]["qkv"]
        return self._apply_stage(x, params, depth, num_heads, window_size, qkv_bias=bias)

    def swin_features(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> the map (B, H', W', C') of every stage, before its merge."""
        return self._list_maps(images, params, config)

    def swin_transformer(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> (B, classes)."""
        return self._network(params, config)(images)

    def _merge(self, x: Any, params: Any) -> Any:
        batch, height, width, channels = x.shape
        merging = self.made(self.swin.PatchMerging, input_resolution=(height, width), dim=channels)
        merged = self.with_weights("merging", merging, params)(x.flatten(1, 2))
        return merged.view(batch, height // 2, width // 2, 2 * channels)

    def _apply_block(
        self, x: Any, params: Any, heads: int, window_size: Any, shift_size: Any, kept: Any, **own: Any
    ) -> Any:
        sizes = x.shape[1:3], x.shape[-1], heads, window_size, shift_size
        block = self._block(*sizes, mlp_ratio=ratio(params["mlp"]), **own)
        self.with_weights("block", block, params)
        with dropping(block, ("drop_path",), kept):
            return block(x.flatten(1, 2)).view(x.shape)

    def _apply_stage(
        self, x: Any, params: Any, depth: int, num_heads: int, window_size: Any, **own: Any
    ) -> Any:
        batch, height, width, channels = x.shape
        merge, first = "downsample" in params, params["blocks"][0]
        stage = self.made(
            self.swin.BasicLayer,
            dim=channels,
            input_resolution=(height, width),
            depth=depth,
            num_heads=num_heads,
            window_size=side(window_size, "windows"),
            mlp_ratio=ratio(first["mlp"]),
            downsample=self.swin.PatchMerging if merge else None,
            **own,
        )
        y = self.with_weights("stage", stage, params)(x.flatten(1, 2))
        shape = (height // 2, width // 2, 2 * channels) if merge else (height, width, channels)
        return y.view(batch, *shape)

    def _list_maps(self, images: Any, params: Any, config: Any) -> Any:
        network = self._network(params, config)
        maps, x = [], network.patch_embed(images)
        x = x + network.absolute_pos_embed if network.ape else x
        for layer in network.layers:
            for block in layer.blocks:
                x = block(x)
            maps.append(x.view(len(images), *layer.input_resolution, layer.dim))
            x = layer.downsample(x) if layer.downsample is not None else x
        return maps

    def _block(
        self, grid: Any, channels: int, heads: int, window_size: Any, shift_size: Any, **sizes: Any
    ) -> Any:
        window, shift = side(window_size, "windows"), side(shift_size, "shifts")
        only(min(grid) >= window, "windows no larger than the grid")
        return self.made(
            self.swin.SwinTransformerBlock,
            dim=channels,
            input_resolution=tuple(grid),
            num_heads=heads,
            window_size=window,
            shift_size=shift,
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
            depths=list(config.depths),
            num_heads=list(config.num_heads),
            window_size=side(config.window_size, "windows"),
            mlp_ratio=config.mlp_ratio,
            qkv_bias=config.qkv_bias,
            drop_path_rate=0.0,
            ape=config.absolute_position_embedding,
            patch_norm=config.patch_norm,
            **(trained_windows(config) or {"qk_scale": config.qk_scale}),
        )
        return self.with_weights("network", network, params)


def adapter_from(path: str) -> Official:
    """The adapter of a checkout, or of its file.

    Errors: ``ValueError`` in one sentence for a path without it, or a file that is another.
    """
    file = found(path, (FILE,), "official")
    stand_ins: dict[str, dict[str, Any]] = {key: {} for key in PACKAGES}
    stand_ins["timm.models.layers"] = TIMM
    # Its fused kernel is an extension to be compiled; the flag that turns it on stays off.
    fused = {"WindowProcess": None, "WindowProcessReverse": None}
    stand_ins["kernels.window_process.window_process"] = fused
    swin = of_peer(load_file(file, "official_swin_transformer", stand_ins), file, "official")
    return Official(swin, f"official from {path}")
