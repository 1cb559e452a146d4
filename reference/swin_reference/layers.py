"""The elementary layers: linear, softmax, LayerNorm, GELU, MLP, drop path.

They use array operations only, no constants of a precision: float32 and complex numbers pass through.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any

import numpy as np

from swin_reference.types import Inexact, Params, Real


def linear(
    x: Inexact[np.ndarray, "*tokens inputs"],
    weight: Inexact[np.ndarray, "outputs inputs"],
    bias: Inexact[np.ndarray, " outputs"] | None = None,
) -> Inexact[np.ndarray, "*tokens outputs"]:
    """Applies a linear layer to the last axis: y = x W^T + b.

    ``weight`` is (outputs, inputs), as checkpoints store it.

    >>> linear(np.array([1.0, 2.0]), weight=np.array([[1.0, 1.0], [0.0, 3.0]]))
    array([3., 6.])
    """
    # One matmul of all tokens at once: a stack of small ones is an order of magnitude slower.
    tokens = x.reshape(prod(x.shape[:-1]), x.shape[-1])  # (all tokens, inputs)
    y = (tokens @ weight.T).reshape(*x.shape[:-1], weight.shape[0])
    return y if bias is None else y + bias


def softmax(x: Inexact[np.ndarray, "*rows keys"]) -> Inexact[np.ndarray, "*rows keys"]:
    """Applies softmax to the last axis: y_j = exp(x_j - max x) / sum_k exp(x_k - max x).

    An entry of -inf gets exactly 0.  Each row holds at least one finite entry.

    >>> softmax(np.array([0.0, 0.0, -np.inf]))
    array([0.5, 0.5, 0. ])
    """
    exponentials = np.exp(x - x.real.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def layer_norm(
    x: Inexact[np.ndarray, "*tokens channels"], params: Params, eps: float = 1e-5
) -> Inexact[np.ndarray, "*tokens channels"]:
    """Applies LayerNorm to the last axis: y = gamma (x - mean) / sqrt(var + eps) + beta.

    The variance is the biased one: the mean of (x - mean)^2.  ``params`` holds ``weight`` (gamma) and
    ``bias`` (beta), each (channels,).  (Ba et al. 2016.)

    >>> layer_norm(np.array([1.0, 3.0]), {"weight": np.ones(2), "bias": np.zeros(2)}, eps=0.0)
    array([-1.,  1.])
    """
    channels = x.shape[-1]
    centred = x - x.sum(axis=-1, keepdims=True) / channels
    variance = (centred * centred).sum(axis=-1, keepdims=True) / channels
    return centred / np.sqrt(variance + eps) * params["weight"] + params["bias"]


def erf(x: Inexact[np.ndarray, "*shape"]) -> Inexact[np.ndarray, "*shape"]:
    """Returns the error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.

    >>> erf(np.array([0.0, 100.0]))
    array([0., 1.])
    """
    from scipy import special  # here, for it takes longer to import than all else of the oracle

    return special.erf(x)


def gelu(x: Inexact[np.ndarray, "*shape"]) -> Inexact[np.ndarray, "*shape"]:
    """Applies the exact GELU: y = x Phi(x) = x (1 + erf(x / sqrt 2)) / 2.  (Hendrycks & Gimpel 2016.)

    >>> gelu(np.array([0.0, 100.0]))
    array([  0., 100.])
    """
    return 0.5 * x * (1.0 + erf(x / sqrt(2.0)))


def mlp(
    x: Inexact[np.ndarray, "*tokens channels"], params: Params
) -> Inexact[np.ndarray, "*tokens channels"]:
    """Applies a block's MLP to each token: y = fc2(gelu(fc1(x))).

    ``params`` holds two linear layers with biases: ``fc1``, C to the hidden width, and ``fc2``, back to C.
    (Liu et al. 2021, section 3.1.)

    >>> eye = {"weight": np.eye(2), "bias": np.zeros(2)}
    >>> mlp(np.array([0.0, 100.0]), {"fc1": eye, "fc2": eye})
    array([  0., 100.])
    """
    return linear(gelu(linear(x, **params["fc1"])), **params["fc2"])


def drop_path(
    branch: Inexact[np.ndarray, "batch *shape"], kept: Real[np.ndarray, " factors"] | None
) -> Inexact[np.ndarray, "batch *shape"]:
    """Multiplies each sample of a residual branch by its drop path factor: y_b = kept_b branch_b.

    In training, a factor is 0 with probability p, else 1 / (1 - p).  In evaluation ``kept`` is None and the
    branch is returned as it is.  (Huang et al. 2016, stochastic depth.)

    Errors: ``ValueError`` unless there is one factor a sample.

    >>> drop_path(np.ones((2, 3)), np.array([0.0, 1.25]))
    array([[0.  , 0.  , 0.  ],
           [1.25, 1.25, 1.25]])
    """
    if kept is None:
        return branch
    if np.shape(kept) != (len(branch),):
        raise ValueError(
            f"drop path takes one factor a sample, got shape {np.shape(kept)} for {len(branch)} samples: "
            "make it (batch,)"
        )
    return branch * np.asarray(kept, dtype=branch.real.dtype).reshape(-1, *[1] * (branch.ndim - 1))


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[Any]:
    """Returns the drop rate p of every block: for each stage an array (depth,).

    p_k = rate k / (sum(depths) - 1), where k counts the blocks of the whole network from 0.  A network of
    one block has rate 0.  (Official code: ``SwinTransformer.__init__``.)

    Errors: ``ValueError`` unless 0 <= rate < 1.

    >>> drop_path_rates(0.75, (2, 2))
    [array([0.  , 0.25]), array([0.5 , 0.75])]
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"0 <= rate < 1 must hold for drop path, got {rate}: use a rate below 1")
    steps = max(sum(depths) - 1, 1)  # one block alone has rate 0
    rates = rate * np.arange(sum(depths)) / steps
    return np.split(rates, np.cumsum(depths)[:-1])


def drop_path_factors(rates: list[Any], batch: int, rng: np.random.Generator) -> list[list[tuple[Any, Any]]]:
    """Draws the factors of `drop_path`: for each block two (batch,) arrays, attention and MLP branch.

    Each factor is 0 with probability p, else 1 / (1 - p).  All are independent.

    >>> drop_path_factors([np.zeros(1)], 2, np.random.default_rng(0))
    [[(array([1., 1.]), array([1., 1.]))]]
    """

    def factors(rate: float) -> Any:
        return (rng.random(batch) >= rate) / (1.0 - rate)

    return [[(factors(rate), factors(rate)) for rate in stage] for stage in rates]
