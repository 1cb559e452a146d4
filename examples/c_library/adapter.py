"""The adapter of the C library in swin.c, through ctypes.

gcc -O2 -shared -fPIC -o examples/c_library/libswin.so examples/c_library/swin.c -lm
swin-oracle check examples/c_library/adapter.py
"""

import os
from ctypes import CDLL, POINTER, Structure, byref, c_float, c_int
from math import prod
from pathlib import Path

import numpy as np

precision = "float32"

LIBRARY = Path(os.environ.get("SWIN_LIBRARY", Path(__file__).with_name("libswin.so"))).resolve()
if not LIBRARY.exists():
    raise FileNotFoundError("libswin.so is not built: gcc -O2 -shared -fPIC -o libswin.so swin.c -lm")

swin = CDLL(str(LIBRARY))
Floats = POINTER(c_float)


class Weights(Structure):
    """The C struct of the same name."""

    _fields_ = [
        (name, Floats) for name in ("qkv_weight", "qkv_bias", "proj_weight", "proj_bias", "bias_table")
    ]


swin.layer_norm.argtypes = [Floats, Floats, Floats, Floats, c_int, c_int, c_float]


def find_pointer(array):
    """Returns a pointer to the numbers of a contiguous float32 array; NULL for None."""
    return None if array is None else array.ctypes.data_as(Floats)


def make_contiguous(array):
    """Returns the array as C reads it: contiguous float32."""
    return np.ascontiguousarray(array, dtype=np.float32)


def make_pair(size):
    """Returns a size as (height, width)."""
    return size if isinstance(size, tuple) else (size, size)


def window_partition(x, window_size):
    """(B, H, W, C) -> (B nH nW, Mh, Mw, C)."""
    x, window = make_contiguous(x), make_pair(window_size)
    windows = np.empty((prod(x.shape[:3]) // prod(window), *window, x.shape[3]), np.float32)
    swin.window_partition(find_pointer(x), find_pointer(windows), *x.shape, *window)
    return windows


def window_reverse(windows, window_size, height, width):
    """(B nH nW, Mh, Mw, C) -> (B, H, W, C)."""
    windows = make_contiguous(windows)
    x = np.empty((prod(windows.shape[:3]) // (height * width), height, width, windows.shape[3]), np.float32)
    swin.window_reverse(find_pointer(windows), find_pointer(x), *x.shape, *make_pair(window_size))
    return x


def layer_norm(x, params, eps=1e-5):
    """(..., C) -> same."""
    x, weight, bias = make_contiguous(x), make_contiguous(params["weight"]), make_contiguous(params["bias"])
    y, channels = np.empty_like(x), x.shape[-1]
    swin.layer_norm(*map(find_pointer, (x, weight, bias, y)), x.size // channels, channels, eps)
    return y


def shifted_window_attention(x, params, num_heads, window_size, shift_size):
    """(B, H, W, C) -> same."""
    x, qkv, proj = make_contiguous(x), params["qkv"], params["proj"]
    arrays = qkv["weight"], qkv.get("bias"), proj["weight"], proj["bias"]
    arrays = [
        None if array is None else make_contiguous(array)
        for array in (*arrays, params["relative_position_bias_table"])
    ]
    y, weights = np.empty_like(x), Weights(*map(find_pointer, arrays))
    sizes = *x.shape, num_heads, *make_pair(window_size), *make_pair(shift_size)
    if swin.shifted_window_attention(find_pointer(x), byref(weights), find_pointer(y), *sizes):
        raise MemoryError("the C library found no memory for a window")
    return y
