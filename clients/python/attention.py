"""Shifted window attention by the usual roll and mask, for grids of whole windows.

``swin-oracle check -- python attention.py``
"""

from __future__ import annotations

import sys

import numpy as np
from swin_client import Arrays, Declined, Words, serve

TRANSPOSED = sys.argv[1:] == ["transposed"]  # a planted bug: the bias of (dw, dh)


def cut(x: np.ndarray, mh: int, mw: int) -> np.ndarray:
    """(B, H, W, C) -> (B, nW, N, C)."""
    b, h, w, c = x.shape
    return x.reshape(b, h // mh, mh, w // mw, mw, c).swapaxes(2, 3).reshape(b, -1, mh * mw, c)


def attention(words: Words, arrays: Arrays) -> Arrays:
    """Answers ``shifted_window_attention``."""
    if words["cmd"] != "shifted_window_attention":
        raise ValueError(f"unknown command {words['cmd']}")
    x, heads = arrays["x"].astype(np.float64), int(words["num_heads"])
    (mh, mw), (sh, sw) = (map(int, words[name].split(",")) for name in ("window_size", "shift_size"))
    b, h, w, c = x.shape
    if h % mh or w % mw:
        raise Declined("grids of whole windows only")
    windows = cut(np.roll(x, (-sh, -sw), (1, 2)), mh, mw)
    qkv = windows @ arrays["params.qkv.weight"].T + arrays.get("params.qkv.bias", 0)
    q, k, v = qkv.reshape(b, -1, mh * mw, 3, heads, c // heads).transpose(3, 0, 1, 4, 2, 5)
    rows, columns = (axis.ravel() for axis in np.indices((mh, mw)))
    dh, dw = np.subtract.outer(rows, rows), np.subtract.outer(columns, columns)
    index = (dh + mh - 1) * (2 * mw - 1) + dw + mw - 1
    if TRANSPOSED:
        index = (dw + mw - 1) * (2 * mh - 1) + dh + mh - 1
    bias = arrays["params.relative_position_bias_table"][index].transpose(2, 0, 1)
    region = np.add.outer(4 * (np.arange(h) >= h - sh), np.arange(w) >= w - sw) * 1.0
    labels = cut(region[None, :, :, None], mh, mw)[..., 0]
    logits = q @ k.swapaxes(-1, -2) / np.sqrt(c // heads) + bias
    logits = np.where((labels[..., :, None] == labels[..., None, :])[:, :, None], logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    y = (weights / weights.sum(-1, keepdims=True) @ v).swapaxes(2, 3).reshape(windows.shape)
    y = y @ arrays["params.proj.weight"].T + arrays["params.proj.bias"]
    y = y.reshape(b, h // mh, w // mw, mh, mw, c).swapaxes(2, 3).reshape(x.shape)
    return {"result": np.roll(y, (sh, sw), (1, 2))}


serve({"name": "attention", "precision": "float32", "offers": "shifted_window_attention"}, attention)
