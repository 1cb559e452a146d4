"""Laws of the shifted-window mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import GridCase
from swin_properties.cases.strategies import SmallGrids, grids
from swin_properties.laws.law import law

NEEDS = ["shifted_window_mask"]


def visible(swin: Asked, case: GridCase) -> Any:
    """Returns which tokens may attend to each other, (nW, N, N): True where the mask is 0."""
    return swin.shifted_window_mask(*case.grid, case.window, case.shift) == 0


def truly_visible(case: GridCase) -> Any:
    """Returns the same from the definition: the two tokens of a rolled window are in one true window."""
    (height, width), (mh, mw), (sh, sw) = case.grid, case.window, case.shift
    top, left = (corner.ravel() for corner in np.mgrid[:height:mh, :width:mw])
    u, v = np.divmod(np.arange(mh * mw), mw)
    place = (top[:, None] + u + sh) % height * width + (left[:, None] + v + sw) % width
    return case.together()[place[:, :, None], place[:, None, :]]


@law("shifted_window_mask/definition", NEEDS, grids(whole=True), "exact", compares_with="definition")
def definition(swin: Asked, case: GridCase) -> Any:
    """Two tokens of a window may attend to each other exactly when they are in the same true window."""
    return visible(swin, case), truly_visible(case)


@law("shifted_window_mask/exhaustive", NEEDS, SmallGrids, "exact", compares_with="definition")
def every_small_mask(swin: Asked, case: GridCase) -> Any:
    """For every small window, shift and grid, tokens may attend to each other exactly inside true windows.

    Small grids suffice.  On each axis the mask of a window depends on M, on s, and on whether the window is
    the last of the axis: only there does the roll bring tokens from the other side.  Grids of one window
    (first and last at once), two windows (a first, a last) and three windows (one between) have every kind
    of window.  Two tokens may attend to each other where both axes allow it.
    """
    return visible(swin, case), truly_visible(case)


@law("shifted_window_mask/equivalence", NEEDS, grids(whole=True), "exact", compares_with="itself")
def equivalence(swin: Asked, case: GridCase) -> Any:
    """Which tokens may attend to each other is an equivalence: reflexive, symmetric and transitive."""
    seen = visible(swin, case)
    two_steps = (seen.astype(int) @ seen.astype(int)) > 0
    diagonal = np.diagonal(seen, axis1=1, axis2=2)
    return [
        (diagonal, np.ones(diagonal.shape, bool)),
        (seen, seen.swapaxes(1, 2)),
        (two_steps, seen),
    ]


@law("shifted_window_mask/count", NEEDS, grids(whole=True), "exact", compares_with="definition")
def count(swin: Asked, case: GridCase) -> Any:
    """The mask hides tokens in the last row of windows if sh > 0, in the last column if sw > 0, nowhere
    else.
    """
    rows, columns = case.grid[0] // case.window[0], case.grid[1] // case.window[1]
    row, column = np.indices((rows, columns))
    expected = ((row == rows - 1) & (case.shift[0] > 0)) | ((column == columns - 1) & (case.shift[1] > 0))
    return (~visible(swin, case)).any((1, 2)), expected.ravel()


@law("shifted_window_mask/sign", NEEDS, grids(whole=True), "exact", compares_with="definition")
def sign(swin: Asked, case: GridCase) -> Any:
    """The mask is 0 where a token may attend and negative where not: never positive."""
    mask = swin.shifted_window_mask(*case.grid, case.window, case.shift)
    return mask > 0, np.zeros(mask.shape, bool)
