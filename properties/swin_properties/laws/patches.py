"""Laws of patch embedding and patch merging."""

from __future__ import annotations

from typing import Any

import numpy as np
from swin_reference.parameters import patch_embed_shapes

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import GridCase
from swin_properties.cases.strategies import grids
from swin_properties.laws.law import law

# Here the window of a case is the patch, and its grid is the image.
Images = grids(shifted=False, enough=True, largest_window=4)
WholeImages = grids(shifted=False, enough=True, largest_window=4, whole=True)
Tokens = grids(("generic", "flat", "big"), shifted=False, enough=True, largest_window=4)


def images(case: GridCase) -> Any:
    """Returns images (B, 3, H, W), enough of them for a budget."""
    return np.ascontiguousarray(case.tokens(3).transpose(0, 3, 1, 2))


def embedding(case: GridCase, norm: bool = False) -> Any:
    """Returns hot parameters of a patch embedding into more channels than a budget needs."""
    return case.hot(patch_embed_shapes(8 * case.channels, case.window, norm=norm))


@law("patch_embed/oracle", ["patch_embed"], Images, compares_with="oracle")
def embed_oracle(swin: Asked, case: GridCase) -> Any:
    """The embedding is the oracle's, with and without its norm, for any image size."""
    x = images(case)
    return [
        (swin.patch_embed(x, params, case.window), swin.expected.patch_embed(x, params, case.window))
        for params in (embedding(case), embedding(case, norm=True))
    ]


@law("patch_embed/unfold", ["patch_embed"], WholeImages, compares_with="definition")
def embed_unfold(swin: Asked, case: GridCase) -> Any:
    """Without its norm the embedding is one matmul of the patches, each flattened as (channel, dy, dx)."""
    x, params, (ph, pw) = images(case), embedding(case), case.window
    weight, bias = params["proj"]["weight"], params["proj"]["bias"]
    pixels = [x[:, c, dy::ph, dx::pw] for c in range(3) for dy in range(ph) for dx in range(pw)]
    expected = np.stack(pixels, axis=-1) @ weight.reshape(len(weight), -1).T + bias
    return swin.patch_embed(x, params, case.window), expected


@law("patch_embed/own-pixels", ["patch_embed"], Images, "exact", compares_with="itself")
def embed_own_pixels(swin: Asked, case: GridCase) -> Any:
    """Changing a pixel changes no token but that of its own patch."""
    x, params, rng = images(case), embedding(case, norm=True), case.rng(3)
    b, c, h, w = (int(rng.integers(side)) for side in x.shape)
    nudged = x.copy()
    nudged[b, c, h, w] += 1.0
    before, after = (swin.patch_embed(image, params, case.window) for image in (x, nudged))
    moved = np.any(before != after, axis=-1)
    row, column = h // case.window[0], w // case.window[1]
    moved[b, row : row + 1, column : column + 1] = False  # a pixel that is dropped has no patch
    return moved, np.zeros_like(moved)


@law("patch_embed/roll", ["patch_embed"], WholeImages, compares_with="itself")
def embed_roll(swin: Asked, case: GridCase) -> Any:
    """Rolling the image by whole patches rolls the tokens."""
    x, params = images(case), embedding(case)
    rolled = swin.patch_embed(np.roll(x, case.window, (2, 3)), params, case.window)
    return rolled, np.roll(swin.patch_embed(x, params, case.window), (1, 1), (1, 2))


@law("patch_embed/affine", ["patch_embed"], Images, compares_with="itself")
def embed_affine(swin: Asked, case: GridCase) -> Any:
    """Without its norm the embedding is affine: f(x) + f(y) = f(x + y) + f(0)."""
    x, y = (np.round(image * 32) / 64 for image in (images(case), images(case)[::-1, ::-1]))
    params = embedding(case)
    fx, fy, f0, sum_ = (swin.patch_embed(image, params, case.window) for image in (x, y, 0 * x, x + y))
    return fx + fy - f0, sum_


@law(
    "patch_merging/oracle",
    ["patch_merging"],
    Tokens,
    compares_with="oracle",
    life_size=True,
    slow=["1024 channels", "stage 4 of Swin-T", "stage 3 of Swin-B*"],
    in_v2="The merge of V2 is the oracle's: concatenate 2x2, linear 4C -> 2C, LayerNorm(2C), for all sides.",
)
def merging_oracle(swin: Asked, case: GridCase) -> Any:
    """The merge is the oracle's: concatenate 2x2, LayerNorm(4C), linear 4C -> 2C, for even and odd sides."""
    x, params = case.tokens(), case.merging()
    return swin.patch_merging(x, params), swin.expected.patch_merging(x, params)


def gathered(swin: Asked, case: GridCase, x: Any) -> Any:
    """Returns the merge's normed 4C channels, read with each half of the identity as its weights."""
    channels = 4 * case.channels
    norm = {"weight": np.ones(channels), "bias": np.zeros(channels)}
    halves = np.split(np.eye(channels), 2)
    read = [swin.patch_merging(x, {"norm": norm, "reduction": {"weight": half}}) for half in halves]
    return np.concatenate(read, axis=-1)


def even(case: GridCase) -> Any:
    """Returns tokens on a grid with even sides: each token of the case becomes a 2x2 cell of four tokens."""
    x = case.tokens(4 * case.channels)
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height, width, 2, 2, case.channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, 2 * height, 2 * width, case.channels)


@law("patch_merging/permutation", ["patch_merging"], Tokens, compares_with="definition")
def merging_permutation(swin: Asked, case: GridCase) -> Any:
    """Before its linear layer the merge is a pixel-unshuffle, the row offset fastest, and then LayerNorm."""
    x = even(case)
    return gathered(swin, case, x), standardise(unshuffle(x))


def unshuffle(x: Any) -> Any:
    """Returns the four tokens of each 2x2 cell side by side, the row offset fastest."""
    batch, height, width, channels = x.shape
    cells = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 4, 2, 5)
    return cells.reshape(batch, height // 2, width // 2, 4 * channels)


def standardise(x: Any) -> Any:
    """Returns a LayerNorm of tokens whose gain is 1 and whose bias is 0."""
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)


@law("patch_merging/own-cell", ["patch_merging"], Tokens, "exact", compares_with="itself", in_v2=True)
def merging_own_cell(swin: Asked, case: GridCase) -> Any:
    """Changing a token changes no merged token but that of its own 2x2 cell."""
    x, params, rng = case.tokens(), case.merging(), case.rng(3)
    b, h, w = (int(rng.integers(side)) for side in x.shape[:3])
    nudged = x.copy()
    nudged[b, h, w] = rng.integers(-127, 128, case.channels) / 64.0
    moved = np.any(swin.patch_merging(x, params) != swin.patch_merging(nudged, params), axis=-1)
    moved[b, h // 2, w // 2] = False
    return moved, np.zeros_like(moved)


@law("patch_merging/roll", ["patch_merging"], Tokens, compares_with="itself", in_v2=True)
def merging_roll(swin: Asked, case: GridCase) -> Any:
    """Rolling the grid by two tokens rolls the merged grid by one."""
    x, params = even(case), case.merging()
    rolled = swin.patch_merging(np.roll(x, (2, 2), (1, 2)), params)
    return rolled, np.roll(swin.patch_merging(x, params), (1, 1), (1, 2))


@law("patch_merging/padding", ["patch_merging"], Tokens, compares_with="itself", in_v2=True)
def merging_padding(swin: Asked, case: GridCase) -> Any:
    """A grid with an odd side is merged like the grid padded with zeros at the bottom or right."""
    x, params = case.tokens(), case.merging()
    even_sides = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
    return swin.patch_merging(x, params), swin.patch_merging(even_sides, params)


@law("patch_merging/norm-first", ["patch_merging"], Tokens, compares_with="itself")
def merging_norm_first(swin: Asked, case: GridCase) -> Any:
    """The norm comes first: adding a constant changes nothing, and doubling the weights doubles the
    output.
    """
    x, params = np.round(even(case) * 32) / 64, case.merging()
    doubled = params | {"reduction": {"weight": 2.0 * params["reduction"]["weight"]}}
    y = swin.patch_merging(x, params)
    return [(swin.patch_merging(x + 1.0, params), y), (swin.patch_merging(x, doubled), 2.0 * y)]
