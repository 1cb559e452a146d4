"""Parameters: their shapes, the values that training starts from, and random values for tests.

Each function ``..._shapes`` returns the shapes of one part's parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod, sqrt
from typing import Any

import numpy as np

from swin_reference.config import SwinConfig
from swin_reference.conventions import Convention, convention_named
from swin_reference.rules import stage_grids, table_windows
from swin_reference.sizes import Size, pair, window_pair

Shapes = Mapping[str, Any]
"""A nested dict like the parameters, with shapes (tuples of int) in place of arrays."""


def linear_shapes(inputs: int, outputs: int, bias: bool = True) -> dict[str, Any]:
    """Returns the shapes of a linear layer.

    >>> linear_shapes(2, 3)
    {'weight': (3, 2), 'bias': (3,)}
    """
    return {"weight": (outputs, inputs)} | ({"bias": (outputs,)} if bias else {})


def norm_shapes(channels: int) -> dict[str, Any]:
    """Returns the shapes of a LayerNorm.

    >>> norm_shapes(4)
    {'weight': (4,), 'bias': (4,)}
    """
    return {"weight": (channels,), "bias": (channels,)}


def window_attention_shapes(
    channels: int, num_heads: int, window_size: Size, qkv_bias: bool = True
) -> dict[str, Any]:
    """Returns the shapes of a window attention: bias table, qkv, projection.

    >>> window_attention_shapes(4, 2, 7)["relative_position_bias_table"]
    (169, 2)
    """
    mh, mw = window_pair(window_size)
    return {
        "relative_position_bias_table": ((2 * mh - 1) * (2 * mw - 1), num_heads),
        "qkv": linear_shapes(channels, 3 * channels, qkv_bias),
        "proj": linear_shapes(channels, channels),
    }


def mlp_shapes(channels: int, hidden: int) -> dict[str, Any]:
    """Returns the shapes of an MLP.

    >>> mlp_shapes(4, 16)["fc2"]
    {'weight': (4, 16), 'bias': (4,)}
    """
    return {"fc1": linear_shapes(channels, hidden), "fc2": linear_shapes(hidden, channels)}


def block_shapes(
    channels: int, num_heads: int, window_size: Size, hidden: int, qkv_bias: bool = True
) -> dict[str, Any]:
    """Returns the shapes of a block: norm1, attn, norm2, mlp.

    >>> list(block_shapes(4, 2, 7, 16))
    ['norm1', 'attn', 'norm2', 'mlp']
    """
    return {
        "norm1": norm_shapes(channels),
        "attn": window_attention_shapes(channels, num_heads, window_size, qkv_bias),
        "norm2": norm_shapes(channels),
        "mlp": mlp_shapes(channels, hidden),
    }


def merging_shapes(channels: int) -> dict[str, Any]:
    """Returns the shapes of a patch merging: reduction 4C to 2C without bias, norm of 4C.

    >>> merging_shapes(4)["reduction"]
    {'weight': (8, 16)}
    """
    return {
        "reduction": linear_shapes(4 * channels, 2 * channels, bias=False),
        "norm": norm_shapes(4 * channels),
    }


def patch_embed_shapes(
    channels: int, patch_size: Size, colours: int = 3, norm: bool = True
) -> dict[str, Any]:
    """Returns the shapes of a patch embedding: the convolution, and the norm if there is one.

    >>> patch_embed_shapes(96, 4)["proj"]["weight"]
    (96, 3, 4, 4)
    """
    ph, pw = pair(patch_size)
    proj = {"weight": (channels, colours, ph, pw), "bias": (channels,)}
    return {"proj": proj} | ({"norm": norm_shapes(channels)} if norm else {})


def stage_shapes(
    channels: int,
    depth: int,
    num_heads: int,
    window_size: Size,
    hidden: int,
    merge: bool,
    qkv_bias: bool = True,
) -> dict[str, Any]:
    """Returns the shapes of a stage: its blocks, and the merge at its end if there is one.

    >>> list(stage_shapes(4, 2, 2, 7, 16, merge=True))
    ['blocks', 'downsample']
    """
    block = block_shapes(channels, num_heads, window_size, hidden, qkv_bias)
    stage: dict[str, Any] = {"blocks": [block for _ in range(depth)]}
    return stage | ({"downsample": merging_shapes(channels)} if merge else {})


def parameter_shapes(config: SwinConfig, convention: Convention | None = None) -> dict[str, Any]:
    """Returns the shapes of a whole network, nested as the official checkpoint names them.

    If the convention shrinks a stage's window, the bias tables of the stage are smaller too, unless
    it reads a full one.  A ``convention`` takes the place of ``config.convention``.

    Errors: `Rejected` if the convention rejects ``config.image_size``.

    >>> from swin_weights import flatten
    >>> from swin_reference.config import swin_t
    >>> sum(prod(shape) for shape in flatten(parameter_shapes(swin_t)).values())
    28288354
    """
    convention = convention_named(config.convention) if convention is None else convention
    shapes: dict[str, Any] = {
        "patch_embed": patch_embed_shapes(
            config.embed_dim, config.patch_size, config.in_channels, config.patch_norm
        )
    }
    if config.absolute_position_embedding:
        shapes["absolute_pos_embed"] = (1, prod(stage_grids(config, convention)[0]), config.embed_dim)
    last, windows = len(config.depths) - 1, table_windows(config, convention)
    shapes["layers"] = [
        stage_shapes(
            channels,
            config.depths[stage],
            config.num_heads[stage],
            windows[stage],
            config.hidden(channels),
            stage < last,
            config.qkv_bias,
        )
        for stage, channels in enumerate(config.channels)
    ]
    shapes["norm"] = norm_shapes(config.channels[-1])
    if config.num_classes:
        shapes["head"] = linear_shapes(config.channels[-1], config.num_classes)
    return shapes


def initial_parameters(config: SwinConfig, seed: int = 0, shapes: Shapes | None = None) -> dict[str, Any]:
    """Draws the parameters that training starts from: weights N(0, 0.02^2), biases 0, norms 1 and 0.

    The convolution of the patch embedding is uniform between -1/sqrt(fan_in) and 1/sqrt(fan_in), as PyTorch
    initialises it.  Weights are truncated at -2 and 2, not at 2 standard deviations.  ``shapes`` are those of
    the network that the configuration makes, unless they are given.  (Official code: ``_init_weights``.)

    Errors: those of `parameter_shapes`.

    >>> from swin_reference.config import swin_t
    >>> round(float(initial_parameters(swin_t)["head"]["weight"].std()), 3)
    0.02
    """

    def value(path: tuple[str, ...], shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        if path[:2] == ("patch_embed", "proj"):
            fan_in = config.in_channels * prod(pair(config.patch_size))
            return rng.uniform(-1.0, 1.0, shape) / sqrt(fan_in)
        if path[-1].endswith("bias"):  # q_bias and v_bias in V2
            return np.zeros(shape)
        if len(shape) == 1:
            return np.ones(shape)
        return np.clip(0.02 * rng.standard_normal(shape), -2.0, 2.0)

    return fill(parameter_shapes(config) if shapes is None else shapes, seed, value)


def hot_parameters(shapes: Shapes, seed: int = 0) -> dict[str, Any]:
    """Draws random parameters that are large enough for faults to show in the output.

    ``shapes`` may be those of a network or of any part of it.  Weights are N(0, 1) / sqrt(fan_in), those of
    q and k 1.5 times that, of the last layer of V2's bias MLP 6 times.  Bias tables and position embeddings
    are N(0, 1), gamma 1 + 0.3 N(0, 1), beta and all biases 0.3 N(0, 1), V2's logit scales uniform between
    2.3 and 5.6.  No value is zero.  Values have 8 significant bits: they are exact in float32, float16 and
    bfloat16.

    >>> hot = hot_parameters(linear_shapes(2, 2), seed=1)
    >>> bool((hot["weight"].astype(np.float16) == hot["weight"]).all())
    True
    """

    def value(path: tuple[str, ...], shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        normal = rng.standard_normal(shape)
        if path[-1].endswith("bias"):
            return eight_bits(0.3 * normal)
        if len(shape) == 1:
            return eight_bits(1.0 + 0.3 * normal)
        if path[-1] in ("relative_position_bias_table", "absolute_pos_embed"):
            return eight_bits(normal)
        if path[-1] == "logit_scale":  # log 10 to log 100 + 1: clamped in some heads
            return eight_bits(2.3 + 3.3 * rng.random(shape))
        normal = normal / sqrt(prod(shape[1:]))
        if "qkv" in path:
            normal[: 2 * shape[0] // 3] *= 1.5
        if path[-3:-1] == ("cpb_mlp", "2"):  # so that the sigmoids differ
            normal *= 6.0
        return eight_bits(normal)

    return fill(shapes, seed, value)


def eight_bits(x: Any) -> Any:
    """Rounds to 8 significant bits and multiples of 2^-24, and 0 to 2^-24: exact in every tested precision.

    >>> eight_bits(np.array([0.1, 0.0])) * 2**24
    array([1.67936e+06, 1.00000e+00])
    """
    exponent = np.frexp(x)[1]
    quantum = np.ldexp(1.0, np.maximum(exponent - 8, -24))
    rounded = np.round(x / quantum) * quantum
    return np.where(rounded == 0, 2.0**-24, rounded)


def fill(
    shapes: Shapes,
    seed: int,
    value: Callable[[tuple[str, ...], tuple[int, ...], np.random.Generator], Any],
) -> dict[str, Any]:
    """Returns a nested dict like ``shapes`` with ``value(path, shape, rng)`` in place of each shape.

    One generator, made from the seed, serves all of them in order.

    >>> fill({"a": [{"b": (2,)}]}, 0, lambda path, shape, rng: (path, shape))
    {'a': [{'b': (('a', '0', 'b'), (2,))}]}
    """
    rng = np.random.default_rng(seed)

    def walk(node: Any, path: tuple[str, ...]) -> Any:
        if isinstance(node, Mapping):
            return {name: walk(child, (*path, name)) for name, child in node.items()}
        if isinstance(node, list):
            return [walk(child, (*path, str(number))) for number, child in enumerate(node)]
        return value(path, node, rng)

    filled: dict[str, Any] = walk(shapes, ())
    return filled
