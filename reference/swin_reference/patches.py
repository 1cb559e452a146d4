"""Patches: embeds the patches of an image as tokens, and merges 2x2 tokens into one.

In the comments, B is the batch, p the patch (its sides may differ), H and W the grid, C the channels.
"""

from __future__ import annotations

import numpy as np

from swin_reference.conventions import CANONICAL, Convention
from swin_reference.layers import layer_norm, linear
from swin_reference.neighbours import join_neighbours
from swin_reference.rules import pixels_taken
from swin_reference.sizes import Size, window_pair
from swin_reference.types import Inexact, Params
from swin_reference.windows import pad_to_multiple


def patch_embed(
    images: Inexact[np.ndarray, "batch colours height width"],
    params: Params,
    patch_size: Size,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch grid_height grid_width channels"]:
    """Cuts images into patches and embeds each as a token: a convolution with kernel and stride p.

    token[b, i, j] = sum over (c, dy, dx) of weight[:, c, dy, dx] image[b, c, i p + dy, j p + dx] + bias.

    ``params`` holds ``proj``, with weight (C, colours, p, p) and bias (C,), and may hold ``norm``, a
    LayerNorm of the tokens.  An image that is not a multiple of the patch is padded with zeros at the
    bottom and right, or cropped there, as the convention says.  (Liu et al. 2021, section 3.1: 4x4 patches
    of 224x224 pixels become 56x56 tokens of 96 channels.)

    Errors: `Rejected` for an image that the convention rejects.

    >>> proj = {"weight": np.ones((1, 1, 2, 2)), "bias": np.zeros(1)}
    >>> patch_embed(np.arange(8.0).reshape(1, 1, 2, 4), {"proj": proj}, 2).ravel()
    array([10., 18.])
    """
    ph, pw = window_pair(patch_size)
    weight, bias = params["proj"]["weight"], params["proj"]["bias"]
    bottom, right = pixels_taken(images.shape[2:], patch_size, convention)
    pixels = pad_to_multiple(images.transpose(0, 2, 3, 1)[:, :bottom, :right], patch_size)
    batch, height, width, colours = pixels.shape
    patches = pixels.reshape(batch, height // ph, ph, width // pw, pw, colours)
    patches = patches.transpose(0, 1, 3, 5, 2, 4)  # (B, H, W, colours, ph, pw)
    patches = patches.reshape(batch, height // ph, width // pw, colours * ph * pw)
    tokens = linear(patches, weight.reshape(weight.shape[0], colours * ph * pw), bias)  # (B, H, W, C)
    return layer_norm(tokens, params["norm"]) if "norm" in params else tokens


def patch_merging(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch half_height half_width merged_channels"]:
    """Merges 2x2 tokens into one: y = reduction(norm(the four tokens, concatenated)).

    The four stand in the order of the (row, column) offsets (0,0), (1,0), (0,1), (1,1): checkpoints depend
    on it.  An odd side is padded with zeros at the bottom or right.  ``params`` holds ``norm``, of 4C
    channels, and ``reduction``, a linear layer 4C to 2C without bias.  (Liu et al. 2021, section 3.1.
    Official code: ``PatchMerging``.)

    Errors: `Rejected` for an odd side that the convention rejects.

    >>> params = {"norm": {"weight": np.ones(4), "bias": np.zeros(4)},
    ...           "reduction": {"weight": np.eye(2, 4)}}
    >>> patch_merging(np.array([[3.0, 3.0], [1.0, 1.0]]).reshape(1, 2, 2, 1), params).round(3)
    array([[[[ 1., -1.]]]])
    """
    return linear(layer_norm(join_neighbours(x, convention), params["norm"]), **params["reduction"])
