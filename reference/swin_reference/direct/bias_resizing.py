"""The second oracle's bias table for another window: a cubic curve through the entries."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_reference.direct.sizes import Sizes, two
from swin_reference.types import Inexact


def resize_relative_position_bias(
    table: Inexact[np.ndarray, "offsets heads"], window_size: Sizes, new_window_size: Sizes
) -> Inexact[np.ndarray, "new_offsets heads"]:
    """Returns the bias table for another window: cubic curves through its entries, along height, then width.

    >>> resize_relative_position_bias(np.array([[0.0], [1.0], [2.0]]), (1, 2), (1, 1)).ravel()
    array([1.])
    """
    (mh, mw), (new_mh, new_mw) = two(window_size), two(new_window_size)
    entries = table.reshape(2 * mh - 1, 2 * mw - 1, -1)
    rows = np.stack(_between(list(entries), 2 * new_mh - 1))
    columns = _between(list(np.moveaxis(rows, 1, 0)), 2 * new_mw - 1)
    return np.stack(columns, axis=1).reshape(-1, table.shape[1])


def _between(entries: list[Any], count: int) -> list[Any]:
    """Returns ``count`` values of the curve through the entries, at the middles of ``count`` equal parts.

    Between two entries the curve is the Hermite cubic.  Its slope at an entry is 3/4 of the difference of the
    entry's two neighbours; beyond an end, the end's entry counts again.
    """
    values = []
    for i in range(count):
        twice = (2 * i + 1) * len(entries)  # 2 count (s + 1/2), where entry k lies at s = k
        below = (twice - count) // (2 * count)
        t = (twice - count - 2 * count * below) / (2 * count)
        before, left, right, after = (
            entries[min(max(k, 0), len(entries) - 1)] for k in range(below - 1, below + 3)
        )
        rise, fall = 0.75 * (right - before), 0.75 * (after - left)
        hermite = (2 * left + rise - 2 * right + fall) * t + (3 * right - 3 * left - 2 * rise - fall)
        values.append((hermite * t + rise) * t + left)
    return values
