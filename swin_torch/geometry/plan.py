"""The plan of a (shifted) window attention: the tokens and the mask of each window, from sizes alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from swin_torch.geometry import functional
from swin_torch.geometry.conventions import Convention, find_margins
from swin_torch.geometry.sizes import Size, check_shift, check_window

Pair = tuple[int, int]


class Plan(NamedTuple):
    """The sizes of one call, and whether the grid is rolled before it is padded.

    Row r of the shifted grid is row (r + shift) mod period of the image if r < period and that row exists;
    else it is padding.  The period is the padded height, or the height of the grid if the roll comes first.

    >>> Plan((3, 4), (4, 4), (2, 2), (1, 1), 1, False).rows()
    [1, 2, -1, 0]
    >>> Plan((3, 4), (4, 4), (2, 2), (1, 1), 1, True).rows()
    [1, 2, 0, -1]
    """

    grid: Pair
    padded: Pair
    window: Pair
    shift: Pair
    heads: int
    roll_first: bool

    @property
    def tokens(self) -> int:
        """Returns N, the tokens of a window."""
        return prod(self.window)

    @property
    def counts(self) -> Pair:
        """Returns the number of windows along height and width."""
        return self.padded[0] // self.window[0], self.padded[1] // self.window[1]

    @property
    def period(self) -> Pair:
        """Returns the height and width modulo which the grid is rolled."""
        return self.grid if self.roll_first else self.padded

    @property
    def is_padded(self) -> bool:
        """Tells whether some tokens are padding."""
        return self.grid != self.padded

    def rows(self) -> list[int]:
        """Returns the row of the image in each row of the shifted grid, -1 for padding."""
        return self._find_along(0)

    def columns(self) -> list[int]:
        """Returns the column of the image in each column of the shifted grid, -1 for padding."""
        return self._find_along(1)

    def _find_along(self, axis: int) -> list[int]:
        length, period, shift = self.grid[axis], self.period[axis], self.shift[axis]
        found = [(r + shift) % period if r < period else -1 for r in range(self.padded[axis])]
        return [source if source < length else -1 for source in found]

    # The four classes of windows, on a shifted grid of 3 x 3 windows of 4 x 4 tokens with shift 1.
    #
    #       inside | inside | right           inside       right        bottom       corner
    #      --------+--------+--------        a a a a      a a a | b    a a a a      a a a | b
    #       inside | inside | right          a a a a      a a a | b    a a a a      a a a | b
    #      --------+--------+--------        a a a a      a a a | b    a a a a      a a a | b
    #       bottom | bottom | corner         a a a a      a a a | b    -------      ------+--
    #                                                                  c c c c      c c c | d
    #
    # A token attends to the tokens of its window that have the same letter: those lie side by side in the
    # image.  The roll brought the last `shift` columns (b, d) from the image's left edge, and the last
    # `shift` rows (c, d) from its top: logits between different letters get the mask's value.  All windows
    # of a class have the same mask; windows inside have none.  Without a shift along an axis there are no
    # other classes along it.  In code a class is two flags: down (bottom, corner), right (right, corner).
    def list_classes(self) -> Iterator[tuple[slice, slice, bool, bool]]:
        """The four classes of windows by mask: rows and columns of windows, and which axes are torn there.

        Only the last row of windows holds rows that came around the edge, only the last column columns.
        """
        rows, columns = self.counts
        for down in (False, True)[: 1 + bool(self.shift[0])]:
            for right in (False, True)[: 1 + bool(self.shift[1])]:
                yield (
                    slice(rows - 1, rows) if down else slice(0, rows - bool(self.shift[0])),
                    slice(columns - 1, columns) if right else slice(0, columns - bool(self.shift[1])),
                    down,
                    right,
                )


def make_plan(grid: Pair, window_size: Size, shift_size: Size, heads: int, convention: Convention) -> Plan:
    """Returns the plan of an attention on a grid, padded as the convention says.

    Errors: ``ValueError`` for a shift outside 0 <= shift < window, or a grid that the convention rejects.

    >>> from swin_torch.geometry.conventions import CANONICAL
    >>> make_plan((3, 4), 2, 1, 1, CANONICAL).padded
    (4, 4)
    """
    window = check_window(window_size)
    before, after = find_margins(grid, window, convention)
    padded = grid[0] + before[0] + after[0], grid[1] + before[1] + after[1]
    return Plan(grid, padded, window, check_shift(shift_size, window), heads, any(after))


@lru_cache(maxsize=64)
def find_places(plan: Plan, device: torch.device) -> list[tuple[Tensor, Tensor | None, Tensor | None]]:
    """For each class of windows, returns the tokens' positions, the padding, and the separated pairs.

    Shapes: (windows, N), the position of a token in its image, 0 for padding; (windows, N) and (N, N),
    booleans, each None where no token is padding or no pair is separated.
    """
    width = plan.grid[1]
    rows, columns = torch.tensor(plan.rows()), torch.tensor(plan.columns())
    place = rows[:, None] * width + columns
    place = place.masked_fill((rows < 0)[:, None] | (columns < 0), -1)
    windows = functional.window_partition(place[None, :, :, None], plan.window)[..., 0].flatten(1)
    windows = windows.unflatten(0, plan.counts)
    found = []
    for of_rows, of_columns, down, right in plan.list_classes():
        inside = windows[of_rows, of_columns].flatten(0, 1)
        if len(inside):
            padding = inside < 0
            found.append(
                (
                    inside.clamp(min=0).to(device),
                    padding.to(device) if padding.any() else None,
                    _find_torn(plan, down, right).to(device) if down or right else None,
                )
            )
    return found


def _find_torn(plan: Plan, down: bool, right: bool) -> Tensor:
    """Returns which pairs of tokens are separated: the roll carried one of them around an edge."""
    (mh, mw), (sh, sw) = plan.window, plan.shift
    low = ((torch.arange(mh) >= mh - sh) & down)[:, None].expand(mh, mw).flatten()
    far = ((torch.arange(mw) >= mw - sw) & right)[None, :].expand(mh, mw).flatten()
    return (low[:, None] != low) | (far[:, None] != far)


def sum_by_offset(of_bias: Tensor, window: Pair) -> Tensor:
    """Returns the gradient of the bias table: that of the bias, summed over the pairs with each offset.

    The order of the sums is fixed, so that every run gives the same.

    Shapes: (heads, N, N) -> ((2 Mh - 1)(2 Mw - 1), heads).

    >>> sum_by_offset(torch.tensor([[[1.0, 2.0], [4.0, 8.0]]]), (1, 2)).flatten()
    tensor([2., 9., 4.])
    """
    (mh, mw), heads = window, of_bias.shape[0]
    # Keys counted backwards, the table's row is query + key: its gradient is that of a sliding window.
    turned = of_bias.unflatten(2, window).unflatten(1, window).flip(3, 4)
    columns = torch.ops.aten.unfold_backward(turned, [heads, mh, 2 * mw - 1, mh], 2, mw, 1)
    table = torch.ops.aten.unfold_backward(columns, [heads, 2 * mh - 1, 2 * mw - 1], 1, mh, 1)
    # Contiguous, as the fake of the operator promises, and as training on several processes wants gradients.
    return table.flatten(1).T.clone(memory_format=torch.contiguous_format)
