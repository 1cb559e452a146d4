"""keras-hub's Swin, by Keras on torch: ``keras_hub.src.models.swin_transformer.swin_transformer_layers``.

A block and a stage are built for one grid. A stage merges at its end, so that the map of a stage is one
without merge.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from keras_hub.src.models.swin_transformer import swin_transformer_layers as swin
from studies.peers.assembled import give_maps, rename
from swin_properties import KerasAdapter
from swin_properties.adapters.peers.base import ratio, side, two

NAMES = rename(**{"qkv": "attention_qkv", "attn.proj": "attn.attention_projection", "blocks.": "blocks_"})


class KerasHub(KerasAdapter):
    """The layers of keras-hub's Swin."""

    scope = {  # noqa: RUF012
        "square_windows": True,
        "own_shift": True,
        "no_qk_scale": True,
        "no_position_embedding": True,
    }

    def window_partition(self, x, window_size):
        """(B, H, W, C) -> (B nW, Mh, Mw, C)."""
        return swin.window_partition(x, side(window_size, "windows"))[0]

    def window_reverse(self, windows, window_size, height, width):
        """(B nW, Mh, Mw, C) -> (B, H, W, C)."""
        return swin.window_reverse(windows, side(window_size, "windows"), height, width, windows.shape[-1])

    def relative_position_index(self, window_size):
        """(N, N), integers."""
        return swin.get_relative_position_index(*two(window_size))

    def window_attention(self, x, params, num_heads, window_size, mask=None):
        """(B nW, N, C), additive mask (nW, N, N) -> same."""

        def make():
            return swin.WindowAttention(
                x.shape[-1], num_heads, window_size=two(window_size), qkv_bias="bias" in params["qkv"]
            )

        names = rename(qkv="attention_qkv", proj="attention_projection")
        return self.loaded(make, params, names)(x, mask=mask)

    def mlp(self, x, params):
        """(..., C) -> same."""
        return self.loaded(lambda: swin.Mlp(x.shape[-1], len(params["fc1"]["weight"])), params)(x)

    def patch_embed(self, images, params, patch_size):
        """(B, 3, H, W) -> (B, H/p, W/p, C)."""
        patch, channels = side(patch_size, "patches"), len(params["proj"]["weight"])
        norm = keras.layers.LayerNormalization if "norm" in params else None
        x = keras.ops.transpose(images, (0, 2, 3, 1))
        names = rename(proj="conv_projection")
        tokens = self.loaded(lambda: swin.PatchEmbedding(patch, channels, norm), params, names)(x)
        return keras.ops.reshape(tokens, (-1, x.shape[1] // patch, x.shape[2] // patch, channels))

    def patch_merging(self, x, params):
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        batch, height, width, channels = x.shape
        tokens = keras.ops.reshape(x, (batch, height * width, channels))
        merging = self.loaded(lambda: swin.PatchMerging(channels), params)
        shape = batch, (height + 1) // 2, (width + 1) // 2, 2 * channels
        return keras.ops.reshape(merging(tokens, H=height, W=width), shape)

    def swin_block(self, x, params, num_heads, window_size, shift_size):
        """(B, H, W, C) -> same."""
        batch, height, width, channels = x.shape

        def make():
            return swin.SwinTransformerBlock(
                channels,
                (height, width),
                num_heads,
                side(window_size, "windows"),
                side(shift_size, "shifts"),
                ratio(params["mlp"]),
                "bias" in params["attn"]["qkv"],
            )

        tokens = keras.ops.reshape(x, (batch, height * width, channels))
        return keras.ops.reshape(self.loaded(make, params, NAMES)(tokens), x.shape)

    def swin_stage(self, x, params, depth, num_heads, window_size):
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        batch, height, width, channels = x.shape
        first = params["blocks"][0]

        def make():
            return swin.SwinTransformerStage(
                channels,
                depth,
                num_heads,
                side(window_size, "windows"),
                ratio(first["mlp"]),
                "bias" in first["attn"]["qkv"],
                input_resolution=(height, width),
            )

        tokens = keras.ops.reshape(x, (batch, height * width, channels))
        y = self.loaded(make, {"blocks": params["blocks"]}, NAMES)(tokens)
        y = keras.ops.reshape(y, x.shape)
        return self.patch_merging(y, params["downsample"]) if "downsample" in params else y

    swin_features = give_maps


adapter = KerasHub()
