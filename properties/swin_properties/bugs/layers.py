"""Planted bugs of LayerNorm, GELU, MLP and drop path."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, prod, sqrt
from typing import Any

import numpy as np

from swin_properties.bugs.gallery import Plant, Replacements, bug, replaces


def as_norm(statistics: Callable[[Any, Any, float], Any]) -> Plant:
    """Plants ``statistics(x, mean, eps)``, the tokens before gamma and beta, as LayerNorm."""

    def layer_norm(x: Any, params: Any, eps: float = 1e-5) -> Any:
        mean = x.sum(axis=-1, keepdims=True) / x.shape[-1]
        return statistics(x, mean, eps) * params["weight"] + params["bias"]

    return lambda o: {"layers.layer_norm": layer_norm}


def mean_square(centred: Any, degrees: int = 0) -> Any:
    """Returns the mean square of each token, over C - degrees."""
    return (centred * centred).sum(axis=-1, keepdims=True) / max(centred.shape[-1] - degrees, 1)


def mean_of_image(x: Any) -> Any:
    """Returns the mean over all but the first axis."""
    axes = tuple(range(1, x.ndim))
    return x.sum(axis=axes, keepdims=True) / prod(x.shape[1:])


def tanh_form(x: Any) -> Any:
    """Returns the tanh form of GELU."""
    return 0.5 * x * (1.0 + np.tanh(sqrt(2.0 / pi) * (x + 0.044715 * x * x * x)))


@bug(
    "norm-unbiased",
    "LayerNorm divides by the unbiased standard deviation, C - 1.",
    "Off by 1 / (2 C): half a percent at 96 channels.",
    "The Annotated Transformer's LayerNorm.",
    component="layer_norm",
)
@as_norm
def norm_unbiased(x: Any, mean: Any, eps: float) -> Any:
    return (x - mean) / np.sqrt(mean_square(x - mean, 1) + eps)


@bug(
    "norm-eps-1e-6",
    "LayerNorm's eps is 1e-6, not 1e-5.",
    "Only flat tokens differ: backgrounds, padding.",
    "Ports that take ViT's eps, which is 1e-6 in timm.",
    component="layer_norm",
    when="numbers that are not large",
)
@as_norm
def norm_eps_1e_6(x: Any, mean: Any, eps: float) -> Any:
    return (x - mean) / np.sqrt(mean_square(x - mean) + (1e-6 if eps == 1e-5 else eps))


@bug(
    "norm-eps-1e-3",
    "LayerNorm's eps is 1e-3, not 1e-5.",
    "Flat tokens are dimmed.",
    "Keras' default.",
    component="layer_norm",
    when="numbers that are not large",
)
@as_norm
def norm_eps_1e_3(x: Any, mean: Any, eps: float) -> Any:
    return (x - mean) / np.sqrt(mean_square(x - mean) + (1e-3 if eps == 1e-5 else eps))


@bug(
    "norm-eps-fixed",
    "LayerNorm ignores the eps it is given.",
    "Models with another eps are wrong.",
    component="layer_norm",
    when="numbers that are not large",
)
@as_norm
def norm_eps_fixed(x: Any, mean: Any, eps: float) -> Any:
    return (x - mean) / np.sqrt(mean_square(x - mean) + 1e-5)


@bug(
    "norm-eps-outside",
    "LayerNorm adds eps to the standard deviation, outside the root.",
    "Flat tokens are amplified.",
    "The Annotated Transformer's LayerNorm.",
    component="layer_norm",
    when="numbers that are not large",
)
@as_norm
def norm_eps_outside(x: Any, mean: Any, eps: float) -> Any:
    return (x - mean) / (np.sqrt(mean_square(x - mean) + 1e-30) + eps)


@bug(
    "norm-not-centred",
    "LayerNorm does not subtract the mean: it is RMSNorm.",
    "Tokens whose mean is not 0 are normed by it.",
    component="layer_norm",
)
@as_norm
def norm_not_centred(x: Any, mean: Any, eps: float) -> Any:
    return x / np.sqrt(mean_square(x) + eps)


@bug(
    "norm-mean-kept",
    "LayerNorm subtracts the mean for the variance only.",
    "The mean passes through every norm.",
    component="layer_norm",
)
@as_norm
def norm_mean_kept(x: Any, mean: Any, eps: float) -> Any:
    return x / np.sqrt(mean_square(x - mean) + eps)


@bug(
    "norm-one-pass",
    "LayerNorm's variance is E[x^2] - E[x]^2.",
    "It cancels where the mean is large against the spread: tokens of noise, or NaN.",
    "burn, issue 5607; mlx, issue 2238; onnxruntime, issue 21935.",
    component="layer_norm",
    only_when="",
)
@as_norm
def norm_one_pass(x: Any, mean: Any, eps: float) -> Any:
    return (x - mean) / np.sqrt(mean_square(x) - mean * mean + eps)


@bug(
    "norm-all-tokens",
    "LayerNorm takes its statistics over all tokens of an image.",
    "Tokens see each other through the norm: receptive fields are global, crops differ.",
    "GroupNorm with one group on (B, C, H, W).",
    component="layer_norm",
    when="several tokens in the grid",
)
@as_norm
def norm_all_tokens(x: Any, mean: Any, eps: float) -> Any:
    centred = x - mean_of_image(x)
    return centred / np.sqrt(mean_of_image(centred * centred) + eps)


@bug(
    "norm-gamma-dropped",
    "LayerNorm does not multiply by gamma.",
    "Trained scales are lost.",
    component="layer_norm",
)
@replaces("layers.layer_norm")
def norm_gamma_dropped(original: Any, x: Any, params: Any, eps: float = 1e-5) -> Any:
    return original(x, {"weight": np.ones_like(params["bias"]), "bias": params["bias"]}, eps)


@bug("norm-beta-dropped", "LayerNorm does not add beta.", "Trained offsets are lost.", component="layer_norm")
@replaces("layers.layer_norm")
def norm_beta_dropped(original: Any, x: Any, params: Any, eps: float = 1e-5) -> Any:
    return original(x, {"weight": params["weight"], "bias": np.zeros_like(params["weight"])}, eps)


@bug(
    "gelu-tanh",
    "GELU is the tanh form, not the exact one.",
    "Off by at most 4.7e-4, at |x| about 2.7: no accuracy is lost, no half precision shows it.",
    "ggml; JAX's default (approximate=True), in eqxvision; many fused kernels.",
    component="mlp",
    only_when="",
)
@replaces("layers.gelu")
def gelu_tanh(original: Any, x: Any) -> Any:
    return tanh_form(x)


@bug(
    "gelu-quick",
    "GELU is the quick form, x sigmoid(1.702 x).",
    "Off by up to 2e-2.",
    "CLIP's activation.",
    component="mlp",
)
@replaces("layers.gelu")
def gelu_quick(original: Any, x: Any) -> Any:
    return x / (1.0 + np.exp(-1.702 * x))


@bug("relu", "GELU is ReLU.", "Another network.", component="mlp")
@replaces("layers.gelu")
def relu(original: Any, x: Any) -> Any:
    return np.where(x.real > 0, x, 0.0 * x)


@bug("gelu-missing", "There is no activation.", "The MLP is linear.", component="mlp")
@replaces("layers.gelu")
def gelu_missing(original: Any, x: Any) -> Any:
    return x


@bug(
    "mlp-bias-dropped",
    "The MLP's last layer has no bias.",
    "A constant is missing from every branch.",
    component="mlp",
)
def mlp_bias_dropped(o: Any) -> Replacements:
    layers = o.layers
    linear = layers.linear

    def mlp(x: Any, params: Any) -> Any:
        return linear(layers.gelu(linear(x, **params["fc1"])), params["fc2"]["weight"])

    return {"layers.mlp": mlp}


@bug(
    "gelu-twice",
    "The activation is applied after both layers.",
    "Branches can no longer subtract.",
    component="mlp",
)
def gelu_twice(o: Any) -> Replacements:
    original, gelu = o.layers.mlp, o.layers.gelu
    return {"layers.mlp": lambda x, params: gelu(original(x, params))}


@bug(
    "drop-path-not-rescaled",
    "Kept samples are not scaled by 1 / (1 - p).",
    "Branches are stronger in evaluation than in training.",
    component="swin_block",
    only_when="",
)
@replaces("layers.drop_path")
def drop_path_not_rescaled(original: Any, branch: Any, kept: Any) -> Any:
    return original(branch, None if kept is None else np.minimum(kept, 1.0))


@bug(
    "drop-path-per-token",
    "Drop path drops rows of tokens, not whole samples.",
    "This is dropout: it regularises less, and depth is not stochastic.",
    component="swin_block",
    only_when="several images; several rows of tokens",
)
@replaces("layers.drop_path")
def drop_path_per_token(original: Any, branch: Any, kept: Any) -> Any:
    if kept is None:
        return branch
    rows = np.resize(np.asarray(kept), branch.shape[:2])
    return branch * rows.reshape(*rows.shape, *[1] * (branch.ndim - 2))


@bug(
    "drop-path-whole-batch",
    "Drop path drops a branch for the whole batch at once.",
    "Noisier training; the first sample's factor decides for all.",
    component="swin_block",
    only_when="several images",
)
@replaces("layers.drop_path")
def drop_path_whole_batch(original: Any, branch: Any, kept: Any) -> Any:
    return branch if kept is None else branch * float(np.asarray(kept).ravel()[0])


@bug(
    "gelu-half-the-units",
    "The activation is applied to half of the hidden units.",
    "Half of the MLP is linear.",
    "Gated MLPs (GLU) with V1's weights.",
    component="mlp",
)
@replaces("layers.gelu")
def gelu_half_the_units(original: Any, x: Any) -> Any:
    half = x.shape[-1] // 2
    return np.concatenate([x[..., :half], original(x[..., half:])], axis=-1)


@bug(
    "mlp-mixes-tokens",
    "Each hidden unit adds half of the neighbouring token's.",
    "The receptive field grows by a token a block, across windows.",
    "MLPs with a depthwise convolution (LeFF), loaded with V1's weights.",
    component="mlp",
)
@replaces("layers.gelu")
def mlp_mixes_tokens(original: Any, x: Any) -> Any:
    return original(x + 0.5 * np.roll(x, 1, axis=-2)) if x.ndim > 1 else original(x)
