"""Planted bugs of LayerNorm, GELU, MLP and drop path."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

import numpy as np

from swin_properties.bugs.gallery import NOT_SEEN, Replacements, bug


def normed(statistics: Callable[[Any, Any, float], Any]) -> Callable[..., Any]:
    """A LayerNorm from ``statistics(x, mean, eps)``, the normed tokens before gamma and beta."""

    def layer_norm(x: Any, params: Any, eps: float = 1e-5) -> Any:
        mean = x.sum(axis=-1, keepdims=True) / x.shape[-1]
        return statistics(x, mean, eps) * params["weight"] + params["bias"]

    return layer_norm


def variance(centred: Any, degrees: int = 0) -> Any:
    """The mean square, over C - degrees."""
    return (centred * centred).sum(axis=-1, keepdims=True) / max(centred.shape[-1] - degrees, 1)


NORMS: dict[str, tuple[str, str, str, Callable[[Any, Any, float], Any]]] = {
    "norm-unbiased": (
        "LayerNorm divides by the unbiased standard deviation, C - 1.",
        "Off by 1 / (2 C): half a percent at 96 channels.",
        "The Annotated Transformer's LayerNorm.",
        lambda x, mean, eps: (x - mean) / np.sqrt(variance(x - mean, 1) + eps),
    ),
    "norm-eps-1e-6": (
        "LayerNorm's eps is 1e-6, not 1e-5.",
        "Only flat tokens differ: backgrounds, padding.",
        "Ports that take ViT's eps, which is 1e-6 in timm.",
        lambda x, mean, eps: (x - mean) / np.sqrt(variance(x - mean) + (1e-6 if eps == 1e-5 else eps)),
    ),
    "norm-eps-1e-3": (
        "LayerNorm's eps is 1e-3, not 1e-5.",
        "Flat tokens are dimmed.",
        "Keras' default.",
        lambda x, mean, eps: (x - mean) / np.sqrt(variance(x - mean) + (1e-3 if eps == 1e-5 else eps)),
    ),
    "norm-eps-fixed": (
        "LayerNorm ignores the eps it is given.",
        "Models with another eps are wrong.",
        NOT_SEEN,
        lambda x, mean, eps: (x - mean) / np.sqrt(variance(x - mean) + 1e-5),
    ),
    "norm-eps-outside": (
        "LayerNorm adds eps to the standard deviation, outside the root.",
        "Flat tokens are amplified.",
        "The Annotated Transformer's LayerNorm.",
        lambda x, mean, eps: (x - mean) / (np.sqrt(variance(x - mean) + 1e-30) + eps),
    ),
    "norm-not-centred": (
        "LayerNorm does not subtract the mean: it is RMSNorm.",
        "Tokens with a mean are normed by it.",
        NOT_SEEN,
        lambda x, mean, eps: x / np.sqrt(variance(x) + eps),
    ),
    "norm-mean-kept": (
        "LayerNorm subtracts the mean for the variance only.",
        "The mean passes through every norm.",
        NOT_SEEN,
        lambda x, mean, eps: x / np.sqrt(variance(x - mean) + eps),
    ),
    "norm-all-tokens": (
        "LayerNorm takes its statistics over all tokens of an image.",
        "Tokens see each other through the norm: receptive fields are global, crops differ.",
        "GroupNorm with one group on (B, C, H, W).",
        lambda x, mean, eps: (x - whole(x)) / np.sqrt(whole((x - whole(x)) * (x - whole(x))) + eps),
    ),
}


def whole(x: Any) -> Any:
    """The mean over all but the first axis."""
    axes = tuple(range(1, x.ndim))
    return x.sum(axis=axes, keepdims=True) / np.prod(x.shape[1:])


for _name, (_wrong, _effect, _seen, _statistics) in NORMS.items():
    bug(_name, _wrong, _effect, _seen)(
        lambda o, statistics=_statistics: {"layers.layer_norm": normed(statistics)}  # type: ignore[misc]
    )


@bug("norm-gamma-dropped", "LayerNorm does not multiply by gamma.", "Trained scales are lost.")
def norm_gamma_dropped(o: Any) -> Replacements:
    original = o.layers.layer_norm

    def layer_norm(x: Any, params: Any, eps: float = 1e-5) -> Any:
        return original(x, {"weight": np.ones_like(params["bias"]), "bias": params["bias"]}, eps)

    return {"layers.layer_norm": layer_norm}


@bug("norm-beta-dropped", "LayerNorm does not add beta.", "Trained offsets are lost.")
def norm_beta_dropped(o: Any) -> Replacements:
    original = o.layers.layer_norm

    def layer_norm(x: Any, params: Any, eps: float = 1e-5) -> Any:
        return original(x, {"weight": params["weight"], "bias": np.zeros_like(params["weight"])}, eps)

    return {"layers.layer_norm": layer_norm}


GELUS: dict[str, tuple[str, str, str, Callable[[Any], Any]]] = {
    "gelu-tanh": (
        "GELU is the tanh form, not the exact one.",
        "Off by at most 4.7e-4, at |x| about 2.7: no accuracy is lost, no half precision shows it.",
        "JAX's default (approximate=True) and many fused kernels.",
        lambda x: 0.5 * x * (1.0 + np.tanh(sqrt(2.0 / pi) * (x + 0.044715 * x * x * x))),
    ),
    "gelu-quick": (
        "GELU is the quick form, x sigmoid(1.702 x).",
        "Off by up to 2e-2.",
        "CLIP's activation.",
        lambda x: x / (1.0 + np.exp(-1.702 * x)),
    ),
    "relu": ("GELU is ReLU.", "Another network.", NOT_SEEN, lambda x: np.where(x.real > 0, x, 0.0 * x)),
    "gelu-missing": ("There is no activation.", "The MLP is linear.", NOT_SEEN, lambda x: x),
}
for _name, (_wrong, _effect, _seen, _form) in GELUS.items():
    bug(_name, _wrong, _effect, _seen)(
        lambda o, form=_form: {"layers.gelu": form}  # type: ignore[misc]
    )


@bug("mlp-bias-dropped", "The MLP's last layer has no bias.", "A constant is missing from every branch.")
def mlp_bias_dropped(o: Any) -> Replacements:
    e = o.layers
    linear = e.linear

    def mlp(x: Any, params: Any) -> Any:
        return linear(e.gelu(linear(x, **params["fc1"])), params["fc2"]["weight"])

    return {"layers.mlp": mlp}


@bug("gelu-twice", "The activation is applied after both layers.", "Branches can no longer subtract.")
def gelu_twice(o: Any) -> Replacements:
    original, gelu = o.layers.mlp, o.layers.gelu
    return {"layers.mlp": lambda x, params: gelu(original(x, params))}


@bug(
    "drop-path-not-rescaled",
    "Kept samples are not scaled by 1 / (1 - p).",
    "Branches are stronger in evaluation than in training.",
)
def drop_path_not_rescaled(o: Any) -> Replacements:
    original = o.layers.drop_path

    def drop_path(branch: Any, kept: Any) -> Any:
        return original(branch, None if kept is None else np.minimum(kept, 1.0))

    return {"layers.drop_path": drop_path}


@bug(
    "drop-path-per-token",
    "Drop path drops rows of tokens, not whole samples.",
    "Dropout by another name: regularises less, and depth is not stochastic.",
)
def drop_path_per_token(o: Any) -> Replacements:
    def drop_path(branch: Any, kept: Any) -> Any:
        if kept is None:
            return branch
        rows = np.resize(np.asarray(kept), branch.shape[:2])
        return branch * rows.reshape(*rows.shape, *[1] * (branch.ndim - 2))

    return {"layers.drop_path": drop_path}


@bug(
    "drop-path-whole-batch",
    "Drop path drops a branch for the whole batch at once.",
    "Noisier training; the first sample's factor decides for all.",
)
def drop_path_whole_batch(o: Any) -> Replacements:
    def drop_path(branch: Any, kept: Any) -> Any:
        return branch if kept is None else branch * float(np.asarray(kept).ravel()[0])

    return {"layers.drop_path": drop_path}


@bug(
    "gelu-half-the-units",
    "The activation is applied to half of the hidden units.",
    "Half of the MLP is linear.",
    "Gated MLPs (GLU) with V1's weights.",
)
def gelu_half_the_units(o: Any) -> Replacements:
    original = o.layers.gelu

    def gelu(x: Any) -> Any:
        half = x.shape[-1] // 2
        return np.concatenate([x[..., :half], original(x[..., half:])], axis=-1)

    return {"layers.gelu": gelu}


@bug(
    "mlp-mixes-tokens",
    "Hidden units take in the neighbouring token's.",
    "The receptive field grows by a token a block, across windows.",
    "MLPs with a depthwise convolution (LeFF), loaded with V1's weights.",
)
def mlp_mixes_tokens(o: Any) -> Replacements:
    original = o.layers.gelu

    def gelu(x: Any) -> Any:
        return original(x + 0.5 * np.roll(x, 1, axis=-2)) if x.ndim > 1 else original(x)

    return {"layers.gelu": gelu}
