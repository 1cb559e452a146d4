"""The parameters of Swin V2: their shapes, nested as the official checkpoint names them."""

from __future__ import annotations

from math import log
from typing import Any

from swin_reference.config_v2 import SwinConfig, SwinV2Config
from swin_reference.conventions import Convention
from swin_reference.parameters import (
    initial_parameters,
    linear_shapes,
    mlp_shapes,
    norm_shapes,
    parameter_shapes,
)

BIAS_MLP_WIDTH = 512
"""The width of the MLP that computes the position bias."""


def position_bias_shapes(num_heads: int, width: int = BIAS_MLP_WIDTH) -> dict[str, Any]:
    """Returns the shapes of the MLP of the position bias.

    >>> position_bias_shapes(3, 8)
    {'0': {'weight': (8, 2), 'bias': (8,)}, '2': {'weight': (3, 8)}}
    """
    return {"0": linear_shapes(2, width), "2": linear_shapes(width, num_heads, bias=False)}


def cosine_window_attention_shapes(channels: int, num_heads: int, qkv_bias: bool = True) -> dict[str, Any]:
    """Returns the shapes of a cosine window attention: they do not depend on the window.

    >>> list(cosine_window_attention_shapes(4, 2))
    ['logit_scale', 'cpb_mlp', 'qkv', 'q_bias', 'v_bias', 'proj']
    """
    return {
        "logit_scale": (num_heads, 1, 1),
        "cpb_mlp": position_bias_shapes(num_heads),
        "qkv": linear_shapes(channels, 3 * channels, bias=False),
        **({"q_bias": (channels,), "v_bias": (channels,)} if qkv_bias else {}),
        "proj": linear_shapes(channels, channels),
    }


def block_v2_shapes(channels: int, num_heads: int, hidden: int, qkv_bias: bool = True) -> dict[str, Any]:
    """Returns the shapes of a block: attn, norm1, mlp, norm2.

    >>> list(block_v2_shapes(4, 2, 16))
    ['attn', 'norm1', 'mlp', 'norm2']
    """
    return {
        "attn": cosine_window_attention_shapes(channels, num_heads, qkv_bias),
        "norm1": norm_shapes(channels),
        "mlp": mlp_shapes(channels, hidden),
        "norm2": norm_shapes(channels),
    }


def merging_v2_shapes(channels: int) -> dict[str, Any]:
    """Returns the shapes of a patch merging: reduction 4C to 2C without bias, norm of 2C.

    >>> merging_v2_shapes(4)["norm"]
    {'weight': (8,), 'bias': (8,)}
    """
    return {
        "reduction": linear_shapes(4 * channels, 2 * channels, bias=False),
        "norm": norm_shapes(2 * channels),
    }


def stage_v2_shapes(
    channels: int, depth: int, num_heads: int, hidden: int, merge: bool, qkv_bias: bool = True
) -> dict[str, Any]:
    """Returns the shapes of a stage: its blocks, and the merge at its end if there is one.

    >>> list(stage_v2_shapes(4, 2, 2, 16, merge=True))
    ['blocks', 'downsample']
    """
    block = block_v2_shapes(channels, num_heads, hidden, qkv_bias)
    stage: dict[str, Any] = {"blocks": [block for _ in range(depth)]}
    return stage | ({"downsample": merging_v2_shapes(channels)} if merge else {})


def parameter_v2_shapes(config: SwinV2Config, convention: Convention | None = None) -> dict[str, Any]:
    """Returns the shapes of a whole network, nested as the official checkpoint names them.

    Errors: those of `parameter_shapes`.

    >>> from math import prod
    >>> from swin_weights import flatten
    >>> from swin_reference.config_v2 import swin_v2_t
    >>> sum(prod(shape) for shape in flatten(parameter_v2_shapes(swin_v2_t)).values())
    28347154
    """
    stages = [
        stage_v2_shapes(
            channels,
            config.depths[stage],
            config.num_heads[stage],
            config.hidden(channels),
            stage < len(config.depths) - 1,
            config.qkv_bias,
        )
        for stage, channels in enumerate(config.channels)
    ]
    return parameter_shapes(config, convention) | {"layers": stages}


def network_shapes(config: SwinConfig, convention: Convention | None = None) -> dict[str, Any]:
    """Returns the shapes of a whole network of either version: that of its configuration.

    Errors: those of `parameter_shapes`.

    >>> from swin_reference.config_v2 import swin_v2_t
    >>> "logit_scale" in network_shapes(swin_v2_t)["layers"][0]["blocks"][0]["attn"]
    True
    """
    if isinstance(config, SwinV2Config):
        return parameter_v2_shapes(config, convention)
    return parameter_shapes(config, convention)


def initial_parameters_v2(config: SwinV2Config, seed: int = 0) -> dict[str, Any]:
    """Draws the parameters that training starts from: as in V1, but each block begins as the identity.

    The norms of the blocks are 0, the logit scales log 10.  (Official code: ``_init_respostnorm``.)

    Errors: those of `parameter_v2_shapes`.

    >>> from swin_reference.config_v2 import swin_v2_t
    >>> initial_parameters_v2(swin_v2_t)["layers"][0]["blocks"][0]["attn"]["logit_scale"].ravel().round(3)
    array([2.303, 2.303, 2.303])
    """
    params = initial_parameters(config, seed, parameter_v2_shapes(config))
    for block in (block for stage in params["layers"] for block in stage["blocks"]):
        block["norm1"]["weight"][:] = block["norm2"]["weight"][:] = 0.0
        block["attn"]["logit_scale"][:] = log(10.0)
    return params
