"""Answers golden vectors with a Swin in NumPy: reads every file of a set, writes a reply of the same name.

swin-oracle vectors write set
python examples/answer_vectors.py set replies
swin-oracle vectors judge set replies

It computes in float32.  For float16 and bfloat16 it rounds what each layer stores, as code in half precision
does that adds in float32.  It has neither gradients nor Swin V2, and declines those vectors.
"""

import sys
from math import erfc, sqrt
from pathlib import Path

import numpy as np
from swin_timing.message import decode, encode

EXACT_ERFC = np.vectorize(erfc, otypes=[np.float32])
stored = "float32"
"""The precision of what a layer stores."""


def store(y):
    """Rounds numbers to the precision in which they are stored; they stay in float32 arrays."""
    y = np.asarray(y, np.float32)
    if stored == "float16":
        return y.astype(np.float16).astype(np.float32)
    if stored == "bfloat16":  # half a unit, to even, is added to the bits that stay
        bits = y.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    return y


def window_partition(x, window_size):
    """Cuts grids into windows, row by row."""
    (mh, mw), (_, height, width, channels) = window_size, x.shape
    windows = [x[:, i : i + mh, j : j + mw] for i in range(0, height, mh) for j in range(0, width, mw)]
    return np.stack(windows, axis=1).reshape(-1, mh, mw, channels)


def window_reverse(windows, window_size, height, width):
    """Puts windows back in their places."""
    mh, mw = window_size
    across = width // mw
    y = np.empty((len(windows) * mh * mw // (height * width), height, width, windows.shape[-1]), np.float32)
    many = height // mh * across
    for i in range(many):
        row, column = i // across * mh, i % across * mw
        y[:, row : row + mh, column : column + mw] = windows[i::many]
    return y


def cyclic_shift(x, shift_size):
    """Rolls grids up and to the left."""
    rows, columns = (np.arange(n) + s for n, s in zip(x.shape[1:3], shift_size, strict=True))
    return x.take(rows, axis=1, mode="wrap").take(columns, axis=2, mode="wrap")


def reverse_cyclic_shift(x, shift_size):
    """Rolls grids down and to the right."""
    return cyclic_shift(x, [-s for s in shift_size])


def relative_position_index(window_size):
    """Returns the row of the bias table for each pair of tokens."""
    mh, mw = window_size
    tokens = [(h, w) for h in range(mh) for w in range(mw)]
    return np.array(
        [[(a - c + mh - 1) * (2 * mw - 1) + b - d + mw - 1 for c, d in tokens] for a, b in tokens]
    )


def relative_position_bias(table, window_size):
    """Returns the bias of each pair of tokens, (heads, N, N)."""
    return np.moveaxis(table[relative_position_index(window_size)], -1, 0)


def resize_relative_position_bias(table, window_size, new_window_size):
    """Resizes a bias table to another window."""
    old, new = ([2 * m - 1 for m in size] for size in (window_size, new_window_size))
    image = table.reshape(*old, -1)
    for axis in (0, 1):
        image = np.moveaxis(np.tensordot(_weigh_cubic(old[axis], new[axis]), image, (1, axis)), 0, axis)
    return store(image).reshape(-1, table.shape[1])


def _weigh_cubic(old, new):
    """Returns the weights (new, old) of Keys's cubic, a = -3/4, corners not aligned, edges repeated."""
    a, weights = -0.75, np.zeros((new, old), np.float32)
    for i in range(new):
        at = (i + 0.5) * old / new - 0.5
        t = at - np.floor(at)
        for step, d in enumerate((1 + t, t, 1 - t, 2 - t), start=-1):
            far = a * (d**3 - 5 * d**2 + 8 * d - 4)
            weight = (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else far
            weights[i, min(max(int(np.floor(at)) + step, 0), old - 1)] += np.float32(weight)
    return weights


def linear(x, weight, bias=None):
    """Applies a linear layer."""
    y = np.einsum("...i,oi->...o", x, weight, optimize=True)
    return store(y if bias is None else y + bias)


def layer_norm(x, params, eps=1e-5):
    """Normalises each token."""
    x = np.asarray(x, np.float32)
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + np.float32(eps))
    return store(centred / deviation * params["weight"] + params["bias"])


def mlp(x, params):
    """Applies two linear layers with GELU between them."""
    hidden = linear(x, **params["fc1"])
    hidden = store(hidden * EXACT_ERFC(-hidden / np.float32(sqrt(2.0))) * np.float32(0.5))
    return linear(hidden, **params["fc2"])


def window_attention(x, params, num_heads, window_size, mask=None, qk_scale=None):
    """Attends inside each window, head by head."""
    heads = []
    channels = x.shape[-1]
    size = channels // num_heads
    qkv = linear(x, **params["qkv"])
    bias = relative_position_bias(params["relative_position_bias_table"], window_size)
    scale = np.float32(size**-0.5 if qk_scale is None else qk_scale)
    for head in range(num_heads):
        q, k, v = (qkv[..., part * channels + head * size :][..., :size] for part in range(3))
        logits = store(np.einsum("nid,njd->nij", store(q * scale), k) + bias[head])
        if mask is not None:
            logits = store(logits + np.tile(mask, (len(x) // len(mask), 1, 1)))
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        weights = store(weights / weights.sum(axis=-1, keepdims=True))
        heads.append(store(np.einsum("nij,njd->nid", weights, v)))
    return linear(np.concatenate(heads, axis=-1), **params["proj"])


def shifted_window_attention(x, params, num_heads, window_size, shift_size, qk_scale=None):
    """Gathers the tokens of each window; those that came round the edge are of another region."""
    batch, height, width, channels = x.shape
    padded = np.pad(x, [(0, 0), (0, -height % window_size[0]), (0, -width % window_size[1]), (0, 0)])
    places, regions = [], []
    for length, m, shift in zip(padded.shape[1:3], window_size, shift_size, strict=True):
        places.append(((np.arange(length) + shift) % length).reshape(-1, m))
        regions.append((np.arange(length) + shift >= length).reshape(-1, m))
    rows, columns = places[0][:, None, :, None], places[1][None, :, None, :]
    region = (2 * regions[0][:, None, :, None] + regions[1][None, :, None, :]).reshape(
        -1, np.prod(window_size)
    )
    mask = np.where(region[:, :, None] != region[:, None, :], np.float32(-np.inf), np.float32(0))
    windows = padded[:, rows, columns].reshape(-1, np.prod(window_size), channels)
    y = window_attention(windows, params, num_heads, window_size, mask, qk_scale)
    padded[:, rows, columns] = y.reshape(batch, len(places[0]), len(places[1]), *window_size, channels)
    return padded[:, :height, :width]


def patch_embed(images, params, patch_size):
    """Makes a token of each patch."""
    ph, pw = patch_size
    images = np.pad(images, [(0, 0), (0, 0), (0, -images.shape[2] % ph), (0, -images.shape[3] % pw)])
    patches = np.lib.stride_tricks.sliding_window_view(images, (ph, pw), axis=(2, 3))[:, :, ::ph, ::pw]
    tokens = np.einsum("bchwij,ocij->bhwo", patches, params["proj"]["weight"], optimize=True)
    tokens = store(tokens + params["proj"]["bias"])
    return layer_norm(tokens, params["norm"]) if "norm" in params else tokens


def patch_merging(x, params):
    """Makes one token of each 2 x 2 tokens."""
    x = np.pad(x, [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)])
    four = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
    return linear(layer_norm(np.concatenate(four, axis=-1), params["norm"]), **params["reduction"])


def swin_block(x, params, num_heads, window_size, shift_size, kept=None, qk_scale=None):
    """Adds attention, then the MLP, each behind its LayerNorm."""
    factors = [np.float32(1)] * 2 if kept is None else [one.reshape(-1, 1, 1, 1) for one in kept]
    attention = params["attn"], num_heads, window_size, shift_size, qk_scale
    x = store(x + store(factors[0] * shifted_window_attention(layer_norm(x, params["norm1"]), *attention)))
    return store(x + store(factors[1] * mlp(layer_norm(x, params["norm2"]), params["mlp"])))


def drop_path_rates(rate, depths):
    """Returns drop path's rate of every block."""
    last = max(sum(depths) - 1, 1)
    numbers = iter(range(sum(depths)))
    return [np.array([rate * next(numbers) / last for _ in range(depth)], np.float32) for depth in depths]


def _apply_blocks(x, blocks, num_heads, window_size, kept, qk_scale):
    fits = all(length > m for length, m in zip(x.shape[1:3], window_size, strict=True))
    for number, block in enumerate(blocks):
        shift = [m // 2 if fits and number % 2 else 0 for m in window_size]
        x = swin_block(x, block, num_heads, window_size, shift, kept and kept[number], qk_scale)
    return x


def swin_stage(x, params, depth, num_heads, window_size, kept=None, qk_scale=None):
    """Applies the blocks of a stage, then its merge."""
    x = _apply_blocks(x, params["blocks"][:depth], num_heads, window_size, kept, qk_scale)
    return patch_merging(x, params["downsample"]) if "downsample" in params else x


def swin_features(images, params, config, kept=None):
    """Returns the map of every stage."""
    x = patch_embed(images, params["patch_embed"], config["patch_size"])
    if config["absolute_position_embedding"]:
        x = store(x + params["absolute_pos_embed"].reshape(1, *x.shape[1:]))
    maps = []
    for number, (stage, heads) in enumerate(
        zip(params["layers"], np.atleast_1d(config["num_heads"]), strict=True)
    ):
        x = _apply_blocks(
            x, stage["blocks"], heads, config["window_size"], kept and kept[number], config.get("qk_scale")
        )
        maps.append(x)
        x = patch_merging(x, stage["downsample"]) if "downsample" in stage else x
    return maps


def swin_transformer(images, params, config, kept=None):
    """Returns the logits of images."""
    last = layer_norm(swin_features(images, params, config, kept)[-1], params["norm"])
    pooled = store(last.mean(axis=(1, 2)))
    return linear(pooled, **params["head"]) if config["num_classes"] else pooled


OF_THE_FILE = "cmd", "id", "precision", "law", "case", "hunts"
"""The words of a vector that are no arguments."""


def read_word(name, word):
    """Returns the argument that a word says: a number, or several."""
    if name == "convention":
        return word
    numbers = [float(part) if {*part} & set(".en") else int(part) for part in word.split(",")]
    return numbers if len(numbers) > 1 or name == "depths" else numbers[0]


def read_arguments(message):
    """Returns the arguments of a call by name: parameters nested, those of blocks and stages in lists."""
    given = {}
    for name, word in message.words.items():
        head, dot, field = name.partition(".")
        if dot:
            given.setdefault(head, {})[field] = read_word(field, word)
        elif name not in OF_THE_FILE:
            given[name] = read_word(name, word)
    for name, array in message.arrays.items():
        path, inside = name.split("."), given
        if path[0] not in ("expected", "beta"):
            for step in path[:-1]:
                inside = inside.setdefault(step, {})
            inside[path[-1]] = array
    return {name: make_lists(value) for name, value in given.items()}


def make_lists(value):
    """Returns nested dicts with lists in place of those whose keys are 0, 1, ..."""
    if not isinstance(value, dict):
        return value
    made = {key: make_lists(child) for key, child in value.items()}
    return [made[str(i)] for i in range(len(made))] if made and all(key.isdigit() for key in made) else made


def answer(message):
    """Returns the words and arrays of the reply to a vector."""
    global stored
    stored = message.words["precision"]
    function = globals().get(message.words["cmd"])
    if function is None:
        return {"declined": f"{message.words['cmd']} is not offered"}, {}
    result = function(**read_arguments(message))
    if isinstance(result, list):
        return {"ok": "1"}, {f"result.{i}": store(one) for i, one in enumerate(result)}
    return {"ok": "1"}, {"result": result if result.dtype.kind == "i" else store(result)}


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.mkdir(exist_ok=True)
    for path in sorted(source.glob("*.safetensors")):
        words, arrays = answer(decode(path.read_bytes()))
        (target / path.name).write_bytes(b"".join(map(bytes, encode(words, arrays))))
