"""Windows: cuts a grid into windows and back, shifts it, and masks the pairs that are no neighbours.

In the comments, B is the batch, H and W the grid, C the channels, Mh and Mw the window, nH = H / Mh and
nW = W / Mw the windows along each axis.
"""

from __future__ import annotations

import numpy as np

from swin_reference.sizes import Size, pair, round_up, shift_pair, window_pair
from swin_reference.types import Float, Shaped


def window_partition(
    x: Shaped[np.ndarray, "batch height width channels"], window_size: Size
) -> Shaped[np.ndarray, "windows window_height window_width channels"]:
    """Cuts a grid into windows: window (b, i, j), token (u, v) = x[b, i Mh + u, j Mw + v].

    Windows are batch-major, then row by row.  (Official code: ``window_partition``.)

    Errors: ``ValueError`` unless height and width are multiples of the window's.

    >>> window_partition(np.arange(8).reshape(1, 2, 4, 1), 2)[1, :, :, 0]
    array([[2, 3],
           [6, 7]])
    """
    batch, height, width, channels = x.shape
    mh, mw = whole_windows(height, width, window_size)
    x = x.reshape(batch, height // mh, mh, width // mw, mw, channels)  # (B, nH, Mh, nW, Mw, C)
    x = x.transpose(0, 1, 3, 2, 4, 5)  # (B, nH, nW, Mh, Mw, C)
    return x.reshape(batch * (height // mh) * (width // mw), mh, mw, channels)


def window_reverse(
    windows: Shaped[np.ndarray, "windows window_height window_width channels"],
    window_size: Size,
    height: int,
    width: int,
) -> Shaped[np.ndarray, "batch {height} {width} channels"]:
    """Puts windows back in their places: the inverse of `window_partition`.

    (Official code: ``window_reverse``.)

    Errors: ``ValueError`` unless the windows fill whole grids of ``height`` x ``width``.

    >>> x = np.arange(8).reshape(1, 2, 4, 1)
    >>> np.array_equal(window_reverse(window_partition(x, 2), 2, 2, 4), x)
    True
    """
    mh, mw = whole_windows(height, width, window_size)
    per_image, channels = (height // mh) * (width // mw), windows.shape[-1]
    if windows.shape[0] % per_image:
        raise ValueError(
            f"the windows must fill whole grids of {per_image}, got {windows.shape[0]} windows for "
            f"{height}x{width} and window {mh}x{mw}: check height and width"
        )
    batch = windows.shape[0] // per_image
    x = windows.reshape(batch, height // mh, width // mw, mh, mw, channels)  # (B, nH, nW, Mh, Mw, C)
    x = x.transpose(0, 1, 3, 2, 4, 5)  # (B, nH, Mh, nW, Mw, C)
    return x.reshape(batch, height, width, channels)


def cyclic_shift(
    x: Shaped[np.ndarray, "batch height width channels"], shift_size: Size
) -> Shaped[np.ndarray, "batch height width channels"]:
    """Rolls the grid up and left by the shift: y[b, h, w] = x[b, (h + sh) mod H, (w + sw) mod W].

    (Liu et al. 2021, figure 4.  Official code: ``torch.roll``.)

    >>> cyclic_shift(np.arange(4).reshape(1, 1, 4, 1), (0, 1)).ravel()
    array([1, 2, 3, 0])
    """
    sh, sw = pair(shift_size)
    return np.roll(x, (-sh, -sw), axis=(1, 2))


def reverse_cyclic_shift(
    x: Shaped[np.ndarray, "batch height width channels"], shift_size: Size
) -> Shaped[np.ndarray, "batch height width channels"]:
    """Rolls the grid down and right by the shift: the inverse of `cyclic_shift`.

    y[b, h, w] = x[b, (h - sh) mod H, (w - sw) mod W].

    >>> reverse_cyclic_shift(np.arange(4).reshape(1, 1, 4, 1), (0, 1)).ravel()
    array([3, 0, 1, 2])
    """
    sh, sw = pair(shift_size)
    return np.roll(x, (sh, sw), axis=(1, 2))


def shifted_window_mask(
    height: int, width: int, window_size: Size, shift_size: Size
) -> Float[np.ndarray, "windows tokens tokens"]:
    """Returns the mask of the shifted windows: 0 where a token may attend to another, -inf where not.

    The roll moves the first s rows and columns of the grid to its end.  Two tokens of a window are
    neighbours in the image if, on each axis, the roll moved both to the end or neither: only then may they
    attend to each other.  Without a shift the mask is zero.  (Liu et al. 2021, figure 4.)

    Errors: ``ValueError`` unless the grid is made of whole windows and 0 <= shift < window.

    >>> shifted_window_mask(1, 4, (1, 2), (0, 1))[1]
    array([[  0., -inf],
           [-inf,   0.]])
    """
    mh, mw = whole_windows(height, width, window_size)
    sh, sw = shift_pair(shift_size, window_size)
    moved_h = np.arange(height) >= height - sh  # (H,)
    moved_w = np.arange(width) >= width - sw  # (W,)
    region = 2 * moved_h[:, None] + moved_w[None, :]  # (H, W): 0, 1, 2 or 3
    region = window_partition(region[None, :, :, None], window_size).reshape(-1, mh * mw)  # (nH nW, N)
    return np.where(region[:, :, None] == region[:, None, :], 0.0, -np.inf)  # (nH nW, N, N)


def pad_to_multiple(
    x: Shaped[np.ndarray, "batch height width channels"], multiple: Size
) -> Shaped[np.ndarray, "batch padded_height padded_width channels"]:
    """Pads a grid with zeros at the bottom and right, up to a multiple of ``multiple``.

    >>> pad_to_multiple(np.ones((1, 1, 3, 1)), 2)[0, :, :, 0]
    array([[1., 1., 1., 0.],
           [0., 0., 0., 0.]])
    """
    height, width = x.shape[1:3]
    mh, mw = window_pair(multiple)
    bottom, right = round_up(height, mh) - height, round_up(width, mw) - width
    if not (bottom or right):
        return x
    return np.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)))


def whole_windows(height: int, width: int, window_size: Size) -> tuple[int, int]:
    """Returns the window as ``(height, width)``, after checking that it divides the grid.

    Errors: ``ValueError`` unless the grid is made of whole windows.

    >>> whole_windows(8, 4, 4)
    (4, 4)
    """
    mh, mw = window_pair(window_size)
    if height % mh or width % mw or height < 1 or width < 1:
        raise ValueError(
            f"a grid is made of whole windows, got {height}x{width} and window {mh}x{mw}: pad it to "
            f"{round_up(max(height, 1), mh)}x{round_up(max(width, 1), mw)} first"
        )
    return mh, mw
