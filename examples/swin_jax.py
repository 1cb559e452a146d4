"""A Swin Transformer in JAX, functions on pytrees, and its adapter: the last lines.

Maps are (B, H, W, C) and images (B, H, W, 3); a dense layer's kernel is (in, out), a convolution's (height,
width, in, out).  Sizes are pairs.

swin-oracle check examples/swin_jax.py --few-shapes
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from swin_properties import JaxAdapter, pairs


def linear(x, p):
    """Applies a dense layer, with or without a bias."""
    y = x @ p["kernel"]
    return y + p["bias"] if "bias" in p else y


def layer_norm(x, p, eps=1e-5):
    """Normalises each token over its channels, in float32 or more: squares leave float16's range."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    wide = wide - wide.mean(-1, keepdims=True)
    wide = wide * lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + eps) * p["scale"] + p["bias"]
    return wide.astype(x.dtype)


def mlp(x, p):
    """Applies two dense layers with the exact GELU between them."""
    return linear(jax.nn.gelu(linear(x, p["fc1"]), approximate=False), p["fc2"])


def partition(x, window):
    """(B, H, W, C) -> (B nW, Mh, Mw, C)."""
    B, H, W, C = x.shape
    mh, mw = window
    return x.reshape(B, H // mh, mh, W // mw, mw, C).swapaxes(2, 3).reshape(-1, mh, mw, C)


def reverse(windows, window, height, width):
    """(B nW, Mh, Mw, C) -> (B, H, W, C)."""
    mh, mw = window
    x = windows.reshape(-1, height // mh, width // mw, mh, mw, windows.shape[-1])
    return x.swapaxes(2, 3).reshape(-1, height, width, windows.shape[-1])


def shift_mask(height, width, window, shift):
    """Returns 0 for tokens of a window that are neighbours in the image, else -inf: (nW, N, N)."""
    rows, columns = jnp.arange(height) >= height - shift[0], jnp.arange(width) >= width - shift[1]
    region = 2 * rows[:, None] + columns
    region = partition(region[None, :, :, None], window).reshape(-1, window[0] * window[1])
    return jnp.where(region[:, :, None] == region[:, None, :], 0.0, -jnp.inf)


def offset_index(window):
    """Returns the row of the bias table for each query and key: (N, N)."""
    mh, mw = window
    h, w = jnp.divmod(jnp.arange(mh * mw), mw)
    return (h[:, None] - h + mh - 1) * (2 * mw - 1) + w[:, None] - w + mw - 1


def position_bias(table, window):
    """((2 Mh - 1)(2 Mw - 1), heads) -> (heads, N, N)."""
    return table[offset_index(window)].transpose(2, 0, 1)


def attention(x, p, heads, window, mask=None, scale=None):
    """Attends inside each window: (B nW, N, C), mask (nW, N, N) -> (B nW, N, C)."""
    windows, N, C = x.shape
    q, k, v = linear(x, p["qkv"]).reshape(windows, N, 3, heads, C // heads).transpose(2, 0, 3, 1, 4)
    logits = (q * ((C // heads) ** -0.5 if scale is None else scale)) @ k.swapaxes(-1, -2)
    logits += position_bias(p["table"], window)
    if mask is not None:
        logits = logits.reshape(-1, len(mask), heads, N, N) + mask[:, None].astype(x.dtype)
    weights = jax.nn.softmax(logits.reshape(windows, heads, N, N))
    return linear((weights @ v).swapaxes(1, 2).reshape(windows, N, C), p["proj"])


def shifted_attention(x, p, heads, window, shift, scale=None):
    """Pads, shifts, attends inside the windows, shifts back, crops: (B, H, W, C) -> same."""
    _, H, W, C = x.shape
    (mh, mw), (sh, sw) = window, shift
    x = jnp.pad(x, ((0, 0), (0, -H % mh), (0, -W % mw), (0, 0)))
    height, width = x.shape[1:3]
    windows = partition(jnp.roll(x, (-sh, -sw), (1, 2)), window).reshape(-1, mh * mw, C)
    mask = shift_mask(height, width, window, shift) if any(shift) else None
    x = reverse(attention(windows, p, heads, window, mask, scale), window, height, width)
    return jnp.roll(x, (sh, sw), (1, 2))[:, :H, :W]


def drop_path(x, kept):
    """Multiplies each image of a branch by its factor."""
    return x if kept is None else x * kept[:, None, None, None]


def block(x, p, heads, window, shift, kept=None, scale=None):
    """(B, H, W, C) -> same."""
    kept_attention, kept_mlp = kept or (None, None)
    attended = shifted_attention(layer_norm(x, p["norm1"]), p["attn"], heads, window, shift, scale)
    x = x + drop_path(attended, kept_attention)
    return x + drop_path(mlp(layer_norm(x, p["norm2"]), p["mlp"]), kept_mlp)


def blocks(x, p, heads, window, kept=None, scale=None):
    """Applies the blocks of a stage: odd ones are shifted, unless a window spans the grid."""
    spans = x.shape[1] <= window[0] or x.shape[2] <= window[1]
    half = (0, 0) if spans else (window[0] // 2, window[1] // 2)
    for number, one in enumerate(p):
        x = block(x, one, heads, window, half if number % 2 else (0, 0), kept and kept[number], scale)
    return x


def merge(x, p):
    """(B, H, W, C) -> (B, H/2, W/2, 2C), sides rounded up."""
    x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
    x = jnp.concatenate([x[:, dh::2, dw::2] for dw in (0, 1) for dh in (0, 1)], -1)
    return linear(layer_norm(x, p["norm"]), p["reduction"])


def embed(images, p, patch):
    """(B, H, W, 3) -> (B, H/p, W/p, C), sides rounded up."""
    _, H, W, _ = images.shape
    images = jnp.pad(images, ((0, 0), (0, -H % patch[0]), (0, -W % patch[1]), (0, 0)))
    layout = ("NHWC", "HWIO", "NHWC")
    x = lax.conv_general_dilated(images, p["proj"]["kernel"], patch, "VALID", dimension_numbers=layout)
    x = x + p["proj"]["bias"]
    return layer_norm(x, p["norm"]) if "norm" in p else x


def features(images, p, config, kept=None):
    """Returns the map of every stage, before its merge."""
    x = embed(images, p["patch_embed"], config.patch_size)
    if "positions" in p:
        if images.shape[1:3] != config.image_size:  # JAX would broadcast a side of 1
            raise ValueError(f"the positions are those of images of {config.image_size}")
        x = x + p["positions"].reshape(1, *x.shape[1:])
    maps = []
    for number, (stage, heads) in enumerate(zip(p["stages"], config.num_heads, strict=True)):
        x = blocks(x, stage["blocks"], heads, config.window_size, kept and kept[number], config.qk_scale)
        maps.append(x)
        x = merge(x, stage["merge"]) if "merge" in stage else x
    return maps


def classify(images, p, config, kept=None):
    """(B, H, W, 3) -> (B, classes); without a head (B, C)."""
    x = layer_norm(features(images, p, config, kept)[-1], p["norm"]).mean((1, 2))
    return linear(x, p["head"]) if "head" in p else x


def resize_table(table, window, new_window):
    """Resizes a bias table to another window: bicubic, a = -3/4, corners not aligned."""
    (mh, mw), (new_mh, new_mw) = window, new_window
    grid = table.reshape(2 * mh - 1, 2 * mw - 1, -1)
    rows = interpolate(2 * mh - 1, 2 * new_mh - 1).astype(table.dtype)
    columns = interpolate(2 * mw - 1, 2 * new_mw - 1).astype(table.dtype)
    return jnp.einsum("ih,jw,hwn->ijn", rows, columns, grid).reshape(-1, table.shape[1])


def interpolate(length, new_length):
    """Returns the matrix (new, old) of cubic interpolation, of constants: NumPy computes it."""
    a, at = -0.75, (np.arange(new_length) + 0.5) * length / new_length - 0.5
    pixels = np.floor(at).astype(int)[:, None] + np.arange(-1, 3)
    edge, d = pixels.clip(0, length - 1), abs(at[:, None] - pixels)
    near, far = ((a + 2) * d - a - 3) * d**2 + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    weights = np.where(d <= 1, near, far)[:, :, None] * (edge[:, :, None] == np.arange(length))
    return weights.sum(1)


def drop_path_rates(rate, depths):
    """Returns the rate of drop path of every block, for each stage: it grows linearly."""
    return jnp.split(jnp.linspace(0, rate, sum(depths)), np.cumsum(depths)[:-1])


# The adapter.


def rename_attention(p):
    """Renames the official weights of an attention to the names above."""
    return {"qkv": p["qkv"], "proj": p["proj"], "table": p["relative_position_bias_table"]}


def rename_stage(p):
    """Renames the official weights of a stage to the names above."""
    own = {"blocks": [one | {"attn": rename_attention(one["attn"])} for one in p["blocks"]]}
    return own | ({"merge": p["downsample"]} if "downsample" in p else {})


def rename_network(p):
    """Renames the official weights of a network to the names above."""
    own = {name: p[name] for name in ("patch_embed", "norm", "head") if name in p}
    own |= {"positions": p["absolute_pos_embed"]} if "absolute_pos_embed" in p else {}
    return own | {"stages": [rename_stage(stage) for stage in p["layers"]]}


class Adapter(JaxAdapter):
    """The functions above as the callables of an adapter; `self.kernels` turns the kernels."""

    def window_partition(self, x, window_size):
        """(B, H, W, C) -> (B nW, Mh, Mw, C)."""
        return partition(x, window_size)

    def window_reverse(self, windows, window_size, height, width):
        """(B nW, Mh, Mw, C) -> (B, H, W, C)."""
        return reverse(windows, window_size, height, width)

    def cyclic_shift(self, x, shift_size):
        """(B, H, W, C) -> same."""
        return jnp.roll(x, (-shift_size[0], -shift_size[1]), (1, 2))

    def reverse_cyclic_shift(self, x, shift_size):
        """(B, H, W, C) -> same."""
        return jnp.roll(x, shift_size, (1, 2))

    def shifted_window_mask(self, height, width, window_size, shift_size):
        """(nW, N, N)."""
        return shift_mask(height, width, window_size, shift_size)

    def relative_position_index(self, window_size):
        """(N, N), integers."""
        return offset_index(window_size)

    def relative_position_bias(self, table, window_size):
        """((2 Mh - 1)(2 Mw - 1), heads) -> (heads, N, N)."""
        return position_bias(table, window_size)

    def resize_relative_position_bias(self, table, window_size, new_window_size):
        """((2 Mh - 1)(2 Mw - 1), heads) -> the same for the new window."""
        return resize_table(table, window_size, new_window_size)

    def window_attention(self, x, params, num_heads, window_size, mask=None, qk_scale=None):
        """(B nW, N, C), mask (nW, N, N) -> (B nW, N, C)."""
        own = rename_attention(self.kernels(params))
        return attention(x, own, num_heads, window_size, mask, qk_scale)

    def shifted_window_attention(self, x, params, num_heads, window_size, shift_size, qk_scale=None):
        """(B, H, W, C) -> same."""
        own = rename_attention(self.kernels(params))
        return shifted_attention(x, own, num_heads, window_size, shift_size, qk_scale)

    def layer_norm(self, x, params, eps=1e-5):
        """(..., C) -> same."""
        return layer_norm(x, self.kernels(params), eps)

    def mlp(self, x, params):
        """(..., C) -> same."""
        return mlp(x, self.kernels(params))

    def patch_embed(self, images, params, patch_size):
        """(B, 3, H, W) -> (B, H/p, W/p, C): the images are channels first in every adapter."""
        return embed(images.transpose(0, 2, 3, 1), self.kernels(params), patch_size)

    def patch_merging(self, x, params):
        """(B, H, W, C) -> (B, H/2, W/2, 2C)."""
        return merge(x, self.kernels(params))

    def swin_block(self, x, params, num_heads, window_size, shift_size, kept=None, qk_scale=None):
        """(B, H, W, C) -> same."""
        own = self.kernels(params)
        own["attn"] = rename_attention(own["attn"])
        return block(x, own, num_heads, window_size, shift_size, kept, qk_scale)

    def drop_path_rates(self, rate, depths):
        """A list with an array (depth,) for each stage."""
        return drop_path_rates(rate, depths)

    def swin_stage(self, x, params, depth, num_heads, window_size, kept=None, qk_scale=None):
        """(B, H, W, C) -> same, or merged."""
        own = rename_stage(self.kernels(params))
        x = blocks(x, own["blocks"], num_heads, window_size, kept, qk_scale)
        return merge(x, own["merge"]) if "merge" in own else x

    def swin_features(self, images, params, config, kept=None):
        """(B, 3, H, W) -> the map of every stage."""
        return features(images.transpose(0, 2, 3, 1), rename_network(self.kernels(params)), config, kept)

    def swin_transformer(self, images, params, config, kept=None):
        """(B, 3, H, W) -> (B, classes)."""
        return classify(images.transpose(0, 2, 3, 1), rename_network(self.kernels(params)), config, kept)


adapter = pairs(Adapter())
