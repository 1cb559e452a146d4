"""Functions on tensors: windows, shifts, masks, relative positions, attention.  Grids are (B, H, W, C).

The batch size is inferred from shapes and never a number in the code: a function that is traced or exported
at one batch size runs at another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from swin_torch.geometry.conventions import CANONICAL, Convention, find_margins
from swin_torch.geometry.sizes import Size, check_shift, check_window, count_windows, find_missing, pair


def window_partition(x: Tensor, window_size: Size) -> Tensor:
    """Cuts a grid into windows: window (b, i, j), token (u, v) = x[b, i Mh + u, j Mw + v].

    Shapes: (B, H, W, C) -> (B nH nW, Mh, Mw, C), batch-major, then row by row.

    Errors: ``ValueError`` unless height and width are multiples of the window's.

    >>> window_partition(torch.arange(8).view(1, 2, 4, 1), 2)[1, :, :, 0]
    tensor([[2, 3],
            [6, 7]])
    """
    mh, mw = check_window(window_size)
    rows, columns = count_windows(x.shape[1], x.shape[2], window_size)
    return x.unflatten(2, (columns, mw)).unflatten(1, (rows, mh)).transpose(2, 3).flatten(0, 2)


def window_reverse(windows: Tensor, window_size: Size, height: int, width: int) -> Tensor:
    """Puts windows back into a grid: the inverse of `window_partition`.

    Shapes: (B nH nW, Mh, Mw, C) -> (B, H, W, C).

    Errors: ``ValueError`` unless the windows fill whole grids of ``height`` x ``width``.

    >>> x = torch.arange(8).view(1, 2, 4, 1)
    >>> torch.equal(window_reverse(window_partition(x, 2), 2, 2, 4), x)
    True
    """
    rows, columns = count_windows(height, width, window_size)
    if windows.shape[0] % (rows * columns):
        raise ValueError(
            f"windows fill whole grids of {rows}x{columns}, got {windows.shape[0]} windows for "
            f"{height}x{width}: check height and width"
        )
    return windows.unflatten(0, (-1, rows, columns)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def cyclic_shift(x: Tensor, shift_size: Size) -> Tensor:
    """Rolls a grid up and left: y[b, h, w] = x[b, h + sh, w + sw], around the edges.

    Shapes: (B, H, W, C) -> same; without a shift it is ``x`` itself.

    >>> cyclic_shift(torch.arange(4).view(1, 1, 4, 1), (0, 1)).flatten()
    tensor([1, 2, 3, 0])
    """
    sh, sw = pair(shift_size)
    return x.roll((-sh, -sw), (1, 2)) if sh or sw else x


def reverse_cyclic_shift(x: Tensor, shift_size: Size) -> Tensor:
    """Rolls a grid down and right: y[b, h + sh, w + sw] = x[b, h, w], the inverse of `cyclic_shift`.

    Shapes: (B, H, W, C) -> same; without a shift it is ``x`` itself.

    >>> reverse_cyclic_shift(torch.arange(4).view(1, 1, 4, 1), (0, 1)).flatten()
    tensor([3, 0, 1, 2])
    """
    sh, sw = pair(shift_size)
    return cyclic_shift(x, (-sh, -sw))


def pad_by(x: Tensor, margin: Sequence[int]) -> Tensor:
    """Pads a grid with zeros: ``margin`` rows at the bottom and columns at the right.

    Shapes: (B, H, W, C) -> (B, H', W', C); nothing to pad gives ``x`` itself.

    >>> pad_by(torch.ones(1, 1, 3, 1), (1, 1))[0, :, :, 0]
    tensor([[1., 1., 1., 0.],
            [0., 0., 0., 0.]])
    """
    bottom, right = margin
    return pad(x, (0, 0, 0, right, 0, bottom)) if bottom or right else x


def shifted_window_mask(
    height: int,
    width: int,
    window_size: Size,
    shift_size: Size,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    mask_value: float = -torch.inf,
) -> Tensor:
    """Returns the mask of the shifted windows: 0 where a token may attend to another, -inf where it may not.

    Two tokens are separated if the roll carried one of them around an edge and not the other.  A convention
    may use another ``mask_value`` than -inf.

    Shapes: (nW, N, N).

    Errors: ``ValueError`` unless the grid is made of whole windows and 0 <= shift < window.

    >>> shifted_window_mask(1, 4, (1, 2), (0, 1))[1]
    tensor([[0., -inf],
            [-inf, 0.]])
    """
    count_windows(height, width, window_size)
    (mh, mw), (sh, sw) = check_window(window_size), check_shift(shift_size, window_size)

    def find_separated(length: int, window: int, shift: int) -> Tensor:  # along one axis: (windows, M, M)
        carried = (torch.arange(length, device=device) >= length - shift).unflatten(0, (-1, window))
        return carried[:, :, None] != carried[:, None, :]

    rows, columns = find_separated(height, mh, sh), find_separated(width, mw, sw)
    either = rows[:, None, :, None, :, None] | columns[None, :, None, :, None, :]  # nH, nW, Mh, Mw, Mh, Mw
    mask = torch.zeros(either.shape, dtype=dtype, device=device).masked_fill(either, mask_value)
    return mask.flatten(4, 5).flatten(2, 3).flatten(0, 1)


def relative_position_index(window_size: Size, device: torch.device | str | None = None) -> Tensor:
    """Returns for query i and key j of a window the row of the bias table that holds their offset.

    index = (dh + Mh - 1) (2 Mw - 1) + (dw + Mw - 1), where (dh, dw) = query - key.

    Shapes: (N, N), integers.

    >>> relative_position_index((1, 3))
    tensor([[2, 1, 0],
            [3, 2, 1],
            [4, 3, 2]])
    """
    mh, mw = check_window(window_size)
    # The index is linear in the offset: the difference of the tokens' positions in rows of 2 Mw - 1.
    rows, columns = torch.arange(mh, device=device), torch.arange(mw, device=device)
    place = (rows[:, None] * (2 * mw - 1) + columns).flatten()
    return place[:, None] - place + place[-1]


def relative_position_bias(table: Tensor, window_size: Size) -> Tensor:
    """Returns the bias that is added to the logits: bias[head, i, j] = table[index[i, j], head].

    Shapes: ((2 Mh - 1)(2 Mw - 1), heads) -> (heads, N, N).

    Errors: ``ValueError`` unless the table has one row for each offset.

    >>> relative_position_bias(torch.arange(3.0)[:, None], (1, 2))
    tensor([[[1., 0.],
             [2., 1.]]])
    """
    mh, mw = check_window(window_size)
    if table.shape[0] != (2 * mh - 1) * (2 * mw - 1):
        raise ValueError(
            f"the bias table has (2 Mh - 1)(2 Mw - 1) rows, got {table.shape[0]} for window {mh}x{mw}: "
            f"it needs {(2 * mh - 1) * (2 * mw - 1)}"
        )
    return table[relative_position_index(window_size, table.device)].permute(2, 0, 1)


def window_attention(
    qkv: Tensor, bias: Tensor, mask: Tensor | None = None, qk_scale: float | None = None
) -> Tensor:
    """Returns the attention of every head in every window: softmax(scale q k^T + bias + mask) v.

    ``scale`` is head_dim^-1/2 unless ``qk_scale`` says otherwise; window n gets mask[n mod nW].

    Shapes: qkv (B nW, N, 3 C), laid out as (q, k, v), then heads; bias (heads, N, N), mask (nW, N, N)
    -> (B nW, N, C).

    >>> q, k, v = torch.zeros(1, 2, 1), torch.zeros(1, 2, 1), torch.tensor([[[2.0], [4.0]]])
    >>> window_attention(torch.cat([q, k, v], -1), torch.zeros(1, 2, 2)).flatten()
    tensor([3., 3.])
    """
    q, k, v = qkv.unflatten(-1, (3, bias.shape[0], -1)).permute(2, 0, 3, 1, 4)  # each B nW, heads, N, d
    scale = q.shape[-1] ** -0.5 if qk_scale is None else qk_scale
    bias = bias[None] if mask is None else bias + mask[:, None]  # 1 or nW, heads, N, N
    logits = (q * scale) @ k.transpose(-2, -1)  # B nW, heads, N, N
    logits = logits.unflatten(0, (-1, bias.shape[0])) + bias  # B, nW, heads, N, N
    # Sums of exponentials overflow float16 and lose bfloat16's few bits.
    wide = torch.promote_types(logits.dtype, torch.float32)
    attention = logits.softmax(-1, dtype=wide).to(v.dtype).flatten(0, 1)
    return (attention @ v).transpose(1, 2).flatten(2)


def shifted_window_attention(
    x: Tensor,
    attend: Callable[[Tensor, Tensor | None], Tensor],
    window_size: Size,
    shift_size: Size,
    convention: Convention = CANONICAL,
) -> Tensor:
    """Computes the whole (S)W-MSA: pad, shift, partition, ``attend(windows, mask)``, reverse, shift, crop.

    The grid is padded to whole windows before the shift, unless the convention does it after; padded tokens
    take part as keys.

    Shapes: (B, H, W, C) -> same; ``attend`` maps (B nW, N, C) to the same, under a mask (nW, N, N) or None.

    Errors: ``ValueError`` for a window below 1x1, a shift outside 0 <= shift < window, or a grid that the
    convention rejects.

    >>> def mean_of_window(windows, mask): return windows.mean(1, keepdim=True).expand_as(windows)
    >>> shifted_window_attention(torch.arange(4.0).view(1, 1, 4, 1), mean_of_window, (1, 2), (0, 1)).flatten()
    tensor([1.5000, 1.5000, 1.5000, 1.5000])
    """
    window, shift = check_window(window_size), check_shift(shift_size, window_size)
    before, after = find_margins(x.shape[1:3], window, convention)
    padded = pad_by(x, before)
    rolled = pad_by(cyclic_shift(padded, shift), after)
    height, width = rolled.shape[1:3]
    mask = None
    if any(shift):
        value = convention.mask_value
        mask = shifted_window_mask(height, width, window, shift, x.dtype, x.device, value)
    attended = attend(window_partition(rolled, window).flatten(1, 2), mask).unflatten(1, window)
    grid = window_reverse(attended, window, height, width)[:, : padded.shape[1], : padded.shape[2]]
    return reverse_cyclic_shift(grid, shift)[:, : x.shape[1], : x.shape[2]]


def merge_neighbours(x: Tensor) -> Tensor:
    """Concatenates 2x2 neighbours, offsets (0,0), (1,0), (0,1), (1,1): the row offset fastest.

    An odd side is padded with zeros at the bottom or right.

    Shapes: (B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 4 C).

    >>> merge_neighbours(torch.arange(4).view(1, 2, 2, 1)).flatten()
    tensor([0, 2, 1, 3])
    """
    padded = pad_by(x, find_missing(x.shape[1], x.shape[2], 2))
    x = padded.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # B, H/2, dh, W/2, dw, C
    return x.permute(0, 1, 3, 4, 2, 5).flatten(3)


def drop_path(branch: Tensor, kept: Tensor | None) -> Tensor:
    """Multiplies each sample of a residual branch by its factor, 0 or 1 / (1 - p): drop path; None keeps all.

    Shapes: (B, H, W, C) and (B,) -> (B, H, W, C).

    >>> drop_path(torch.ones(2, 1, 1, 1), torch.tensor([0.0, 1.25])).flatten()
    tensor([0.0000, 1.2500])
    """
    return branch if kept is None else branch * kept.to(branch.dtype).view(branch.shape[0], 1, 1, 1)
