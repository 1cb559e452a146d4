"""Laws of what window attention and shifted-window attention compute, and of what they depend on."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from swin_reference import direct
from swin_reference.conventions import convention_named, keep_constants

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import GridCase
from swin_properties.cases.case_v2 import GridV2Case
from swin_properties.cases.recipes import scaled
from swin_properties.cases.remember import remember
from swin_properties.cases.strategies import SmallGrids, grids, padded_grids
from swin_properties.laws.law import law

RECIPES = ("generic", "flat", "impulse", "uniform", "peaked")
SWA = ["shifted_window_attention"]

QK_SCALES = (0.25, 0.0)
"""The scales that laws give: none is a head's own, and 0 is a scale like others, not the lack of one."""


def random_masks(case: GridCase, windows: int) -> Any:
    """Returns a mask for each window of an image, 0 or -inf at random, 0 for each token and itself."""
    tokens = prod(case.window)
    hidden = case.rng(3).random((windows, tokens, tokens)) < 0.5
    hidden[:, np.arange(tokens), np.arange(tokens)] = False
    return np.where(hidden, -np.inf, 0.0)


@law(
    "window_attention/oracle",
    ["window_attention"],
    grids(RECIPES, enough=True),
    compares_with="oracle",
    life_size=True,
    slow=["stage 3 of Swin-B*"],
    in_v2="Cosine window attention is the oracle's: softmax(tau cos(q, k) + bias) v, projected.",
)
def window_oracle(swin: Asked, case: GridCase) -> Any:
    """Window attention is the oracle's: softmax(q k^T / sqrt(d) + bias) v, projected."""
    x, params = case.windows(), case.attention()
    args = x, params, case.heads, case.window
    return swin.window_attention(*args), swin.expected.window_attention(*args)


@law(
    "window_attention/mask",
    ["window_attention.mask"],
    grids(enough=True),
    compares_with="oracle",
    in_v2=True,
)
def window_mask(swin: Asked, case: GridCase) -> Any:
    """A mask is added to the logits: window n of every image of the batch gets mask n."""
    x, params = case.windows(), case.attention()
    mask = random_masks(case, len(x) // case.batch)
    args = x, params, case.heads, case.window
    return swin.window_attention(*args, mask=mask), swin.expected.window_attention(*args, mask=mask)


@law(
    "window_attention/mask-order",
    ["window_attention.mask"],
    grids(enough=True),
    compares_with="itself",
    slow=["grid *", "4097 *"],
    in_v2=True,
)
def window_mask_order(swin: Asked, case: GridCase) -> Any:
    """The result of each window is the same when it is computed alone under its own mask."""
    x, params = case.windows(), case.attention()
    mask = random_masks(case, len(x) // case.batch)
    sizes = params, case.heads, case.window
    got = swin.window_attention(x, *sizes, mask=mask)
    alone = np.empty(x.shape)
    for n in range(len(mask)):
        alone[n :: len(mask)] = swin.window_attention(x[n :: len(mask)], *sizes, mask=mask[n : n + 1])
    return got, alone


@law("window_attention/qk-scale", ["window_attention.qk_scale"], grids(enough=True), compares_with="oracle")
def window_qk_scale(swin: Asked, case: GridCase) -> Any:
    """An explicit qk_scale replaces head_dim^-1/2, also one of 0."""
    args = case.windows(), case.attention(), case.heads, case.window
    return scaled_pairs(swin, "window_attention", args)


def scaled_pairs(swin: Asked, name: str, args: tuple[Any, ...]) -> Any:
    """Returns what a callable gives beside the oracle's result, under a qk_scale of 1/4 and of 0."""
    called, expected = getattr(swin, name), getattr(swin.expected, name)
    return [(called(*args, qk_scale=scale), expected(*args, qk_scale=scale)) for scale in QK_SCALES]


@law("window_attention/own-scale", ["window_attention.qk_scale"], grids(enough=True), compares_with="itself")
def window_own_scale(swin: Asked, case: GridCase) -> Any:
    """The scale is head_dim^-1/2 by default: giving it changes nothing, giving twice it doubles the
    queries.
    """
    x, params, own = case.windows(), case.attention(), case.head_dim**-0.5
    doubled = params | {"qkv": {name: scaled(part, 2.0, 1.0) for name, part in params["qkv"].items()}}
    sizes = case.heads, case.window
    return [
        (swin.window_attention(x, params, *sizes, qk_scale=own), swin.window_attention(x, params, *sizes)),
        (
            swin.window_attention(x, params, *sizes, qk_scale=2.0 * own),
            swin.window_attention(x, doubled, *sizes),
        ),
    ]


@law(
    "shifted_window_attention/oracle",
    SWA,
    grids(RECIPES, enough=True),
    compares_with="oracle",
    life_size=True,
    in_v2="The (S)W-MSA of V2 on any grid is the oracle's: pad, shift, partition, attend by cosine, reverse, "
    "shift back, crop.",
)
def shifted_oracle(swin: Asked, case: GridCase) -> Any:
    """(S)W-MSA on any grid is the oracle's: pad, shift, partition, attend, reverse, shift back, crop."""
    args = case.tokens(), case.attention(), case.heads, case.window, case.shift
    return swin.shifted_window_attention(*args), swin.expected.shifted_window_attention(*args)


@law(
    "shifted_window_attention/qk-scale",
    ["shifted_window_attention.qk_scale"],
    grids(enough=True),
    compares_with="oracle",
)
def shifted_qk_scale(swin: Asked, case: GridCase) -> Any:
    """In (S)W-MSA an explicit qk_scale replaces head_dim^-1/2, also one of 0."""
    args = case.tokens(), case.attention(), case.heads, case.window, case.shift
    return scaled_pairs(swin, "shifted_window_attention", args)


@law(
    "shifted_window_attention/true-windows",
    SWA,
    grids(("generic", "peaked"), enough=True),
    compares_with="definition",
    full=True,
    life_size=True,
    slow=["stage 3 of Swin-B*", "stage 1 of Swin-T"],
    in_v2=True,
)
def true_windows(swin: Asked, case: GridCase) -> Any:
    """(S)W-MSA is attention inside each true shifted window, computed without roll, partition or mask.

    Why it holds for all sizes: cut an axis at s, s + M, ...  The roll by -s moves these cuts to multiples of
    M, where partition cuts.  Only the two end pieces of the axis, of length s and M - s, come together in the
    last window, and the mask separates them.  So two tokens attend to each other exactly when they have the
    same floor((h - s) / M) on both axes.  Inside a window the roll keeps the offsets, and so the bias.
    """
    args = case.tokens(), case.attention(), case.heads, case.window, case.shift
    return swin.shifted_window_attention(*args), attend_in_true_windows(case, find_convention(swin))


def find_convention(swin: Asked) -> str:
    """Returns the name of the convention that an implementation is judged by; of a planted bug canonical."""
    return str(getattr(getattr(swin, "oracle", None), "convention", "canonical"))


@remember  # perturbed runs ask again
def attend_in_true_windows(case: GridCase, convention: str, several: bool = False) -> Any:
    """Returns the attention of a case's tokens by the second oracle.

    Of the convention it takes only the constants of V2.
    """
    x = several_tokens(case) if several else case.tokens()
    sizes = case.attention(), case.heads, case.window, case.shift
    if not isinstance(case, GridV2Case):
        return direct.shifted_window_attention(x, *sizes)
    constants = keep_constants(convention_named(convention))
    return direct.shifted_cosine_window_attention(x, *sizes, convention=constants)


@law(
    "shifted_window_attention/padded",
    SWA,
    padded_grids(),
    compares_with="definition",
    in_v2=True,
)
def padded(swin: Asked, case: GridCase) -> Any:
    """On a grid that is padded and shifted along both axes, the true windows are those of the padded grid."""
    args = case.tokens(), case.attention(), case.heads, case.window, case.shift
    return swin.shifted_window_attention(*args), attend_in_true_windows(case, find_convention(swin))


@law("shifted_window_attention/exhaustive", SWA, SmallGrids, compares_with="definition", in_v2=True)
def every_small_grid(swin: Asked, case: GridCase) -> Any:
    """For every small window, shift and grid, (S)W-MSA is attention inside each true shifted window."""
    args = several_tokens(case), case.attention(), case.heads, case.window, case.shift
    expected = attend_in_true_windows(case, find_convention(swin), several=True)
    return swin.shifted_window_attention(*args), expected


def several_tokens(case: GridCase) -> Any:
    """Returns multiples of a case's tokens, as many as a budget needs."""
    enough = -(-1000 // (prod(case.grid) * case.channels))
    tokens = case.tokens()
    x = np.concatenate([tokens * factor for factor in np.linspace(-1, 1, enough).round(1)])
    return np.round(x * 64) / 64


@law(
    "shifted_window_attention/locality",
    SWA,
    grids(("gentle",), channels=2),
    "exact",
    compares_with="definition",
    life_size=True,
    in_v2=True,
)
def locality(swin: Asked, case: GridCase) -> Any:
    """Changing a token changes all tokens of its true window and no others.

    Half precision may round a real dependency away: there the law asks only for "no others".
    """
    x, params, rng = case.tokens(), case.attention(), case.rng(3)
    b, h, w = int(rng.integers(case.batch)), *(int(rng.integers(side)) for side in case.grid)
    nudged = x.copy()
    nudged[b, h, w] = np.where(x[b, h, w] > 0, x[b, h, w] - 1.0, x[b, h, w] + 1.0)
    sizes = params, case.heads, case.window, case.shift
    before, after = (swin.shifted_window_attention(tokens, *sizes) for tokens in (x, nudged))
    return reaches_exactly(swin, case, np.any(before != after, axis=-1), (b, h, w))


def reaches_exactly(swin: Asked, case: GridCase, moved: Any, token: tuple[int, int, int]) -> Any:
    """Returns the tokens that moved beside those of a token's true window; in half precision only strangers.

    ``moved`` is (B, H, W), and ``token`` the image, row and column of the one that was changed.
    """
    expected = np.zeros_like(moved)
    expected[token[0]] = case.true_window(token[1:])
    if swin.precision.bits < 24:
        moved, expected = moved & ~expected, np.zeros_like(moved)
    return moved, expected


@law("shifted_window_attention/hard-mask", SWA, grids(shifted=True), "exact", compares_with="definition")
def hard_mask(swin: Asked, case: GridCase) -> Any:
    """A masked token weighs exactly 0, even where its logit is larger than all others by hundreds.

    A mask of -100 leaks here: the logit of one token, wherever it is, is larger by 512.
    """
    x, params, rng = case.tokens(), case.attention(), case.rng(3)
    h, w = (int(rng.integers(side)) for side in case.grid)
    third = case.channels
    x[..., 0] = 0.0
    x[:, h, w, 0] = 2.0
    weight = np.array(params["qkv"]["weight"])
    weight[: 2 * third] = 0.0
    weight[third : 2 * third : case.head_dim, 0] = 16.0 * 2.0 ** np.ceil(np.log2(case.head_dim) / 2)
    bias = np.zeros(3 * third)
    bias[:third] = 16.0
    liked = params | {"qkv": {"weight": weight, "bias": bias}}
    nudged = x.copy()
    nudged[:, h, w, 1:] = nudged[:, h, w, 1:] - np.sign(nudged[:, h, w, 1:])
    nudged[:, h, w, 0] = 1.75
    sizes = liked, case.heads, case.window, case.shift
    before, after = (swin.shifted_window_attention(tokens, *sizes) for tokens in (x, nudged))
    leaked = np.any(before != after, axis=-1) & ~case.true_window((h, w))
    return leaked, np.zeros_like(leaked)


@law(
    "shifted_window_attention/mean",
    SWA,
    grids(("uniform",), enough=True),
    compares_with="definition",
    in_v2=True,
)
def mean(swin: Asked, case: GridCase) -> Any:
    """With queries and position bias of 0 every token becomes the mean of its true window, padding
    included.
    """
    x, params = case.tokens(), case.attention()
    weight, bias = params["qkv"]["weight"], params["qkv"].get("bias", np.zeros(3 * case.channels))
    value_bias = params.get("v_bias", bias[2 * case.channels :])  # of V2
    padded = np.pad(x, ((0, 0), *((0, p - g) for p, g in zip(case.padded, case.grid, strict=True)), (0, 0)))
    values = padded @ weight[2 * case.channels :].T + value_bias
    together = case.together()
    weights = together / together.sum(axis=1, keepdims=True)
    means = (weights @ values.reshape(case.batch, -1, case.channels)).reshape(values.shape)
    means = means[:, : case.grid[0], : case.grid[1]]
    expected = means @ params["proj"]["weight"].T + params["proj"]["bias"]
    return swin.shifted_window_attention(x, params, case.heads, case.window, case.shift), expected


@law(
    "shifted_window_attention/global",
    SWA,
    grids(shifted=False, enough=True).map(lambda case: replace(case, window=case.grid)),
    compares_with="definition",
    slow=["grid *"],
)
def global_attention(swin: Asked, case: GridCase) -> Any:
    """With one window as large as the grid and no position bias, (S)W-MSA is a ViT's global attention."""
    x, params = case.tokens(), case.attention()
    params["relative_position_bias_table"] = np.zeros((prod(case.offset_rows), case.heads))
    got = swin.shifted_window_attention(x, params, case.heads, case.window, (0, 0))
    return got, direct.global_attention(x, params, case.heads)
