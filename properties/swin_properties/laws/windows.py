"""Laws of window partition and reverse, and of the cyclic shift."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import GridCase
from swin_properties.cases.strategies import grids
from swin_properties.laws.law import law


@law(
    "window_partition/definition",
    ["window_partition"],
    grids(whole=True),
    "exact",
    compares_with="definition",
    full=True,
)
def definition(swin: Asked, case: GridCase) -> Any:
    """Token (u, v) of window (b, i, j) is x[b, i Mh + u, j Mw + v]; windows are in order by image, then by
    rows.
    """
    x, (mh, mw) = case.tokens(), case.window
    rows, columns = case.grid[0] // mh, case.grid[1] // mw
    b, i, j, u, v = np.indices((case.batch, rows, columns, mh, mw))
    there = x[b, i * mh + u, j * mw + v]
    return swin.window_partition(x, case.window), there.reshape(-1, mh, mw, case.channels)


@law(
    "window_reverse/inverts-partition",
    ["window_partition", "window_reverse"],
    grids(whole=True),
    "exact",
    compares_with="itself",
)
def reverse_inverts_partition(swin: Asked, case: GridCase) -> Any:
    """Partition and then reverse returns the grid, bitwise."""
    x = case.tokens()
    windows = swin.window_partition(x, case.window)
    return swin.window_reverse(windows, case.window, *case.grid), x


@law(
    "window_partition/inverts-reverse",
    ["window_partition", "window_reverse"],
    grids(whole=True),
    "exact",
    compares_with="itself",
)
def partition_inverts_reverse(swin: Asked, case: GridCase) -> Any:
    """Reverse and then partition returns the windows, bitwise."""
    windows = case.windows().reshape(-1, *case.window, case.channels)
    grid = swin.window_reverse(windows, case.window, *case.grid)
    return swin.window_partition(grid, case.window), windows


@law(
    "window_reverse/adjoint",
    ["window_partition", "window_reverse"],
    grids(whole=True),
    "exact",
    compares_with="itself",
)
def adjoint(swin: Asked, case: GridCase) -> Any:
    """Reverse is the adjoint of partition: <partition x, y> = <x, reverse y>, summed exactly."""
    x = case.tokens()
    y = case.windows().reshape(-1, *case.window, case.channels)
    forward = np.sum(swin.window_partition(x, case.window) * y)
    return forward, np.sum(x * swin.window_reverse(y, case.window, *case.grid))


@law(
    "cyclic_shift/definition",
    ["cyclic_shift"],
    grids(shifted=True),
    "exact",
    compares_with="definition",
    full=True,
)
def shift_definition(swin: Asked, case: GridCase) -> Any:
    """The shift rolls by -s: y[b, h, w] = x[b, (h + sh) mod H, (w + sw) mod W]."""
    x, (height, width) = case.tokens(), case.grid
    h, w = np.arange(height) + case.shift[0], np.arange(width) + case.shift[1]
    return swin.cyclic_shift(x, case.shift), x[:, h % height][:, :, w % width]


@law(
    "reverse_cyclic_shift/definition",
    ["reverse_cyclic_shift"],
    grids(shifted=True),
    "exact",
    compares_with="definition",
    full=True,
)
def reverse_shift_definition(swin: Asked, case: GridCase) -> Any:
    """The reverse shift rolls by +s: y[b, h, w] = x[b, (h - sh) mod H, (w - sw) mod W]."""
    x, (height, width) = case.tokens(), case.grid
    h, w = np.arange(height) - case.shift[0], np.arange(width) - case.shift[1]
    return swin.reverse_cyclic_shift(x, case.shift), x[:, h % height][:, :, w % width]


@law(
    "reverse_cyclic_shift/inverts-shift",
    ["cyclic_shift", "reverse_cyclic_shift"],
    grids(shifted=True),
    "exact",
    compares_with="itself",
)
def shift_inverse(swin: Asked, case: GridCase) -> Any:
    """The shift and its reverse undo each other, bitwise, in either order."""
    x = case.tokens()
    there = swin.reverse_cyclic_shift(swin.cyclic_shift(x, case.shift), case.shift)
    back = swin.cyclic_shift(swin.reverse_cyclic_shift(x, case.shift), case.shift)
    return [(there, x), (back, x)]


@law(
    "cyclic_shift/batch-and-channels", ["cyclic_shift"], grids(shifted=True), "exact", compares_with="itself"
)
def shift_batch_and_channels(swin: Asked, case: GridCase) -> Any:
    """The shift moves neither images nor channels: reversing their order reverses it in the output,
    bitwise.
    """
    x = case.tokens(batch=5)  # more samples than a shift is long
    reversed_ = np.ascontiguousarray(x[::-1, ..., ::-1])
    return swin.cyclic_shift(reversed_, case.shift), swin.cyclic_shift(x, case.shift)[::-1, ..., ::-1]
