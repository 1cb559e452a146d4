"""microsoft's Swin for object detection and segmentation: a backbone, from a checkout."""

from __future__ import annotations

from typing import Any

from torch import nn

from swin_properties.adapters.peers.base import dropping, embeds_whole_patches, ratio, side, two
from swin_properties.adapters.peers.checkout import TIMM, Checkout, found, load_file, of_peer

FILES = tuple(f"{package}/models/backbones/swin_transformer.py" for package in ("mmdet", "mmseg"))


class Registry:
    """Where mmdet and mmseg list their backbones: here a decorator that lists nothing."""

    def register_module(self) -> Any:
        """A decorator that gives the class as it is."""
        return lambda kind: kind


class Detection(Checkout):
    """A backbone: it has no head, so that no logits are offered."""

    convention = layout = "detection"
    scope = {"square_windows": True}  # noqa: RUF012

    def patch_embed(self, images: Any, params: Any, patch_size: Any) -> Any:
        """(B, 3, H, W) -> (B, H', W', C)."""
        channels, colours = params["proj"]["weight"].shape[:2]
        embedding = self.made(
            self.swin.PatchEmbed,
            patch_size=two(patch_size),
            in_chans=colours,
            embed_dim=channels,
            norm_layer=nn.LayerNorm if "norm" in params else None,
        )
        return self.with_weights("embedding", embedding, params)(images).permute(0, 2, 3, 1)

    def patch_merging(self, x: Any, params: Any) -> Any:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        batch, height, width, channels = x.shape
        merging = self.made(self.swin.PatchMerging, dim=channels)
        merged = self.with_weights("merging", merging, params)(x.flatten(1, 2), height, width)
        return merged.view(batch, (height + 1) // 2, (width + 1) // 2, 2 * channels)

    def swin_block(
        self, x: Any, params: Any, num_heads: int, window_size: Any, shift_size: Any, kept: Any = None
    ) -> Any:
        """(B, H, W, C), drop path's factors (B,) for both branches -> same.

        The mask is the stage's, which is told the shift: so it is a stage of this block alone.
        """
        sizes = self._sizes(x, {"blocks": [params]}, 1, num_heads, window_size)
        stage = self.made(self._one_block, shift_size=side(shift_size, "shifts"), **sizes)
        self.with_weights("stage", stage, {"blocks": [params]})
        with dropping(stage.blocks[0], ("drop_path",), kept):
            return stage(x.flatten(1, 2), *x.shape[1:3])[0].view(x.shape)

    def swin_stage(self, x: Any, params: Any, depth: int, num_heads: int, window_size: Any) -> Any:
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        stage = self.made(self.swin.BasicLayer, **self._sizes(x, params, depth, num_heads, window_size))
        self.with_weights("stage", stage, params)
        *_, y, height, width = stage(x.flatten(1, 2), *x.shape[1:3])
        return y.view(len(x), height, width, -1)

    def swin_features(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> the map (B, H', W', C') of every stage; its norm is taken out."""
        embeds_whole_patches(config)
        last = len(config.depths) - 1
        (height, width), (ph, pw) = two(config.image_size), two(config.patch_size)
        network = self.made(
            self.swin.SwinTransformer,
            pretrain_img_size=two(config.image_size),
            patch_size=two(config.patch_size),
            in_chans=config.in_channels,
            embed_dim=config.embed_dim,
            depths=list(config.depths),
            num_heads=list(config.num_heads),
            window_size=side(config.window_size, "windows"),
            mlp_ratio=config.mlp_ratio,
            qkv_bias=config.qkv_bias,
            qk_scale=config.qk_scale,
            drop_path_rate=0.0,
            ape=config.absolute_position_embedding,
            patch_norm=config.patch_norm,
            out_indices=tuple(range(last + 1)),
        )
        for stage in range(last + 1):
            setattr(network, f"norm{stage}", nn.Identity())
        backbone = {name: x for name, x in params.items() if name not in ("norm", "head")}
        self.with_weights("network", network, backbone, (height // ph, width // pw))
        return [map_.permute(0, 2, 3, 1) for map_ in network(images)]

    def _sizes(self, x: Any, params: Any, depth: int, num_heads: int, window_size: Any) -> dict[str, Any]:
        first = params["blocks"][0]
        return {
            "dim": x.shape[-1],
            "depth": depth,
            "num_heads": num_heads,
            "window_size": side(window_size, "windows"),
            "mlp_ratio": ratio(first["mlp"]),
            "qkv_bias": "bias" in first["attn"]["qkv"],
            "downsample": self.swin.PatchMerging if "downsample" in params else None,
        }

    def _one_block(self, shift_size: int, **sizes: Any) -> Any:
        stage = self.swin.BasicLayer(**sizes)
        stage.shift_size = stage.blocks[0].shift_size = shift_size
        return stage


def adapter_from(path: str) -> Detection:
    """The adapter of a checkout, or of its file.

    Errors: ``ValueError`` in one sentence for a path without it, or a file that is another.
    """
    file = found(path, FILES, "detection")
    stand_ins: dict[str, dict[str, Any]] = {key: {} for key in ("timm", "timm.models")}
    stand_ins["timm.models.layers"] = TIMM
    stand_ins["mmcv_custom"] = {"load_checkpoint": None}
    for package in ("mmdet", "mmseg"):
        stand_ins |= {key: {} for key in (package, f"{package}.models", f"{package}.models.backbones")}
        stand_ins[f"{package}.utils"] = {"get_root_logger": None}
        stand_ins[f"{package}.models.builder"] = {"BACKBONES": Registry()}
    swin = load_file(file, "mmdet.models.backbones.swin_transformer", stand_ins)
    return Detection(of_peer(swin, file, "detection"), f"detection from {path}")
