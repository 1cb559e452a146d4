"""Functions whose arrays are channels first, and their adapter: the last lines.

Here images and maps are (B, C, H, W), a dense layer's kernel is (in, out) and a convolution's is (height,
width, in, out), as JAX and Keras have them.  In place of a framework there is NumPy, so that it runs
everywhere: with one, read `np.asarray` for the way back to NumPy.

swin-oracle check examples/functions_nchw.py
"""

import numpy as np
from scipy.special import erf

SQRT_HALF = np.float32(0.5**0.5)


def apply_linear(x, kernel, bias=None):
    """Applies a linear layer over the channels of (B, C, ...)."""
    y = np.moveaxis(np.tensordot(x, kernel, axes=(1, 0)), -1, 1)
    return y if bias is None else y + reshape_for_channels(bias, y)


def reshape_for_channels(vector, x):
    """Reshapes (C,) so that it broadcasts over the channels of (B, C, ...)."""
    return vector.reshape(-1, *[1] * (x.ndim - 2))


def normalize(x, scale, bias, epsilon=1e-5):
    """Applies LayerNorm over the channels of (B, C, ...)."""
    centred = x - x.mean(axis=1, keepdims=True)
    variance = np.square(centred).mean(axis=1, keepdims=True)
    y = centred / np.sqrt(variance + np.float32(epsilon))
    return y * reshape_for_channels(scale, x) + reshape_for_channels(bias, x)


def feed_forward(x, kernel1, bias1, kernel2, bias2):
    """Applies the MLP of a block to (B, C, ...), with the exact GELU."""
    hidden = apply_linear(x, kernel1, bias1)
    return apply_linear(hidden * (1 + erf(hidden * SQRT_HALF)) / 2, kernel2, bias2)


def pad_to(x, height, width):
    """Pads (B, C, H, W) with zeros at the bottom and right, up to multiples of height and width."""
    return np.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % height), (0, -x.shape[3] % width)))


def embed(images, kernel, bias, strides):
    """Convolves with strides of the kernel's size: (B, 3, H, W) -> (B, C, H/p, W/p)."""
    ph, pw = strides
    x = pad_to(images, ph, pw)
    B, C, H, W = x.shape
    x = x.reshape(B, C, H // ph, ph, W // pw, pw)
    y = np.tensordot(x, kernel, axes=((3, 5, 1), (0, 1, 2)))  # (B, H/p, W/p, out)
    return np.moveaxis(y, -1, 1) + reshape_for_channels(bias, images)


def merge(x, scale, bias, kernel):
    """Merges patches: (B, C, H, W) -> (B, 2C, H/2, W/2), the row offset fastest."""
    x = pad_to(x, 2, 2)
    cells = np.concatenate([x[:, :, dh::2, dw::2] for dw in (0, 1) for dh in (0, 1)], axis=1)
    return apply_linear(normalize(cells, scale, bias), kernel)


def cut(x, mh, mw):
    """Cuts into windows: (B, C, H, W) -> (B nH nW, C, Mh, Mw)."""
    B, C, H, W = x.shape
    x = x.reshape(B, C, H // mh, mh, W // mw, mw)
    return x.transpose(0, 2, 4, 1, 3, 5).reshape(-1, C, mh, mw)


# The adapter: channels last <-> channels first, and official weights <-> kernels.

precision = "float32"


def move_channels_first(x):
    """(B, ..., C) -> (B, C, ...)."""
    return np.moveaxis(x, -1, 1)


def move_channels_last(x):
    """(B, C, ...) -> (B, ..., C)."""
    return np.moveaxis(x, 1, -1)


def make_pair(size):
    """Returns a size as (height, width)."""
    return size if isinstance(size, tuple) else (size, size)


def window_partition(x, window_size):
    """(B, H, W, C) -> (B nH nW, Mh, Mw, C)."""
    return move_channels_last(cut(move_channels_first(x), *make_pair(window_size)))


def layer_norm(x, params, eps=1e-5):
    """(..., C) -> same."""
    return move_channels_last(
        normalize(move_channels_first(x), scale=params["weight"], bias=params["bias"], epsilon=eps)
    )


def mlp(x, params):
    """(..., C) -> same."""
    fc1, fc2 = params["fc1"], params["fc2"]
    return move_channels_last(
        feed_forward(move_channels_first(x), fc1["weight"].T, fc1["bias"], fc2["weight"].T, fc2["bias"])
    )


def patch_embed(images, params, patch_size):
    """(B, 3, H, W) -> (B, H/p, W/p, C): the images are channels first in every adapter."""
    kernel = params["proj"]["weight"].transpose(2, 3, 1, 0)  # (out, in, height, width) -> HWIO
    tokens = move_channels_last(embed(images, kernel, params["proj"]["bias"], make_pair(patch_size)))
    return layer_norm(tokens, params["norm"]) if "norm" in params else tokens


def patch_merging(x, params):
    """(B, H, W, C) -> (B, H/2, W/2, 2C)."""
    norm, kernel = params["norm"], params["reduction"]["weight"].T
    return move_channels_last(merge(move_channels_first(x), norm["weight"], norm["bias"], kernel))
