"""MONAI's Swin in two dimensions: ``monai.networks.nets.swin_unetr``, of SwinUNETR.

A block shrinks its window to the grid and takes the mask of the whole stage, so that blocks are asked by
stages.  The map of a stage is what goes into its merge.
"""

from math import prod

from monai.networks.blocks import MLPBlock, PatchEmbed
from monai.networks.nets import swin_unetr as swin
from studies.peers.assembled import rename
from swin_properties import TorchAdapter
from swin_properties.adapters.peers.base import only, ratio, two
from torch import nn

LINEAR = rename(fc1="linear1", fc2="linear2")


class Monai(TorchAdapter):
    """The parts of MONAI's Swin for two dimensions."""

    scope = {"patch_norm": "always", "no_qk_scale": True, "no_position_embedding": True}  # noqa: RUF012

    def window_partition(self, x, window_size):
        """(B, H, W, C) -> (B nW, Mh, Mw, C)."""
        window = two(window_size)
        return swin.window_partition(x, window).view(-1, *window, x.shape[-1])

    def window_reverse(self, windows, window_size, height, width):
        """(B nW, Mh, Mw, C) -> (B, H, W, C)."""
        batch = windows.shape[0] * prod(two(window_size)) // (height * width)
        return swin.window_reverse(windows, two(window_size), (batch, height, width))

    def shifted_window_mask(self, height, width, window_size, shift_size):
        """(nW, N, N)."""
        return swin.compute_mask([height, width], two(window_size), two(shift_size), self.device)

    def relative_position_index(self, window_size):
        """(N, N), integers."""
        return swin.WindowAttention(1, 1, two(window_size)).relative_position_index

    def window_attention(self, x, params, num_heads, window_size, mask=None):
        """(B nW, N, C), additive mask (nW, N, N) -> same."""
        sizes = x.shape[-1], num_heads, two(window_size), "bias" in params["qkv"]
        return self.loaded(swin.WindowAttention(*sizes), params)(x, mask)

    def mlp(self, x, params):
        """(..., C) -> same."""
        mlp = MLPBlock(x.shape[-1], len(params["fc1"]["weight"]), act="GELU", dropout_mode="swin")
        return self.loaded(mlp, params, LINEAR)(x)

    def patch_embed(self, images, params, patch_size):
        """(B, 3, H, W) -> (B, H', W', C)."""
        channels, colours = params["proj"]["weight"].shape[:2]
        norm = nn.LayerNorm if "norm" in params else None
        embedding = PatchEmbed(two(patch_size), colours, channels, norm, spatial_dims=2)
        return self.loaded(embedding, params)(images).permute(0, 2, 3, 1)

    def patch_merging(self, x, params):
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        return self.loaded(swin.PatchMerging(x.shape[-1], spatial_dims=2), params)(x)

    def swin_stage(self, x, params, depth, num_heads, window_size):
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        merge = swin.PatchMerging if "downsample" in params else None
        stage = self._stage(x.shape[-1], params["blocks"], depth, num_heads, window_size, merge)
        return self.loaded(stage, params, LINEAR)(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def swin_features(self, images, params, config):
        """(B, 3, H, W) -> the map (B, H', W', C') of every stage."""
        x, maps = self.patch_embed(images, params["patch_embed"], config.patch_size), []
        for layer, depth, heads in zip(params["layers"], config.depths, config.num_heads, strict=True):
            maps.append(self.swin_stage(x, {"blocks": layer["blocks"]}, depth, heads, config.window_size))
            x = self.swin_stage(x, layer, depth, heads, config.window_size) if "downsample" in layer else x
        return maps

    def _stage(self, channels, blocks, depth, heads, window_size, merge):
        only(depth == len(blocks), "a block for each step of the depth")
        return swin.BasicLayer(
            channels,
            depth,
            heads,
            two(window_size),
            [0.0] * depth,
            mlp_ratio=ratio(blocks[0]["mlp"]),
            qkv_bias="bias" in blocks[0]["attn"]["qkv"],
            downsample=merge,
        )


adapter = Monai()
