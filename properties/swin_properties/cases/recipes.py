"""Recipes: the kinds of input that make faults visible.

All values are exact in the tested precision, and but for the recipe ``full`` in every precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from swin_properties.budget.precision import PRECISIONS

RECIPES = {
    "generic": "tokens on the grid k/64, |k| < 128; hot weights",
    "flat": "every other token, at random, has a variance near LayerNorm's eps",
    "impulse": "one token a sample, all others zero",
    "uniform": "no query, no bias: attention is the mean of the true window",
    "peaked": "logits spread over 150 and more",
    "big": "tokens of up to 254, whose squares overflow float16",
    "gentle": "logits spread over a few units: every token visibly weighs on every other",
    "own": "tokens on the grid k/64; the weights that came with the implementation",
    "full": "tokens and weights that use all bits of the tested precision",
    "opposed": "of V2: every cosine is 1 or -1 and every logit scale at its clamp: logits are 100 or -100",
}
"""Every recipe's name and what it is."""


def tokens(recipe: str, shape: tuple[int, ...], rng: np.random.Generator, precision: str = "float64") -> Any:
    """Tokens of ``shape`` (B, H, W, C) by the recipe, float64 that are exact in a precision.

    >>> tokens("impulse", (1, 2, 2, 1), np.random.default_rng(0)).astype(bool).sum()
    np.int64(1)
    """
    if recipe == "full":
        return PRECISIONS[precision].rounded(rng.uniform(-2.0, 2.0, shape))
    x = rng.integers(-127, 128, shape) / 64.0
    if recipe == "big":
        return 128 * x
    if recipe == "flat":
        # Not all tokens: nearly equal ones round alike, and their errors add up instead of averaging out.
        flat = rng.random((*shape[:-1], 1)) < 0.5
        return np.where(flat, np.round(x * 8) * 2.0**-12, x)
    if recipe == "impulse":
        batch, height, width, _ = shape
        impulses = np.zeros(shape)
        place = np.arange(batch), rng.integers(height, size=batch), rng.integers(width, size=batch)
        impulses[place] = np.where(x[place] == 0, 1.0, x[place])
        return impulses
    return x


def weights(recipe: str, params: Any) -> Any:
    """Parameters at any nesting level, with every attention changed as the recipe says.

    >>> weights("uniform", {"qkv": {"weight": np.ones((3, 1))}})["qkv"]["weight"].ravel()
    array([0., 1., 1.])
    """
    if isinstance(params, list):
        return [weights(recipe, child) for child in params]
    if not isinstance(params, Mapping):
        return params
    changed = {name: weights(recipe, child) for name, child in params.items()}
    if "logit_scale" in changed:
        return of_cosines(recipe, changed)
    if "qkv" in changed:
        queries, keys, table = {"uniform": (0, 1, 0), "peaked": (8, 8, 1), "gentle": (0.5, 0.5, 0.5)}.get(
            recipe, (1, 1, 1)
        )
        changed["qkv"] = {name: scaled(x, queries, keys) for name, x in changed["qkv"].items()}
        if "relative_position_bias_table" in changed:
            changed["relative_position_bias_table"] = table * changed["relative_position_bias_table"]
    return changed


def of_cosines(recipe: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a cosine attention changed as the recipe says.

    >>> params = {"qkv": {"weight": np.ones((3, 1))}, "logit_scale": np.ones(1),
    ...           "cpb_mlp": {"2": {"weight": np.ones((1, 1))}}}
    >>> of_cosines("gentle", params)["logit_scale"]
    array([0.])
    """
    weight, scale, mlp = params["qkv"]["weight"], params["logit_scale"], params["cpb_mlp"]
    q_bias, changed = params.get("q_bias"), {}
    table = {"uniform": 0.0, "gentle": 0.25, "opposed": 0.0}.get(recipe, 1.0)
    if recipe == "uniform":
        weight = scaled(weight, 0, 1)
    elif recipe == "gentle":
        scale = 0.0 * scale
    elif recipe == "opposed":
        weight, scale = weight.copy(), 0.0 * scale + 5.0
        first = weight.reshape(3, len(scale), -1, weight.shape[1])[:2]  # a view: (q and k, heads, d, C)
        first[:] = first[:1, :, :1]  # every component of queries and keys is one number, or none
    if q_bias is not None:
        factor = 0.0 if recipe in ("uniform", "opposed") else 1.0
        changed["q_bias"] = factor * q_bias
    last = {"weight": keep_in_half(table * mlp["2"]["weight"])}
    return {
        **params,
        "qkv": {"weight": weight},
        "logit_scale": scale,
        "cpb_mlp": {**mlp, "2": last},
        **changed,
    }


def keep_in_half(x: Any) -> Any:
    """Returns numbers of 8 bits without what lies below 2^-24, the smallest number of float16.

    >>> (keep_in_half(np.array([1.0, 1.5]) * 2.0**-24) * 2.0**24).tolist()
    [1.0, 2.0]
    """
    return np.round(x * 2.0**24) / 2.0**24


def filled(params: Any, rng: np.random.Generator, precision: str) -> Any:
    """Parameters at any nesting level, changed below their 8th bit so that they use all bits of a precision.

    >>> x = filled({"a": np.ones(2)}, np.random.default_rng(0), "float32")["a"]
    >>> bool(np.all(x == x.astype(np.float32)) and not np.any(x == x.astype(np.float16)))
    True
    """
    if isinstance(params, list):
        return [filled(child, rng, precision) for child in params]
    if isinstance(params, Mapping):
        return {name: filled(child, rng, precision) for name, child in params.items()}
    return PRECISIONS[precision].rounded(params * (1.0 + rng.uniform(-(2.0**-9), 2.0**-9, params.shape)))


def scaled(qkv: Any, queries: float, keys: float) -> Any:
    """The rows of a qkv weight or bias with those of q and of k multiplied by a power of two or 0.

    >>> scaled(np.ones(3), 0, 2)
    array([0., 2., 1.])
    """
    third = len(qkv) // 3
    factors = np.repeat([queries, keys, 1.0], third)
    return keep_in_half(qkv * factors.reshape(-1, *[1] * (qkv.ndim - 1)))
