"""The second oracle's layers: another LayerNorm, another GELU, loops over the patches."""

from __future__ import annotations

from itertools import product

import numpy as np

from swin_reference.config import CONVENTIONS, Convention
from swin_reference.direct.sizes import Sizes, two
from swin_reference.layers import linear
from swin_reference.types import Inexact, Params

CANONICAL = CONVENTIONS["canonical"]


def layer_norm(
    x: Inexact[np.ndarray, "*tokens channels"], params: Params, eps: float = 1e-5
) -> Inexact[np.ndarray, "*tokens channels"]:
    """Applies LayerNorm; the variance is half the mean squared difference of all pairs of channels.

    var = sum over (i, j) of (x_i - x_j)^2 / (2 C^2); x - mean = mean over j of (x - x_j).

    >>> layer_norm(np.array([1.0, 3.0]), {"weight": np.ones(2), "bias": np.zeros(2)}, eps=0.0)
    array([-1.,  1.])
    """
    channels = x.shape[-1]
    # One channel at a time: all together would fill the memory.
    differences = (x[..., channel, None] - x for channel in range(channels))
    sums, squares = zip(*((d.sum(-1), (d**2).sum(-1)) for d in differences), strict=True)
    variance = np.stack(squares, axis=-1).sum(-1) / (2 * channels**2)
    centred = np.stack(sums, axis=-1) / channels
    normed = centred * (1.0 / (variance + eps) ** 0.5)[..., None]
    return normed * params["weight"] + params["bias"]


def mlp(
    x: Inexact[np.ndarray, "*tokens channels"], params: Params
) -> Inexact[np.ndarray, "*tokens channels"]:
    """Applies the MLP; GELU is x times the normal distribution function.

    >>> eye = {"weight": np.eye(2), "bias": np.zeros(2)}
    >>> mlp(np.array([0.0, 100.0]), {"fc1": eye, "fc2": eye})
    array([  0., 100.])
    """
    from scipy.special import ndtr  # here, for it takes long to import

    hidden = linear(x, **params["fc1"])
    return linear(hidden * ndtr(hidden), **params["fc2"])


def patch_embed(
    images: Inexact[np.ndarray, "batch colours height width"],
    params: Params,
    patch_size: Sizes,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch grid_height grid_width channels"]:
    """Embeds patches, one pixel of the patch at a time; pixels past the edge count as 0.

    >>> proj = {"weight": np.ones((1, 1, 2, 2)), "bias": np.zeros(1)}
    >>> patch_embed(np.ones((1, 1, 2, 3)), {"proj": proj}, 2).ravel()
    array([4., 2.])
    """
    ph, pw = two(patch_size)
    if convention.image == "drop":
        images = images[..., : images.shape[2] // ph * ph, : images.shape[3] // pw * pw]
    batch, _, height, width = images.shape
    weight, bias = params["proj"]["weight"], params["proj"]["bias"]
    y = np.zeros((batch, -(-height // ph), -(-width // pw), weight.shape[0]), images.dtype) + bias
    for dy, dx in product(range(ph), range(pw)):
        pixels = images[:, :, dy::ph, dx::pw]
        rows, columns = pixels.shape[2:]
        y[:, :rows, :columns] += linear(np.moveaxis(pixels, 1, -1), weight[:, :, dy, dx])
    return layer_norm(y, params["norm"]) if "norm" in params else y


def patch_merging(
    x: Inexact[np.ndarray, "batch height width channels"], params: Params
) -> Inexact[np.ndarray, "batch half_height half_width merged_channels"]:
    """Merges tokens (2i, 2j), (2i+1, 2j), (2i, 2j+1), (2i+1, 2j+1), one at a time; absent ones are zero.

    >>> params = {"norm": {"weight": np.ones(4), "bias": np.zeros(4)},
    ...           "reduction": {"weight": np.eye(2, 4)}}
    >>> patch_merging(np.array([[3.0, 3.0], [1.0, 1.0]]).reshape(1, 2, 2, 1), params).round(3)
    array([[[[ 1., -1.]]]])
    """
    return linear(layer_norm(gather_cells(x), params["norm"]), **params["reduction"])


def gather_cells(
    x: Inexact[np.ndarray, "batch height width channels"],
) -> Inexact[np.ndarray, "batch half_height half_width channels_times_4"]:
    """Returns the four tokens of each cell of 2x2 side by side, column by column.

    >>> gather_cells(np.arange(4.0).reshape(1, 2, 2, 1)).ravel()
    array([0., 2., 1., 3.])
    """
    batch, height, width, channels = x.shape
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    cells = np.zeros((batch, half_height, half_width, 4 * channels), x.dtype)
    for i, j, part in product(range(half_height), range(half_width), range(4)):
        h, w = 2 * i + part % 2, 2 * j + part // 2
        if h < height and w < width:
            cells[:, i, j, part * channels : (part + 1) * channels] = x[:, h, w]
    return cells
