"""A Swin Transformer in Keras 3, of its layers, and its adapter: the last lines.

Maps are (B, H, W, C) and images (B, H, W, 3).  Sizes are pairs.  KERAS_BACKEND chooses torch or jax.

swin-oracle check examples/swin_keras.py --few-shapes
"""

import os
import re
from math import prod

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import layers, ops
from swin_properties import KerasAdapter, pairs


def partition(x, window):
    """(B, H, W, C) -> (B nW, Mh, Mw, C)."""
    B, H, W, C = x.shape
    mh, mw = window
    x = ops.reshape(x, (B, H // mh, mh, W // mw, mw, C))
    return ops.reshape(ops.swapaxes(x, 2, 3), (-1, mh, mw, C))


def reverse(windows, window, height, width):
    """(B nW, Mh, Mw, C) -> (B, H, W, C)."""
    (mh, mw), C = window, windows.shape[-1]
    x = ops.reshape(windows, (-1, height // mh, width // mw, mh, mw, C))
    return ops.reshape(ops.swapaxes(x, 2, 3), (-1, height, width, C))


def shift_mask(height, width, window, shift):
    """Returns 0 for tokens of a window that are neighbours in the image, else -inf: (nW, N, N)."""
    rows, columns = np.arange(height) >= height - shift[0], np.arange(width) >= width - shift[1]
    region = 2 * rows[:, None] + columns
    (mh, mw), (H, W) = window, region.shape
    region = region.reshape(H // mh, mh, W // mw, mw).swapaxes(1, 2).reshape(-1, mh * mw)
    return np.where(region[:, :, None] == region[:, None, :], 0.0, -np.inf)


def offset_index(window):
    """Returns the row of the bias table for each query and key: (N, N)."""
    mh, mw = window
    h, w = np.divmod(np.arange(mh * mw), mw)
    return (h[:, None] - h + mh - 1) * (2 * mw - 1) + w[:, None] - w + mw - 1


def position_bias(table, window):
    """((2 Mh - 1)(2 Mw - 1), heads) -> (heads, N, N)."""
    return ops.transpose(ops.take(table, offset_index(window), axis=0), (2, 0, 1))


def make_norm(name=None, eps=1e-5):
    """Returns a LayerNorm with the epsilon of Swin."""
    return layers.LayerNormalization(epsilon=eps, name=name)


class Mlp(layers.Layer):
    """Two dense layers with the exact GELU between them."""

    def __init__(self, hidden, **words):
        super().__init__(**words)
        self.fc1 = layers.Dense(hidden, name="fc1")
        self.hidden = hidden

    def build(self, shape):
        """Makes the second layer as wide as what comes in."""
        self.fc1.build(shape)
        self.fc2 = layers.Dense(shape[-1], name="fc2")
        self.fc2.build((*shape[:-1], self.hidden))

    def call(self, x):
        """(..., C) -> same."""
        return self.fc2(keras.activations.gelu(self.fc1(x), approximate=False))


class Attention(layers.Layer):
    """(Shifted-)window attention."""

    def __init__(self, heads, window, shift=(0, 0), qkv_bias=True, scale=None, **words):
        super().__init__(**words)
        self.heads, self.window, self.shift, self.scale = heads, window, shift, scale
        self.qkv_bias = qkv_bias

    def build(self, shape):
        """Makes the dense layers and the bias table."""
        C, (mh, mw) = shape[-1], self.window
        self.qkv = layers.Dense(3 * C, use_bias=self.qkv_bias, name="qkv")
        self.proj = layers.Dense(C, name="proj")
        self.qkv.build(shape)
        self.proj.build(shape)
        self.table = self.add_weight(shape=((2 * mh - 1) * (2 * mw - 1), self.heads), name="table")

    def attend(self, x, added=None):
        """Attends inside each window: (B nW, N, C), added to the logits (nW, N, N) -> (B nW, N, C)."""
        windows, N, C = x.shape
        qkv = ops.reshape(self.qkv(x), (windows, N, 3, self.heads, C // self.heads))
        q, k, v = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), axis=0)
        scale = (C // self.heads) ** -0.5 if self.scale is None else self.scale
        logits = ops.matmul(q * scale, ops.swapaxes(k, -1, -2)) + position_bias(self.table, self.window)
        if added is not None:
            logits = ops.reshape(logits, (-1, len(added), self.heads, N, N)) + added[:, None]
        weights = ops.softmax(ops.reshape(logits, (windows, self.heads, N, N)))
        return self.proj(ops.reshape(ops.swapaxes(ops.matmul(weights, v), 1, 2), (windows, N, C)))

    def call(self, x, added=None):
        """Attends inside windows (B nW, N, C), or pads, shifts and cuts a grid (B, H, W, C)."""
        if len(x.shape) == 3:
            return self.attend(x, added)
        _, H, W, C = x.shape
        (mh, mw), (sh, sw) = self.window, self.shift
        x = ops.pad(x, ((0, 0), (0, -H % mh), (0, -W % mw), (0, 0)))
        height, width = x.shape[1:3]
        windows = partition(ops.roll(x, (-sh, -sw), (1, 2)), self.window)
        if any(self.shift):
            added = ops.convert_to_tensor(shift_mask(height, width, self.window, self.shift), x.dtype)
        attended = self.attend(ops.reshape(windows, (-1, mh * mw, C)), added)
        x = reverse(attended, self.window, height, width)
        return ops.roll(x, (sh, sw), (1, 2))[:, :H, :W]


def drop_path(x, kept):
    """Multiplies each image of a branch by its factor."""
    return x if kept is None else x * kept[:, None, None, None]


class Block(layers.Layer):
    """A Swin block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, heads, window, shift, hidden, qkv_bias=True, scale=None, **words):
        super().__init__(**words)
        self.norm1, self.norm2 = make_norm("norm1"), make_norm("norm2")
        self.attn = Attention(heads, window, shift, qkv_bias, scale, name="attn")
        self.mlp = Mlp(hidden, name="mlp")

    def build(self, shape):
        """Builds the parts."""
        for part in (self.norm1, self.attn, self.norm2, self.mlp):
            part.build(shape)

    def call(self, x, kept=None):
        """(B, H, W, C) -> same."""
        kept_attention, kept_mlp = kept or (None, None)
        x = x + drop_path(self.attn(self.norm1(x)), kept_attention)
        return x + drop_path(self.mlp(self.norm2(x)), kept_mlp)


class PatchMerging(layers.Layer):
    """Makes one token of each 2 x 2 tokens."""

    def build(self, shape):
        """Makes the norm and the reduction."""
        C = shape[-1]
        self.norm, self.reduction = make_norm("norm"), layers.Dense(2 * C, use_bias=False, name="reduction")
        self.norm.build((*shape[:-1], 4 * C))
        self.reduction.build((*shape[:-1], 4 * C))

    def call(self, x):
        """(B, H, W, C) -> (B, H/2, W/2, 2C), sides rounded up."""
        x = ops.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
        x = ops.concatenate([x[:, dh::2, dw::2] for dw in (0, 1) for dh in (0, 1)], -1)
        return self.reduction(self.norm(x))


class PatchEmbed(layers.Layer):
    """Makes a token of each patch of an image."""

    def __init__(self, channels, patch, norm=True, **words):
        super().__init__(**words)
        self.patch = patch
        self.proj = layers.Conv2D(channels, patch, patch, data_format="channels_last", name="proj")
        self.norm = make_norm("norm") if norm else None

    def build(self, shape):
        """Builds the convolution and the norm."""
        self.proj.build(shape)
        if self.norm is not None:
            self.norm.build((*shape[:-1], self.proj.filters))

    def call(self, images):
        """(B, H, W, 3) -> (B, H/p, W/p, C), sides rounded up."""
        (_, H, W, _), (ph, pw) = images.shape, self.patch
        x = self.proj(ops.pad(images, ((0, 0), (0, -H % ph), (0, -W % pw), (0, 0))))
        return x if self.norm is None else self.norm(x)


class Stage(layers.Layer):
    """Blocks, of which the odd ones are shifted unless a window spans the grid."""

    def __init__(self, depth, heads, window, hidden, qkv_bias=True, scale=None, **words):
        super().__init__(**words)
        self.sizes = heads, window, hidden, qkv_bias, scale
        self.depth = depth

    def build(self, shape):
        """Makes the blocks for this grid."""
        heads, window, *rest = self.sizes
        spans = shape[1] <= window[0] or shape[2] <= window[1]
        half = (0, 0) if spans else (window[0] // 2, window[1] // 2)
        shifts = [half if number % 2 else (0, 0) for number in range(self.depth)]
        self.blocks = [
            Block(heads, window, shift, *rest, name=f"block{number}") for number, shift in enumerate(shifts)
        ]
        for block in self.blocks:
            block.build(shape)

    def call(self, x, kept=None):
        """(B, H, W, C) -> same."""
        for number, block in enumerate(self.blocks):
            x = block(x, kept[number] if kept else None)
        return x


class Swin(layers.Layer):
    """The whole network; without classes it gives the mean over the tokens, with `maps` the stages' maps."""

    def __init__(self, config, maps=False, **words):
        super().__init__(**words)
        self.config, self.maps = config, maps
        self.embed = PatchEmbed(config.embed_dim, config.patch_size, config.patch_norm, name="embed")
        self.stages = [
            Stage(
                depth,
                heads,
                config.window_size,
                int(channels * config.mlp_ratio),
                config.qkv_bias,
                config.qk_scale,
                name=f"stage{number}",
            )
            for number, (depth, heads, channels) in enumerate(
                zip(config.depths, config.num_heads, config.channels, strict=True)
            )
        ]
        self.merges = [PatchMerging(name=f"merge{number}") for number in range(len(config.depths) - 1)]
        self.norm = make_norm("norm")
        self.head = layers.Dense(config.num_classes, name="head") if config.num_classes else None
        if config.absolute_position_embedding:
            sizes = zip(config.image_size, config.patch_size, strict=True)
            tokens = prod(-(-side // patch) for side, patch in sizes)
            self.positions = self.add_weight(shape=(1, tokens, config.embed_dim), name="positions")

    def build(self, shape):
        """Builds the parts: from stage to stage a grid has half the sides and twice the channels."""
        self.embed.build(shape)
        grid = [-(-side // patch) for side, patch in zip(shape[1:3], self.config.patch_size, strict=True)]
        for number, (stage, channels) in enumerate(zip(self.stages, self.config.channels, strict=True)):
            stage.build((shape[0], *grid, channels))
            if number < len(self.merges):
                self.merges[number].build((shape[0], *grid, channels))
            grid = [-(-side // 2) for side in grid]
        self.norm.build((shape[0], channels))
        if self.head is not None:
            self.head.build((shape[0], channels))

    def call(self, images, kept=None):
        """(B, H, W, 3) -> (B, classes), or the list of maps."""
        x = self.embed(images)
        if self.config.absolute_position_embedding:
            if images.shape[1:3] != self.config.image_size:  # Keras would broadcast a side of 1
                raise ValueError(f"the positions are those of images of {self.config.image_size}")
            x = x + ops.reshape(self.positions, (1, *x.shape[1:]))
        maps = []
        for number, stage in enumerate(self.stages):
            x = stage(x, kept[number] if kept else None)
            maps.append(x)
            if number < len(self.merges):
                x = self.merges[number](x)
        x = ops.mean(self.norm(x), (1, 2))
        x = x if self.head is None else self.head(x)
        return maps if self.maps else x


# The adapter.


def rename(flat):
    """Renames the weights, by their official names with Keras' kernels, to the names of the layers above."""
    names = {
        "relative_position_bias_table": "table",
        r"layers\.(\d+)\.blocks\.(\d+)": r"stage\1.block\2",
        r"layers\.(\d+)\.downsample": r"merge\1",
        r"blocks\.(\d+)": r"block\1",
        "patch_embed": "embed",
        "absolute_pos_embed": "positions",
    }
    for official, own in names.items():
        flat = {re.sub(official, own, name): x for name, x in flat.items()}
    return flat


class Adapter(KerasAdapter):
    """The layers and functions above as the callables of an adapter."""

    def window_partition(self, x, window_size):
        """(B, H, W, C) -> (B nW, Mh, Mw, C)."""
        return partition(x, window_size)

    def window_reverse(self, windows, window_size, height, width):
        """(B nW, Mh, Mw, C) -> (B, H, W, C)."""
        return reverse(windows, window_size, height, width)

    def cyclic_shift(self, x, shift_size):
        """(B, H, W, C) -> same."""
        return ops.roll(x, (-shift_size[0], -shift_size[1]), (1, 2))

    def reverse_cyclic_shift(self, x, shift_size):
        """(B, H, W, C) -> same."""
        return ops.roll(x, shift_size, (1, 2))

    def shifted_window_mask(self, height, width, window_size, shift_size):
        """(nW, N, N)."""
        return shift_mask(height, width, window_size, shift_size)

    def relative_position_index(self, window_size):
        """(N, N), integers."""
        return offset_index(window_size)

    def relative_position_bias(self, table, window_size):
        """((2 Mh - 1)(2 Mw - 1), heads) -> (heads, N, N)."""
        return position_bias(table, window_size)

    def window_attention(self, x, params, num_heads, window_size, mask=None, qk_scale=None):
        """(B nW, N, C), mask (nW, N, N) -> (B nW, N, C)."""
        sizes = num_heads, window_size, (0, 0), "bias" in params["qkv"], qk_scale
        return self.loaded(lambda: Attention(*sizes), params, rename)(x, mask)

    def shifted_window_attention(self, x, params, num_heads, window_size, shift_size, qk_scale=None):
        """(B, H, W, C) -> same."""
        sizes = num_heads, window_size, shift_size, "bias" in params["qkv"], qk_scale
        return self.loaded(lambda: Attention(*sizes), params, rename)(x)

    def layer_norm(self, x, params, eps=1e-5):
        """(..., C) -> same."""
        return self.loaded(lambda: make_norm(eps=eps), params)(x)

    def mlp(self, x, params):
        """(..., C) -> same."""
        return self.loaded(lambda: Mlp(len(params["fc1"]["bias"])), params)(x)

    def patch_embed(self, images, params, patch_size):
        """(B, 3, H, W) -> (B, H/p, W/p, C): the images are channels first in every adapter."""
        sizes = len(params["proj"]["bias"]), patch_size, "norm" in params
        return self.loaded(lambda: PatchEmbed(*sizes), params)(ops.transpose(images, (0, 2, 3, 1)))

    def patch_merging(self, x, params):
        """(B, H, W, C) -> (B, H/2, W/2, 2C)."""
        return self.loaded(PatchMerging, params)(x)

    def swin_block(self, x, params, num_heads, window_size, shift_size, kept=None, qk_scale=None):
        """(B, H, W, C) -> same."""
        hidden, qkv_bias = len(params["mlp"]["fc1"]["bias"]), "bias" in params["attn"]["qkv"]
        sizes = num_heads, window_size, shift_size, hidden, qkv_bias, qk_scale
        return self.loaded(lambda: Block(*sizes), params, rename)(x, kept)

    def swin_stage(self, x, params, depth, num_heads, window_size, kept=None, qk_scale=None):
        """(B, H, W, C) -> same, or merged."""
        first = params["blocks"][0]
        hidden, qkv_bias = len(first["mlp"]["fc1"]["bias"]), "bias" in first["attn"]["qkv"]
        sizes = depth, num_heads, window_size, hidden, qkv_bias, qk_scale
        x = self.loaded(lambda: Stage(*sizes), {"blocks": params["blocks"]}, rename)(x, kept)
        return self.patch_merging(x, params["downsample"]) if "downsample" in params else x

    def swin_features(self, images, params, config, kept=None):
        """(B, 3, H, W) -> the map of every stage."""
        network = self.loaded(lambda: Swin(config, maps=True), params, rename)
        return network(ops.transpose(images, (0, 2, 3, 1)), kept)

    def swin_transformer(self, images, params, config, kept=None):
        """(B, 3, H, W) -> (B, classes)."""
        network = self.loaded(lambda: Swin(config), params, rename)
        return network(ops.transpose(images, (0, 2, 3, 1)), kept)


adapter = pairs(Adapter())
