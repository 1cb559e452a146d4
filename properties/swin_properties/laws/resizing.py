"""Laws of a bias table resized to another window; here the new window is the case's grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_properties.adapters.contract import Asked
from swin_properties.budget.budget import SMALLEST_OUTPUT
from swin_properties.cases.case import GridCase
from swin_properties.cases.strategies import grids
from swin_properties.laws.law import law

RESIZE = ["resize_relative_position_bias"]
Tables = grids(shifted=False, enough=True)


def table(case: GridCase, columns: int | None = None) -> Any:
    """Returns a bias table of the case's window, by default with a column for each channel of each image."""
    rows = case.offset_rows[0] * case.offset_rows[1]
    shape = rows, columns or case.batch * case.channels
    return case.hot({"relative_position_bias_table": shape})["relative_position_bias_table"]


def as_map(flat: Any, window: tuple[int, int]) -> Any:
    """Returns a table (offsets, heads) as a map of offsets along height and width."""
    return flat.reshape(2 * window[0] - 1, 2 * window[1] - 1, -1)


def as_table(offsets: Any) -> Any:
    """Returns the table of a map: the inverse of `as_map`."""
    return np.ascontiguousarray(offsets.reshape(-1, offsets.shape[2]))


@law("resize_relative_position_bias/oracle", RESIZE, Tables, compares_with="oracle")
def resize_oracle(swin: Asked, case: GridCase) -> Any:
    """A bias table resized to another window is the oracle's: bicubic, a = -3/4, corners not aligned."""
    args = table(case), case.window, case.grid
    return swin.resize_relative_position_bias(*args), swin.expected.resize_relative_position_bias(*args)


@law(
    "resize_relative_position_bias/identity",
    RESIZE,
    grids(shifted=False),
    "exact",
    compares_with="definition",
)
def resize_identity(swin: Asked, case: GridCase) -> Any:
    """A bias table resized to its own window is itself, bitwise."""
    given = table(case)
    return swin.resize_relative_position_bias(given, case.window, case.window), given


@law("resize_relative_position_bias/constants", RESIZE, Tables, compares_with="definition")
def resize_constants(swin: Asked, case: GridCase) -> Any:
    """A head whose bias is the same for every offset keeps it in every window."""
    head = table(case)[:1]
    given, new = (np.repeat(head, rows, axis=0) for rows in (len(table(case)), new_rows(case)))
    return swin.resize_relative_position_bias(given, case.window, case.grid), new


@law("resize_relative_position_bias/centre", RESIZE, grids(shifted=False), compares_with="definition")
def resize_centre(swin: Asked, case: GridCase) -> Any:
    """A token's bias for itself, at offset 0, is the same in every window."""
    given = table(case, columns=SMALLEST_OUTPUT)
    resized = swin.resize_relative_position_bias(given, case.window, case.grid)
    return resized[len(resized) // 2], given[len(given) // 2]


@law("resize_relative_position_bias/flip", RESIZE, Tables, compares_with="itself")
def resize_flip(swin: Asked, case: GridCase) -> Any:
    """Flipping a bias table along height or width flips the resized one."""
    given = table(case)
    resized = swin.resize_relative_position_bias(given, case.window, case.grid)
    pairs = []
    for axis in (0, 1):
        flipped = as_table(np.flip(as_map(given, case.window), axis))
        got = swin.resize_relative_position_bias(flipped, case.window, case.grid)
        pairs.append((got, as_table(np.flip(as_map(resized, case.grid), axis))))
    return pairs


@law("resize_relative_position_bias/transpose", RESIZE, Tables, compares_with="itself")
def resize_transpose(swin: Asked, case: GridCase) -> Any:
    """Swapping height and width, in the table and both windows, swaps them in the resized table."""
    given = table(case)
    swapped = as_table(as_map(given, case.window).swapaxes(0, 1))
    got = swin.resize_relative_position_bias(swapped, case.window[::-1], case.grid[::-1])
    resized = swin.resize_relative_position_bias(given, case.window, case.grid)
    return got, as_table(as_map(resized, case.grid).swapaxes(0, 1))


def new_rows(case: GridCase) -> int:
    """Returns the number of rows of the resized table."""
    return (2 * case.grid[0] - 1) * (2 * case.grid[1] - 1)
