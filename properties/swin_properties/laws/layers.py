"""Laws of LayerNorm, GELU and the MLP."""

from __future__ import annotations

from math import erfc, sqrt
from typing import Any

import numpy as np
from swin_reference.parameters import linear_shapes, mlp_shapes, norm_shapes

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import GridCase
from swin_properties.cases.strategies import grids
from swin_properties.laws.law import law

Tokens = grids(shifted=False, enough=True, largest_window=3)
Normed = grids(
    ("generic", "flat", "impulse", "big"), shifted=False, enough=True, largest_window=3, channels=4
)
"""With fewer channels, one token with nearly equal channels can make up the whole budget."""


def norm(case: GridCase) -> Any:
    """Returns hot parameters of a LayerNorm."""
    return case.hot(norm_shapes(case.channels))


def plain_norm(case: GridCase) -> Any:
    """Returns gamma = 1 and beta = 0 of a LayerNorm."""
    return {"weight": np.ones(case.channels), "bias": np.zeros(case.channels)}


def only_gelu(channels: int) -> Any:
    """Returns an MLP whose two linear layers are the identity, so that it is GELU alone."""
    identity = {"weight": np.eye(channels), "bias": np.zeros(channels)}
    return {"fc1": identity, "fc2": identity}


def moved(swin: Asked, name: str, case: GridCase, params: Any) -> Any:
    """Returns which other tokens of the output change, bitwise, when one token changes."""
    x, rng = case.tokens(), case.rng(3)
    token = tuple(int(rng.integers(side)) for side in x.shape[:-1])
    nudged = x.copy()
    nudged[token] = rng.integers(-127, 128, x.shape[-1]) / 64.0
    function = getattr(swin, name)
    changed = np.zeros(x.shape[:-1], bool)
    changed[token] = True
    return np.any(function(x, params) != function(nudged, params), axis=-1) & ~changed


@law("layer_norm/oracle", ["layer_norm"], Normed, compares_with="oracle", life_size=True)
def layer_norm_oracle(swin: Asked, case: GridCase) -> Any:
    """LayerNorm is the oracle's: biased variance, eps 1e-5 inside the root, gamma and beta."""
    x, params = case.tokens(), norm(case)
    return swin.layer_norm(x, params), swin.expected.layer_norm(x, params)


@law("layer_norm/eps", ["layer_norm.eps"], Normed, compares_with="itself")
def layer_norm_eps(swin: Asked, case: GridCase) -> Any:
    """Scaling the input by a is scaling eps by 1 / a^2."""
    x, params = case.tokens(), norm(case)
    return swin.layer_norm(4 * x, params, eps=2.0**-6), swin.layer_norm(x, params, eps=2.0**-10)


@law(
    "layer_norm/centred",
    ["layer_norm"],
    grids(shifted=False, enough=True, channels=4),
    compares_with="itself",
)
def layer_norm_centred(swin: Asked, case: GridCase) -> Any:
    """Adding a constant to a token changes nothing; with gamma 1 and beta 0, negating it negates the
    result.
    """
    x, params = np.round(case.tokens() * 32) / 64, plain_norm(case)
    y = swin.layer_norm(x, params)
    return [(swin.layer_norm(x + 1.0, params), y), (swin.layer_norm(-x, params), -y)]


@law("layer_norm/variance", ["layer_norm"], Normed, compares_with="definition")
def layer_norm_variance(swin: Asked, case: GridCase) -> Any:
    """With gamma 1 and beta 0 the mean square of a token is s^2 / (s^2 + eps), s^2 the biased variance."""
    x = case.tokens(batch=case.batch * case.channels)  # one number a token is compared
    mean_square = np.mean(np.square(swin.layer_norm(x, plain_norm(case))), axis=-1)
    variance = np.var(x, axis=-1)
    return mean_square, variance / (variance + 1e-5)


@law("layer_norm/per-token", ["layer_norm"], Tokens, "exact", compares_with="itself")
def layer_norm_per_token(swin: Asked, case: GridCase) -> Any:
    """The norm of a token depends on that token alone."""
    others = moved(swin, "layer_norm", case, norm(case))
    return others, np.zeros_like(others)


@law("layer_norm/zeros", ["layer_norm"], Tokens, "exact", compares_with="definition")
def layer_norm_zeros(swin: Asked, case: GridCase) -> Any:
    """A token of zeros becomes beta, bitwise: eps keeps it finite in every precision."""
    x, params = np.zeros(case.tokens().shape), norm(case)
    return swin.layer_norm(x, params), x + params["bias"]


@law(
    "mlp/oracle",
    ["mlp"],
    grids(("generic", "big"), shifted=False, enough=True, largest_window=3),
    compares_with="oracle",
    life_size=True,
    slow=["1024 channels", "stage 3 of Swin-B*"],
)
def mlp_oracle(swin: Asked, case: GridCase) -> Any:
    """The MLP is the oracle's: fc2(gelu(fc1(x))) with the exact GELU."""
    x, params = case.tokens(), case.hot(mlp_shapes(case.channels, 4 * case.channels))
    return swin.mlp(x, params), swin.expected.mlp(x, params)


@law("mlp/gelu", ["mlp"], Tokens, compares_with="definition")
def gelu_exact(swin: Asked, case: GridCase) -> Any:
    """With the identity as both linear layers the MLP is x Phi(x), compared where the tanh form differs
    most.
    """
    x = case.tokens() + np.where(case.tokens() < 0, -2.0, 2.0)
    phi = np.vectorize(lambda t: erfc(-t / sqrt(2.0)) / 2)
    return swin.mlp(x, only_gelu(case.channels)), x * phi(x)


@law("mlp/gelu-odd-part", ["mlp"], Tokens, compares_with="itself")
def gelu_odd(swin: Asked, case: GridCase) -> Any:
    """With the identity as both linear layers the MLP is GELU: gelu(x) - gelu(-x) = x."""
    x, params = case.tokens(), only_gelu(case.channels)
    return swin.mlp(x, params) - swin.mlp(-x, params), x


@law("mlp/per-token", ["mlp"], Tokens, "exact", compares_with="itself")
def mlp_per_token(swin: Asked, case: GridCase) -> Any:
    """The MLP's output for a token depends on that token alone."""
    others = moved(swin, "mlp", case, case.hot(mlp_shapes(case.channels, 2 * case.channels)))
    return others, np.zeros_like(others)


@law("mlp/hidden-order", ["mlp"], Tokens, compares_with="itself")
def hidden_order(swin: Asked, case: GridCase) -> Any:
    """Permuting the hidden units together with their weights changes nothing."""
    x, hidden = case.tokens(), 3 * case.channels
    fc1 = case.hot(linear_shapes(case.channels, hidden))
    fc2 = case.hot(linear_shapes(hidden, case.channels))
    order = case.rng(3).permutation(hidden)
    permuted = {
        "fc1": {"weight": fc1["weight"][order], "bias": fc1["bias"][order]},
        "fc2": fc2 | {"weight": fc2["weight"][:, order]},
    }
    return swin.mlp(x, permuted), swin.mlp(x, {"fc1": fc1, "fc2": fc2})
