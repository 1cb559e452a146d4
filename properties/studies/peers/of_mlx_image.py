"""mlx-image's Swin, by MLX on the CPU: ``mlxim.model.swin_transformer.swin_transformer``."""

import mlx.core as mx
import mlxim.model.swin_transformer.swin_transformer as swin
import numpy as np
from swin_properties.adapters.peers.base import ratio, two
from swin_weights import flatten

precision = "float32"
name = "mlx-image"
MLP = {"mlp.fc1": "mlp.layers.0", "mlp.fc2": "mlp.layers.3"}
scope = {"qkv_bias": "always", "own_shift": True, "no_qk_scale": True}


def _load(module, params, **words):
    """Returns the module, in evaluation mode, with these weights."""
    flat = flatten(params)
    for official, own in words.items():
        flat = {key.replace(official, own): x for key, x in flat.items()}
    module.load_weights([(key, mx.array(np.array(x, np.float32))) for key, x in flat.items()], strict=False)
    return module.eval()


def _run(module, x):
    return np.array(module(mx.array(np.array(x, np.float32))))


def _attention(channels, heads, window_size, shift_size):
    return swin.ShiftedWindowAttention(channels, list(two(window_size)), list(two(shift_size)), heads)


def relative_position_index(window_size):
    """(N, N), integers."""
    tokens = two(window_size)[0] * two(window_size)[1]
    return np.array(_attention(1, 1, window_size, 0).relative_position_index).reshape(tokens, tokens)


def relative_position_bias(table, window_size):
    """((2 Mh - 1)(2 Mw - 1), heads) -> (heads, N, N)."""
    attention = _attention(table.shape[1], table.shape[1], window_size, 0)
    attention.relative_position_bias_table = mx.array(np.array(table, np.float32))
    return np.array(attention.get_relative_position_bias())[0]


def shifted_window_attention(x, params, num_heads, window_size, shift_size):
    """(B, H, W, C) -> same."""
    return _run(_load(_attention(x.shape[-1], num_heads, window_size, shift_size), params), x)


def patch_merging(x, params):
    """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
    return _run(_load(swin.PatchMerging(x.shape[-1]), params), x)


def swin_block(x, params, num_heads, window_size, shift_size):
    """(B, H, W, C) -> same."""
    sizes = x.shape[-1], num_heads, list(two(window_size)), list(two(shift_size)), ratio(params["mlp"])
    return _run(_load(swin.SwinTransformerBlock(*sizes), params, **MLP), x)
