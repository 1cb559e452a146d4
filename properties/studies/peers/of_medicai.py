"""medicai's Swin in two dimensions, by Keras on torch: ``medicai.models.swin.swin_layers``."""

import os
from math import prod

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from medicai.models.swin import swin_layers as swin
from studies.peers.assembled import rename
from swin_properties import KerasAdapter
from swin_properties.adapters.peers.base import two


class Medicai(KerasAdapter):
    """The layers of medicai's Swin for two dimensions."""

    scope = {"no_qk_scale": True}  # noqa: RUF012

    def named_anew(self, layer, params, names):
        """What a layer computes with ``params``: its parts have the names that Keras counts, from none."""
        keras.utils.clear_session(free_memory=False)
        return self.loaded(layer, params, names)

    def window_partition(self, x, window_size):
        """(B, H, W, C) -> (B nW, Mh, Mw, C)."""
        windows = swin.window_partition(x, two(window_size))
        return keras.ops.reshape(windows, (-1, *two(window_size), x.shape[-1]))

    def window_reverse(self, windows, window_size, height, width):
        """(B nW, Mh, Mw, C) -> (B, H, W, C)."""
        batch = windows.shape[0] * prod(two(window_size)) // (height * width)
        return swin.window_reverse(windows, two(window_size), batch, (height, width))

    def shifted_window_mask(self, height, width, window_size, shift_size):
        """(nW, N, N)."""
        return swin.compute_mask((height, width), two(window_size), two(shift_size))

    def relative_position_index(self, window_size):
        """(N, N), integers."""
        return swin.SwinWindowAttention(1, two(window_size), 1).get_relative_position_index()

    def window_attention(self, x, params, num_heads, window_size, mask=None):
        """(B nW, N, C), additive mask (nW, N, N) -> same."""
        sizes = x.shape[-1], two(window_size), num_heads, "bias" in params["qkv"]
        names = rename(qkv="dense", proj="dense_1")
        return self.named_anew(lambda: swin.SwinWindowAttention(*sizes), params, names)(x, mask=mask)

    def patch_embed(self, images, params, patch_size):
        """(B, 3, H, W) -> (B, ceil(H/p), ceil(W/p), C)."""
        norm = keras.layers.LayerNormalization if "norm" in params else None
        channels = len(params["proj"]["weight"])
        names = rename(proj="embed_proj", norm="embed_norm")
        layer = self.loaded(
            lambda: swin.SwinPatchingAndEmbedding(two(patch_size), channels, norm), params, names
        )
        return layer(keras.ops.transpose(images, (0, 2, 3, 1)))

    def patch_merging(self, x, params):
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        norm = keras.layers.LayerNormalization
        names = rename(norm="layer_normalization", reduction="dense")
        return self.named_anew(lambda: swin.SwinPatchMerging(x.shape[-1], norm), params, names)(x)


adapter = Medicai()
