"""Laws of V2's attention: what the cosine of queries and keys, its scale and its clamp decide."""

from __future__ import annotations

from typing import Any

import numpy as np
from swin_reference.config_v2 import SwinV2Config

from swin_properties.adapters.contract import Asked
from swin_properties.adapters.implementation import vjp
from swin_properties.cases.case_v2 import GridV2Case, NetV2Case
from swin_properties.cases.recipes import scaled
from swin_properties.cases.strategies import grids, networks
from swin_properties.laws.algebra import clip_to_windows, coarse
from swin_properties.laws.gradients import Windows, cotangent
from swin_properties.laws.law import law
from swin_properties.laws.network import stage
from swin_properties.laws.symmetry import without_bias
from swin_properties.laws.versions import draw_in_v2

CWA, SCWA = ["cosine_window_attention"], ["shifted_cosine_window_attention"]
Plain = draw_in_v2(grids(enough=True))
Opposed = draw_in_v2(grids(("opposed",), enough=True))
Several = draw_in_v2(grids(enough=True, heads=2))
Whole = draw_in_v2(grids(("generic", "peaked"), whole=True, enough=True))
Small = draw_in_v2(grids())


def attend(swin: Asked, case: GridV2Case, x: Any, params: Any) -> Any:
    """Returns the (S)W-MSA of V2 at the case's sizes."""
    return swin.shifted_cosine_window_attention(x, params, case.heads, case.window, case.shift)


def without_biases(params: Any) -> Any:
    """Returns the parameters of an attention with q_bias and v_bias of 0, where it has them."""
    return params | {name: 0.0 * params[name] for name in ("q_bias", "v_bias") if name in params}


def shrink(swin: Asked) -> float:
    """Returns a power of two by which short vectors are shortened further, exactly in the precision."""
    return 2.0**-8 if swin.precision.name == "float16" else 2.0**-20


@law("shifted_cosine_window_attention/opposed", SCWA, Opposed, compares_with="oracle")
def opposed(swin: Asked, case: GridV2Case) -> Any:
    """With cosines of 1 and -1 and every scale at its clamp, logits of 100 and -100, (S)W-MSA is the
    oracle's.
    """
    args = case.tokens(), case.attention(), case.heads, case.window, case.shift
    return (
        swin.shifted_cosine_window_attention(*args),
        swin.expected.shifted_cosine_window_attention(*args),
    )


@law("cosine_window_attention/scales", CWA, Plain, compares_with="oracle")
def scales(swin: Asked, case: GridV2Case) -> Any:
    """A head's scale is exp(logit_scale), for negative ones too: there is no floor."""
    # Beside a cosine so small, the few roundings of the position bias would decide: all windows share them.
    x, params = case.windows(), without_bias(case, case.attention())
    logit_scale = case.rng(3).integers(-64, 12, (case.heads, 1, 1)) / 8.0
    args = x, params | {"logit_scale": logit_scale}, case.heads, case.window
    return swin.cosine_window_attention(*args), swin.expected.cosine_window_attention(*args)


@law("cosine_window_attention/clamp", CWA, Small, "exact", compares_with="itself")
def clamp(swin: Asked, case: GridV2Case) -> Any:
    """A logit scale above log 100 acts as log 100: raising it further changes nothing, bitwise."""
    x, params = case.windows(), case.attention()
    high = params | {"logit_scale": np.full((case.heads, 1, 1), 4.75)}
    higher = params | {"logit_scale": np.full((case.heads, 1, 1), 9.0)}
    results = [swin.cosine_window_attention(x, either, case.heads, case.window) for either in (higher, high)]
    return results[0], results[1]


@law("cosine_window_attention/clamp-value", CWA, Plain, compares_with="oracle")
def clamp_value(swin: Asked, case: GridV2Case) -> Any:
    """The largest factor of a cosine is 100."""
    x, params = case.windows(), case.attention()
    high = params | {"logit_scale": np.full((case.heads, 1, 1), 9.0)}
    args = x, high, case.heads, case.window
    return swin.cosine_window_attention(*args), swin.expected.cosine_window_attention(*args)


@law(
    "cosine_window_attention/finite-mask",
    ["cosine_window_attention.mask"],
    draw_in_v2(grids(whole=True, enough=True)),
    compares_with="oracle",
)
def finite_mask(swin: Asked, case: GridV2Case) -> Any:
    """A mask is added to the logits once: one of small negative numbers lowers them by these."""
    x, params = case.windows(), case.attention()
    shape = len(x) // case.batch, x.shape[1], x.shape[1]
    mask = case.rng(3).integers(-8, 1, shape) / 4.0
    args = x, params, case.heads, case.window
    return (
        swin.cosine_window_attention(*args, mask=mask),
        swin.expected.cosine_window_attention(*args, mask=mask),
    )


@law(
    "cosine_window_attention/clamp-gradient",
    ["vjp", *CWA],
    draw_in_v2(Windows),
    "exact",
    compares_with="definition",
)
def clamp_gradient(swin: Asked, case: GridV2Case) -> Any:
    """A logit scale above log 100 has a gradient of 0."""
    x, params = case.windows(), case.attention()
    params = params | {"logit_scale": np.full((case.heads, 1, 1), 4.75)}
    args = x, params, case.heads, case.window
    gradient = vjp(swin, "cosine_window_attention", cotangent(case, x.shape), *args)["logit_scale"]
    return gradient, np.zeros(gradient.shape)


@law("cosine_window_attention/short-vectors", CWA, Plain, compares_with="itself")
def short_vectors(swin: Asked, case: GridV2Case) -> Any:
    """Queries and keys count by their direction: making them short, down to 1e-6, changes nothing."""
    x, params = case.windows(), without_biases(case.attention())
    weight, factor = coarse(params["qkv"]["weight"]), shrink(swin)
    long = params | {"qkv": {"weight": weight}}
    sizes = case.heads, case.window
    y = swin.cosine_window_attention(x, long, *sizes)
    pairs = []
    for queries, keys in ((factor, 1.0), (1.0, factor), (factor, factor)):
        short = params | {"qkv": {"weight": scaled(weight, queries, keys)}}
        pairs.append((swin.cosine_window_attention(x, short, *sizes), y))
    return pairs


@law("cosine_window_attention/zero-token", CWA, Small, "exact", compares_with="definition")
def zero_token(swin: Asked, case: GridV2Case) -> Any:
    """A token of zeros, whose query and key have no direction, has a finite result, and so have others."""
    x, params = case.windows(), without_biases(case.attention())
    x[:, 0] = 0.0
    finite = np.isfinite(swin.cosine_window_attention(x, params, case.heads, case.window))
    return finite, np.ones(finite.shape, bool)


@law(
    "cosine_window_attention/zero-token-gradient",
    ["vjp", *CWA],
    Small,
    "exact",
    compares_with="definition",
)
def zero_token_gradient(swin: Asked, case: GridV2Case) -> Any:
    """Beside a token of zeros every gradient is finite.

    The gradient of such a token is divided by 1e-12; float16 cannot hold it, and is asked nothing.
    """
    x, params = case.windows(), without_biases(case.attention())
    x[:, 0] = 0.0
    if swin.precision.name == "float16":
        return np.ones(1), np.ones(1)
    u = cotangent(case, x.shape)  # `vjp` refuses gradients that are not finite
    found = vjp(swin, "cosine_window_attention", u, x, params, case.heads, case.window)
    finite = np.array([np.isfinite(gradient).all() for gradient in found.values()])
    return finite, np.ones(finite.shape, bool)


@law("shifted_cosine_window_attention/orthogonal", SCWA, Plain, compares_with="itself")
def orthogonal(swin: Asked, case: GridV2Case) -> Any:
    """Turning queries and keys of a head by one orthogonal matrix changes nothing.

    The matrix permutes the components and changes signs, so that all weights stay exact.
    """
    x, params, rng = case.tokens(), case.attention(), case.rng(3)
    order, signs = rng.permutation(case.head_dim), rng.choice([-1.0, 1.0], case.head_dim)
    weight = np.array(params["qkv"]["weight"]).reshape(3, case.heads, case.head_dim, case.channels)
    weight[:2] = weight[:2, :, order] * signs[:, None]
    turned = params | {"qkv": {"weight": weight.reshape(-1, case.channels)}}
    if "q_bias" in params:
        bias = params["q_bias"].reshape(case.heads, case.head_dim)[:, order] * signs
        turned["q_bias"] = bias.ravel()
    return attend(swin, case, x, turned), attend(swin, case, x, params)


@law("shifted_cosine_window_attention/head-order", SCWA, Several, compares_with="itself")
def head_order(swin: Asked, case: GridV2Case) -> Any:
    """Permuting the heads with their weights, scales and biases, and their columns of proj, changes
    nothing.
    """
    x, params = case.tokens(), case.attention()
    order = np.roll(np.arange(case.heads), 1 + int(case.rng(3).integers(case.heads - 1)))
    of_heads = case.heads, case.head_dim

    def rows(leaf: Any, *before: int) -> Any:
        ordered = np.take(leaf.reshape(*before, *of_heads, -1), order, axis=len(before))
        return ordered.reshape(leaf.shape)

    columns = params["proj"]["weight"].reshape(case.channels, *of_heads)[:, order]
    mlp = params["cpb_mlp"]
    permuted = params | {
        "logit_scale": params["logit_scale"][order],
        "cpb_mlp": mlp | {"2": {"weight": mlp["2"]["weight"][order]}},
        "qkv": {"weight": rows(params["qkv"]["weight"], 3)},
        "proj": params["proj"] | {"weight": columns.reshape(case.channels, case.channels)},
    }
    permuted |= {name: rows(params[name]) for name in ("q_bias", "v_bias") if name in params}
    return attend(swin, case, x, permuted), attend(swin, case, x, params)


@law("shifted_cosine_window_attention/value-bias", SCWA, Plain, compares_with="itself")
def value_bias(swin: Asked, case: GridV2Case) -> Any:
    """In Swin V2 a v_bias c adds W_o c to every output: the weights of a query sum to 1."""
    x, params = case.tokens(), case.attention()
    q_bias = params.get("q_bias", np.zeros(case.channels))
    raised = case.rng(3).integers(-32, 33, case.channels) / 8.0
    both = [params | {"q_bias": q_bias, "v_bias": bias} for bias in (raised, 0.0 * raised)]
    got, without = (attend(swin, case, x, either) for either in both)
    return got, without + params["proj"]["weight"] @ raised


@law("shifted_cosine_window_attention/hull", SCWA, Whole, compares_with="itself")
def hull(swin: Asked, case: GridV2Case) -> Any:
    """In Swin V2 too: with the identity as value and output projection, outputs lie between the extremes of
    their true window.

    All values are in [1, 2), so that a sum of weights below 1 shows as well as one above 1.
    """
    x, params = 1.0 + np.floor(np.abs(case.tokens()) * 64) / 128, case.attention()
    weight = np.array(params["qkv"]["weight"])
    weight[2 * case.channels :] = np.eye(case.channels)
    identity = {"weight": np.eye(case.channels), "bias": np.zeros(case.channels)}
    params = params | {"qkv": {"weight": weight}, "proj": identity}
    if "v_bias" in params:
        params = params | {"v_bias": np.zeros(case.channels)}
    y = attend(swin, case, x, params)
    return y, clip_to_windows(case, x, y)


@law(
    "shifted_cosine_window_attention/hard-mask",
    SCWA,
    draw_in_v2(grids(shifted=True, channels=2)),
    "exact",
    compares_with="definition",
)
def hard_mask(swin: Asked, case: GridV2Case) -> Any:
    """A masked token weighs exactly 0, even where its cosine is 1, all others are -1, and the scale is 100.

    A mask of -100 leaks here: logits are 200 apart.
    """
    x, params, rng = case.tokens(), without_biases(case.attention()), case.rng(3)
    h, w = (int(rng.integers(side)) for side in case.grid)
    x[..., 0] = -1.0
    x[:, h, w, 0] = 1.0
    weight = np.array(params["qkv"]["weight"])
    weight[: 2 * case.channels] = 0.0
    weight[case.channels : 2 * case.channels : case.head_dim, 0] = 1.0  # keys: the first component, 1 or -1
    liked = params | {
        "qkv": {"weight": weight},
        "q_bias": np.ones(case.channels) * (np.arange(case.channels) % case.head_dim == 0),
        "v_bias": np.zeros(case.channels),
        "logit_scale": np.full((case.heads, 1, 1), 5.0),
    }
    nudged = x.copy()
    nudged[:, h, w, 1:] = nudged[:, h, w, 1:] - np.sign(nudged[:, h, w, 1:])
    before, after = (attend(swin, case, tokens, liked) for tokens in (x, nudged))
    leaked = np.any(before != after, axis=-1) & ~case.true_window((h, w))
    return leaked, np.zeros_like(leaked)


def pretrained_pairs(swin: Asked, name: str, args: tuple[Any, ...], window: Any) -> Any:
    """Returns what a callable gives beside the oracle's result, under weights from a larger window."""
    trained = int(max(window)) + 5
    called, expected = getattr(swin, name), getattr(swin.expected, name)
    return called(*args, pretrained_window_size=trained), expected(*args, pretrained_window_size=trained)


@law(
    "cosine_window_attention/pretrained-window",
    ["cosine_window_attention.pretrained_window_size"],
    Plain,
    compares_with="oracle",
)
def window_pretrained(swin: Asked, case: GridV2Case) -> Any:
    """The window in which the weights were trained decides the scale of the offsets."""
    args = case.windows(), case.attention(), case.heads, case.window
    return pretrained_pairs(swin, "cosine_window_attention", args, case.window)


@law(
    "shifted_cosine_window_attention/pretrained-window",
    ["shifted_cosine_window_attention.pretrained_window_size"],
    Plain,
    compares_with="oracle",
)
def shifted_pretrained(swin: Asked, case: GridV2Case) -> Any:
    """In (S)W-MSA the window in which the weights were trained decides the scale of the offsets."""
    args = case.tokens(), case.attention(), case.heads, case.window, case.shift
    return pretrained_pairs(swin, "shifted_cosine_window_attention", args, case.window)


@law(
    "swin_v2_block/pretrained-window",
    ["swin_v2_block.pretrained_window_size"],
    draw_in_v2(grids(enough=True, largest_window=4, channels=4)),
    compares_with="oracle",
)
def block_pretrained(swin: Asked, case: GridV2Case) -> Any:
    """In a block the window in which the weights were trained decides the scale of the offsets."""
    args = case.tokens(), case.block(), case.heads, case.window, case.shift
    return pretrained_pairs(swin, "swin_v2_block", args, case.window)


@law(
    "swin_v2_stage/pretrained-window",
    ["swin_v2_stage.pretrained_window_size"],
    draw_in_v2(networks(deepest=1, maps=True)),
    compares_with="oracle",
)
def stage_pretrained(swin: Asked, case: NetV2Case) -> Any:
    """In every block of a stage the window in which the weights were trained decides the offsets' scale."""
    return pretrained_pairs(swin, "swin_v2_stage", (case.tokens(), *stage(case, 0)), case.window)


@law(
    "swin_v2_transformer/pretrained-window",
    ["swin_v2_transformer.config.pretrained_window_sizes"],
    draw_in_v2(networks(deepest=2)),
    compares_with="oracle",
)
def transformer_pretrained(swin: Asked, case: NetV2Case) -> Any:
    """Each stage of a network has a window of its own in which its weights were trained."""
    trained = tuple(max(case.window) + 5 - k for k in range(len(case.depths)))
    values = {**vars(case.config), "pretrained_window_sizes": trained}
    args = case.images(), case.network(), SwinV2Config(**values)
    return swin.swin_v2_transformer(*args), swin.expected.swin_v2_transformer(*args)
