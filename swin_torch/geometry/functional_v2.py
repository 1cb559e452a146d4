"""Functions on tensors that Swin V2 has beside those of Swin: the computed bias table, cosines of q and k."""

from __future__ import annotations

from math import log
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from swin_torch.geometry.exported import is_in_a_graph
from swin_torch.geometry.sizes import Size, check_window

LARGEST_LOGIT_SCALE = log(100.0)
"""The logit scale is clamped to this: a cosine is multiplied by at most 100."""

LARGEST_IN_FLOAT32 = torch.tensor(LARGEST_LOGIT_SCALE, dtype=torch.float32).item()

SMALLEST_LENGTH = 1e-12
"""A shorter query or key is divided by this, in place of its length."""


def log_spaced_offsets(
    window_size: Size,
    pretrained_window_size: Size | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    offsets: str = "exact",
) -> Tensor:
    """Returns the offset of every row of a bias table along height and width, on a logarithmic scale.

    sign(t) log2(1 + 8 |t|) / 3, where t is the offset divided by M - 1, M the side of the window in which the
    weights were trained.  Where the window has one token, t is 0.  It is computed in float64, then rounded to
    ``dtype``; where a convention's ``offsets`` are "float32", every operation rounds to float32.

    Shapes: ((2 Mh - 1)(2 Mw - 1), 2).

    Errors: ``ValueError`` where the pretrained window has one token along an axis and the window has more.

    >>> log_spaced_offsets((1, 2))[:, 1]
    tensor([-1.0566,  0.0000,  1.0566], dtype=torch.float64)
    """
    window = check_window(window_size)
    trained = window if pretrained_window_size is None else check_window(pretrained_window_size)
    if any(n == 1 and m > 1 for m, n in zip(window, trained, strict=True)):
        raise ValueError(
            f"pretrained_window_size is more than 1 along an axis where the window is, got {trained} "
            f"and window {window}: give the window of the training"
        )
    real = torch.float32 if offsets == "float32" else torch.float64
    axes = [
        torch.arange(1 - m, m, dtype=real, device=device) / max(n - 1, 1)
        for m, n in zip(window, trained, strict=True)
    ]
    t = torch.stack(torch.meshgrid(axes, indexing="ij"), -1).flatten(0, 1)
    return (t.sign() * (1 + 8 * t.abs()).double().log2().to(real) / 3).to(dtype)


_KEPT: dict[Any, Tensor] = {}
"""The offsets of windows that were asked for, by window, pretrained window, type and device."""


def find_offsets(
    window: tuple[int, int],
    trained: tuple[int, int] | None,
    dtype: torch.dtype,
    device: torch.device,
    offsets: str = "exact",
) -> Tensor:
    """Returns what `log_spaced_offsets` returns, computed once, but for graphs that are recorded."""
    if is_in_a_graph():
        return log_spaced_offsets(window, trained, dtype, device, offsets)
    key = window, trained, dtype, device, offsets
    if (kept := _KEPT.get(key)) is not None:
        return kept
    with torch.inference_mode(False):  # such a tensor could not be used in training later
        found = log_spaced_offsets(window, trained, dtype, device, offsets)
    if is_plain(found):
        _KEPT[key] = found
    return found


def is_plain(x: Tensor) -> bool:
    """Tells whether a tensor has numbers of its own, and is none that a tracer or a transform made.

    >>> is_plain(torch.ones(1)), is_plain(torch.ones(1, device="meta"))
    (True, False)
    """
    try:
        return type(x) in (Tensor, torch.nn.Parameter) and x.data_ptr() != 0
    except RuntimeError:  # a wrapper of PyTorch's function transforms
        return False


def continuous_position_bias_table(
    first: Tensor,
    first_bias: Tensor,
    last: Tensor,
    window_size: Size,
    pretrained_window_size: Size | None = None,
    offsets: str = "exact",
) -> Tensor:
    """Returns the bias table of a window: 16 sigmoid(MLP(T)), one row for each offset.

    T is that of `log_spaced_offsets`, rounded as ``offsets`` says; the MLP is
    ``last`` ReLU(``first`` T + ``first_bias``).  It is computed
    and returned in float32, or float64 for float64.

    Shapes: first (K, 2), first_bias (K), last (heads, K) -> ((2 Mh - 1)(2 Mw - 1), heads).

    >>> continuous_position_bias_table(torch.ones(4, 2), torch.zeros(4), torch.zeros(1, 4), (1, 2)).flatten()
    tensor([8., 8., 8.])
    """
    wide = torch.promote_types(first.dtype, torch.float32)
    window = check_window(window_size)
    trained = None if pretrained_window_size is None else check_window(pretrained_window_size)
    given = find_offsets(window, trained, wide, first.device, offsets)
    with torch.autocast(first.device.type, enabled=False):
        hidden = linear(given, first.to(wide), first_bias.to(wide)).relu()
        return 16 * linear(hidden, last.to(wide)).sigmoid()


def join_biases(q_bias: Tensor | None, v_bias: Tensor | None) -> Tensor | None:
    """Returns the bias of queries, keys and values: that of the keys is 0; None if there is none.

    Shapes: (C) twice -> (3 C).

    >>> join_biases(torch.ones(1), torch.ones(1))
    tensor([1., 0., 1.])
    """
    if q_bias is None or v_bias is None:
        return None
    return torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])


def find_factors(logit_scale: Tensor, clamp: str = "exact") -> Tensor:
    """Returns what multiplies the cosines: exp(min(logit_scale, log 100)), at least in float32, one a head.

    Where a convention's ``clamp`` is "float32", log 100 is rounded to float32.

    >>> find_factors(torch.tensor([[[0.0]], [[9.0]]]))
    tensor([  1.0000, 100.0000])
    """
    wide = torch.promote_types(logit_scale.dtype, torch.float32)
    largest = LARGEST_IN_FLOAT32 if clamp == "float32" else LARGEST_LOGIT_SCALE
    return logit_scale.flatten().to(wide).clamp(max=largest).exp()


def turn_to_cosines(qkv: Tensor, factors: Tensor) -> Tensor:
    """Returns qkv whose queries and keys have length 1, the queries times their head's factor.

    q k^T is then the factor times the cosine.  A vector shorter than 1e-12 is divided by 1e-12 in place of
    its length.  Lengths are float32, or float64 for float64.

    Shapes: (..., 3 C), laid out as (q, k, v), then heads; factors (heads) -> (..., 3 C).

    >>> turn_to_cosines(torch.tensor([3.0, 4.0, 0.0, 0.0, 1.0, 2.0]), torch.tensor([10.0]))
    tensor([6., 8., 0., 0., 1., 2.])
    """
    wide = torch.promote_types(qkv.dtype, torch.float32)
    qk, v = qkv.unflatten(-1, (3, factors.shape[0], -1)).split([2, 1], -3)  # (..., 2 or 1, heads, d)
    by = torch.stack([factors.to(wide), torch.ones_like(factors, dtype=wide)])[..., None]  # (2, heads, 1)
    qk = qk.to(wide)
    return torch.cat([(qk * (by * find_inverse_lengths(qk, qkv.dtype))).to(qkv.dtype), v], -3).flatten(-3)


def find_inverse_lengths(qk: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns 1 / max(length, 1e-12) of the vectors along the last axis, for a gradient in ``dtype``.

    A vector of zeros would have a gradient 1e12 times that of its cosine, which float16 cannot hold: there
    its factor, and with it its gradient, is 0.

    >>> find_inverse_lengths(torch.tensor([[3.0, 4.0]]), torch.float32)
    tensor([[0.2000]])
    """
    squares = qk.square().sum(-1, keepdim=True)
    inverse = squares.clamp(min=SMALLEST_LENGTH**2).rsqrt()
    return inverse.masked_fill(squares == 0, 0) if dtype == torch.float16 else inverse
