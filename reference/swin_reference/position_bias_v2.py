"""The bias table of Swin V2: a small network computes each row from its offset."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_reference.conventions import CANONICAL, Convention
from swin_reference.layers import linear
from swin_reference.sizes import Size, window_pair
from swin_reference.types import Inexact, Params, Real


def log_spaced_offsets(
    window_size: Size, pretrained_window_size: Size | None = None, convention: Convention = CANONICAL
) -> Real[np.ndarray, "offsets 2"]:
    """Returns the offset of every row of a bias table, along height and width, on a logarithmic scale.

    T = sign(t) log2(1 + 8 |t|) / 3, where t is the offset divided by M - 1: by that of the window in which
    the weights were trained, if it is given.  An axis of a window of one token has t = 0.  (Liu et al. 2022,
    equation 4.  Official code: ``relative_coords_table``.)  Under some conventions every operation rounds to
    float32.

    Errors: ``ValueError`` for a window below 1x1, or a pretrained one of a single token along an axis where
    the window has more: it had no other offsets.

    >>> log_spaced_offsets((1, 2))
    array([[ 0.        , -1.05664167],
           [ 0.        ,  0.        ],
           [ 0.        ,  1.05664167]])
    """
    window = window_pair(window_size)
    trained = window if pretrained_window_size is None else window_pair(pretrained_window_size)
    if any(n == 1 < m for m, n in zip(window, trained, strict=True)):
        raise ValueError(
            f"a pretrained window has more than one token along an axis where the window has, got {trained} "
            f"and window {window}: give the window in which the weights were trained"
        )
    real: Any = np.float32 if convention.offsets == "float32" else np.float64
    axes = [
        np.arange(1 - m, m, dtype=real) / real(max(n - 1, 1)) for m, n in zip(window, trained, strict=True)
    ]
    t = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)  # rows as in the table
    logarithms = np.log2(1.0 + 8.0 * np.abs(t), dtype=np.float64).astype(real)  # NumPy's float32 errs by more
    return np.sign(t) * logarithms / real(3.0)


def continuous_position_bias_table(
    params: Params,
    window_size: Size,
    pretrained_window_size: Size | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "offsets heads"]:
    """Computes the bias table of a window: 16 sigmoid(MLP(T)), one row for each offset.

    T is that of `log_spaced_offsets`.  ``params`` is the MLP: layer ``"0"`` with bias, 2 to its width, ReLU,
    layer ``"2"`` without, to one number a head.  Every entry is between 0 and 16.  (Liu et al. 2022, section
    3.3.  Official code: ``cpb_mlp``.)

    Errors: ``ValueError`` for a window below 1x1.

    >>> mlp = {"0": {"weight": np.ones((4, 2)), "bias": np.zeros(4)}, "2": {"weight": np.zeros((1, 4))}}
    >>> continuous_position_bias_table(mlp, (1, 2)).ravel()
    array([8., 8., 8.])
    """
    first, last = params["0"], params["2"]
    offsets = log_spaced_offsets(window_size, pretrained_window_size, convention)
    one = np.ones_like(first["bias"][:1])  # which rounds as the weights do: code keeps T in their precision
    hidden = np.maximum(linear(offsets.astype(one.real.dtype) * one, **first), 0.0)  # ReLU
    return 16.0 / (1.0 + np.exp(-linear(hidden, **last)))
