"""eqxvision's Swin, which needs a JAX of 2023 and is judged as a program by the Python client.

Its classes are asked one image after the other.
"""

import equinox as eqx
import eqxvision.models.classification.swin as swin
import jax
import jax.numpy as jnp
import numpy as np
from swin_client import Declined, serve

KEY = jax.random.PRNGKey(0)


def pair(text):
    """Reads a size."""
    return [int(side) for side in text.split(",")]


def make_attention(channels, heads, window, shift, arrays, prefix="params."):
    """Returns the attention with the weights of a request."""
    attention = swin._ShiftedWindowAttention(channels, window, shift, heads, key=KEY)
    names = ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias", "relative_position_bias_table")
    if f"{prefix}qkv.bias" not in arrays:
        raise Declined("attention with a qkv bias only")

    def places(one):
        return [
            one.qkv.weight,
            one.qkv.bias,
            one.proj.weight,
            one.proj.bias,
            one.relative_position_bias_table,
        ]

    return eqx.tree_at(places, attention, [jnp.asarray(arrays[prefix + name]) for name in names])


def find_index(words, _):
    """(N, N), integers."""
    window = pair(words["window_size"])
    attention = swin._ShiftedWindowAttention(1, window, [0, 0], 1, key=KEY)
    tokens = window[0] * window[1]
    return np.asarray(attention.relative_position_index).reshape(tokens, tokens)


def attend(words, arrays):
    """(B, H, W, C) -> same, one image after the other."""
    x, heads = arrays["x"], int(words["num_heads"])
    window, shift = pair(words["window_size"]), pair(words["shift_size"])
    if x.shape[1] % window[0] or x.shape[2] % window[1]:
        raise Declined("grids of whole windows only")
    attention = make_attention(x.shape[-1], heads, window, shift, arrays)
    images = [attention(jnp.asarray(image).transpose(2, 0, 1), key=KEY) for image in x]
    return np.stack([np.asarray(image).transpose(1, 2, 0) for image in images])


def merge(_, arrays):
    """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
    x = arrays["x"]
    merging = swin._PatchMerging(x.shape[-1], key=KEY)
    names = ("norm.weight", "norm.bias", "reduction.weight")

    def places(one):
        return [one.norm.weight, one.norm.bias, one.reduction.weight]

    merging = eqx.tree_at(places, merging, [jnp.asarray(arrays[f"params.{name}"]) for name in names])
    images = [merging(jnp.asarray(image).transpose(2, 0, 1), key=KEY) for image in x]
    return np.stack([np.asarray(image).transpose(1, 2, 0) for image in images])


CALLABLES = {
    "relative_position_index": find_index,
    "shifted_window_attention": attend,
    "patch_merging": merge,
}


def answer(words, arrays):
    """Answers a request."""
    return {"result": CALLABLES[words["cmd"]](words, arrays)}


ABOUT = {
    "name": "eqxvision",
    "precision": "float32",
    "offers": " ".join(CALLABLES),
    "scope": "whole_windows own_shift no_qk_scale qkv_bias=always",
}

if __name__ == "__main__":
    serve(ABOUT, answer)
