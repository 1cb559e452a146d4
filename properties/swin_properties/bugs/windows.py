"""Planted bugs of partition, reverse, shift and padding."""

from __future__ import annotations

from typing import Any

import numpy as np
from swin_reference.sizes import pair, round_up, window_pair

from swin_properties.bugs.gallery import Replacements, bug, replaces
from swin_properties.bugs.rolled import attend_rolled

SCRAMBLED = "Checkpoints load and accuracy collapses; training from scratch silently learns something else."


def cut(x: Any, window_size: Any, order: tuple[int, ...]) -> Any:
    """Returns a partition whose axes (b, i, u, j, v, c) come out in some order, flattened to windows."""
    (mh, mw), (batch, height, width, channels) = window_pair(window_size), x.shape
    x = x.reshape(batch, height // mh, mh, width // mw, mw, channels)
    return x.transpose(order).reshape(-1, mh, mw, channels)


@bug(
    "windows-by-columns",
    "Windows are numbered by columns, not by rows.",
    SCRAMBLED,
    component="window_partition",
    when="several windows along both axes",
)
@replaces("windows.window_partition")
def windows_by_columns(original: Any, x: Any, window_size: Any) -> Any:
    return cut(x, window_size, (0, 3, 1, 2, 4, 5))


@bug(
    "window-transposed",
    "Inside a window, rows and columns are exchanged.",
    SCRAMBLED,
    component="window_partition",
    when="a window of several rows and columns",
)
@replaces("windows.window_partition")
def window_transposed(original: Any, x: Any, window_size: Any) -> Any:
    return cut(x, window_size, (0, 1, 3, 4, 2, 5))


@bug(
    "windows-not-permuted",
    "The grid is reshaped into windows without the permute: a window is a run of a row.",
    "Trains, but attends along rows only; with the matching reverse nothing looks wrong from outside.",
    "Rewrites that drop `permute(0, 1, 3, 2, 4, 5)` for speed.",
    component="window_partition",
    when="several windows along the columns; a window of several rows",
)
def windows_not_permuted(o: Any) -> Replacements:
    def partition(x: Any, window_size: Any) -> Any:
        o.windows.whole_windows(*x.shape[1:3], window_size)
        return x.reshape(-1, *window_pair(window_size), x.shape[-1])

    def reverse(windows: Any, window_size: Any, height: int, width: int) -> Any:
        return windows.reshape(-1, height, width, windows.shape[-1])

    return {"windows.window_partition": partition, "windows.window_reverse": reverse}


@bug(
    "windows-batch-last",
    "Windows are ordered by their place first and by image second, in partition and in reverse.",
    "The two are consistent; with a mask for each window, images of a batch get each other's masks.",
    "Kernels that make the window the outer axis of the grid; `repeat` where `tile` is meant.",
    component="window_partition",
    when="several images; several windows",
)
def windows_batch_last(o: Any) -> Replacements:
    def partition(x: Any, window_size: Any) -> Any:
        return cut(x, window_size, (1, 3, 0, 2, 4, 5))

    def reverse(windows: Any, window_size: Any, height: int, width: int) -> Any:
        (mh, mw), channels = window_pair(window_size), windows.shape[-1]
        x = windows.reshape(height // mh, width // mw, -1, mh, mw, channels)
        return x.transpose(2, 0, 3, 1, 4, 5).reshape(-1, height, width, channels)

    return {"windows.window_partition": partition, "windows.window_reverse": reverse}


@bug(
    "reverse-swaps-sides",
    "The reverse takes height for width.",
    "Right for square grids, garbage for others: detection, whose images are not square, shows it first.",
    "Code for square grids only; the official fused window kernel is wrong when H != W.",
    component="window_reverse",
    only_when="a height different from the width",
)
@replaces("windows.window_reverse")
def reverse_swaps_sides(original: Any, windows: Any, window_size: Any, height: int, width: int) -> Any:
    mh, mw = window_pair(window_size)
    if width % mh or height % mw:
        return original(windows, window_size, height, width)
    x = windows.reshape(-1, width // mh, height // mw, mh, mw, windows.shape[-1])
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[-1])


@bug(
    "windows-numbered-by-height",
    "Window (i, j) has the number i (H / M) + j, not i (W / M) + j.",
    "Right for as many rows as columns of windows; for others, windows overwrite each other.",
    "A public port to C++.",
    component="window_partition",
    when="unlike numbers of windows along the two axes; several windows along the rows",
)
@replaces("windows.window_partition")
def windows_numbered_by_height(original: Any, x: Any, window_size: Any) -> Any:
    (mh, mw), (batch, height, width, channels) = window_pair(window_size), x.shape
    rows, columns = height // mh, width // mw
    right = original(x, window_size).reshape(batch, rows, columns, mh, mw, channels)
    slots = np.zeros_like(right, shape=(batch, rows * (rows + columns), mh, mw, channels))
    for i in range(rows):
        slots[:, i * rows : i * rows + columns] = right[:, i]
    return slots[:, : rows * columns].reshape(-1, mh, mw, channels)


@bug(
    "reverse-not-permuted",
    "The reverse reshapes windows into the grid without the permute.",
    SCRAMBLED,
    "A public super-resolution network, which throws the permuted copy away.",
    component="window_reverse",
    when="several windows along the columns; a window of several rows",
)
@replaces("windows.window_reverse")
def reverse_not_permuted(original: Any, windows: Any, window_size: Any, height: int, width: int) -> Any:
    return windows.reshape(-1, height, width, windows.shape[-1])


@bug(
    "reverse-channels-first",
    "The reverse reads windows that lie as (C, Mh, Mw) as (Mh, Mw, C).",
    SCRAMBLED,
    "A public super-resolution network, which works on (B, C, H, W).",
    component="window_reverse",
    when="several channels; a window of more than one token",
)
@replaces("windows.window_reverse")
def reverse_channels_first(original: Any, windows: Any, *sizes: Any) -> Any:
    return original(windows.transpose(0, 3, 1, 2).reshape(windows.shape), *sizes)


@bug(
    "roll-sign",
    "The roll goes by +s and back by -s, so that the mask is made for another shift.",
    "Border windows mix opposite edges of the image and separate neighbours; accuracy drops a little.",
    "mlx-image 0.1.10, whose own test asserts it.",
    component="cyclic_shift, reverse_cyclic_shift",
    when="a shift that two rolls do not undo",
)
def roll_sign(o: Any) -> Replacements:
    there, back = o.windows.cyclic_shift, o.windows.reverse_cyclic_shift
    return {"windows.cyclic_shift": back, "windows.reverse_cyclic_shift": there}


@bug(
    "no-reverse-shift",
    "The grid is not shifted back.",
    "Every shifted block moves the image by s tokens.",
    component="reverse_cyclic_shift",
    when="a shift that moves tokens",
)
@replaces("windows.reverse_cyclic_shift")
def no_reverse_shift(original: Any, x: Any, shift_size: Any) -> Any:
    return x


@bug(
    "shift-axes-swapped",
    "The height's shift is applied to the width, and the width's to the height.",
    "Right for square windows; wrong for rectangular ones and for shifts on one axis.",
    component="cyclic_shift, reverse_cyclic_shift",
    only_when="shifts that differ",
)
@replaces("windows.cyclic_shift", "windows.reverse_cyclic_shift")
def shift_axes_swapped(original: Any, x: Any, shift_size: Any) -> Any:
    return original(x, pair(shift_size)[::-1])


@bug(
    "shift-height-only",
    "Only the rows are rolled.",
    "Windows never connect left to right at their borders; the mask hides half of every border window.",
    component="cyclic_shift, reverse_cyclic_shift",
    only_when="a shift along the columns",
)
@replaces("windows.cyclic_shift", "windows.reverse_cyclic_shift")
def shift_height_only(original: Any, x: Any, shift_size: Any) -> Any:
    return original(x, (pair(shift_size)[0], 0))


@bug(
    "shift-of-rows-for-both",
    "The roll is by the height's shift along both axes, the roll back by each axis's own.",
    "Right where both shifts are equal; the map moves where they are not.",
    "HEAL-SWIN.",
    component="cyclic_shift",
    only_when="shifts that differ",
)
@replaces("windows.cyclic_shift")
def shift_of_rows_for_both(original: Any, x: Any, shift_size: Any) -> Any:
    return original(x, (pair(shift_size)[0],) * 2)


@bug(
    "roll-then-pad",
    "The grid is rolled first and padded after: the mask of the padded grid no longer fits.",
    "Where the grid is no multiple of the window, tokens of opposite edges attend to each other.",
    "timm 1.0.31, issue 2438: on a 9x9 grid with window 4, token (0,0) changes (6,0).",
    component="shifted_window_attention",
    only_when="a shift along a padded axis",
)
def roll_then_pad(o: Any) -> Replacements:
    w = o.windows

    def shifted(
        x: Any, params: Any, heads: int, window_size: Any, shift_size: Any, qk_scale: Any = None, *_: Any
    ) -> Any:
        rolled = w.pad_to_multiple(w.cyclic_shift(x, shift_size), window_size)
        mask = w.shifted_window_mask(*rolled.shape[1:3], window_size, shift_size)
        y = attend_rolled(o, rolled, mask, params, heads, window_size, qk_scale)
        return w.reverse_cyclic_shift(y[:, : x.shape[1], : x.shape[2]], shift_size)

    return {"attention.shifted_window_attention": shifted}


@bug(
    "pad-top-left",
    "Grids and images are padded at the top and left.",
    "Every grid that is no multiple of the window is cut in other places than in training.",
    component="patch_embed, patch_merging, shifted_window_attention",
    when="a padded grid",
)
@replaces("windows.pad_to_multiple")
def pad_top_left(original: Any, x: Any, multiple: Any) -> Any:
    return np.flip(original(np.flip(x, (1, 2)), multiple), (1, 2))


@bug(
    "pad-by-edge",
    "Padding repeats the last row and column instead of zeros.",
    "Padded keys carry content: the border tokens are counted several times.",
    component="patch_embed, patch_merging, shifted_window_attention",
    when="a padded grid",
)
@replaces("windows.pad_to_multiple")
def pad_by_edge(original: Any, x: Any, multiple: Any) -> Any:
    (mh, mw), (height, width) = window_pair(multiple), x.shape[1:3]
    h = np.minimum(np.arange(round_up(height, mh)), height - 1)
    w = np.minimum(np.arange(round_up(width, mw)), width - 1)
    return x[:, h][:, :, w]


@bug(
    "crop-wrong-side",
    "After attention the padding is cropped at the top and left.",
    "Every block moves the whole map by the padding.",
    component="shifted_window_attention",
    when="a padded grid",
)
def crop_wrong_side(o: Any) -> Replacements:
    original = o.attention.shifted_window_attention

    def shifted(x: Any, params: Any, num_heads: int, window_size: Any, *rest: Any) -> Any:
        height, width = x.shape[1:3]
        whole = original(o.windows.pad_to_multiple(x, window_size), params, num_heads, window_size, *rest)
        return whole[:, whole.shape[1] - height :, whole.shape[2] - width :]

    return {"attention.shifted_window_attention": shifted}


@bug(
    "pad-centred",
    "A grid is padded on both sides, half and half.",
    "Windows are cut in other places than in training.",
    "aurora.",
    component="shifted_window_attention",
    only_when="a padded grid",
)
def pad_centred(o: Any) -> Replacements:
    w = o.windows

    def shifted(
        x: Any, params: Any, heads: int, window_size: Any, shift_size: Any, qk_scale: Any = None, *_: Any
    ) -> Any:
        height, width = x.shape[1:3]
        padded = [round_up(n, m) - n for n, m in zip((height, width), window_pair(window_size), strict=True)]
        top, left = (p // 2 for p in padded)
        x = np.pad(x, ((0, 0), (top, padded[0] - top), (left, padded[1] - left), (0, 0)))
        mask = w.shifted_window_mask(*x.shape[1:3], window_size, shift_size)
        y = attend_rolled(o, w.cyclic_shift(x, shift_size), mask, params, heads, window_size, qk_scale)
        return w.reverse_cyclic_shift(y, shift_size)[:, top : top + height, left : left + width]

    return {"attention.shifted_window_attention": shifted}


@bug(
    "crop-then-reverse",
    "The padding is cropped first, and the grid shifted back after.",
    "Right for whole windows; on padded grids real tokens are cropped, and padding stays.",
    "keras-hub 0.32.",
    component="shifted_window_attention",
    only_when="a shift along a padded axis",
)
def crop_then_reverse(o: Any) -> Replacements:
    w = o.windows

    def shifted(
        x: Any, params: Any, heads: int, window_size: Any, shift_size: Any, qk_scale: Any = None, *_: Any
    ) -> Any:
        rolled = w.cyclic_shift(w.pad_to_multiple(x, window_size), shift_size)
        mask = w.shifted_window_mask(*rolled.shape[1:3], window_size, shift_size)
        y = attend_rolled(o, rolled, mask, params, heads, window_size, qk_scale)
        return w.reverse_cyclic_shift(y[:, : x.shape[1], : x.shape[2]], shift_size)

    return {"attention.shifted_window_attention": shifted}


@bug(
    "roll-rounded-up",
    "The roll is by ceil(M / 2), the mask and the roll back by floor(M / 2).",
    "Wrong for odd windows: every public checkpoint of Swin V1 at 224 has window 7.",
    "Two public copies of V1, which roll by `-M // 2`.",
    component="shifted_window_attention",
    only_when="a shift along an axis whose window side is odd",
)
def roll_rounded_up(o: Any) -> Replacements:
    w = o.windows

    def shifted(
        x: Any, params: Any, heads: int, window_size: Any, shift_size: Any, qk_scale: Any = None, *_: Any
    ) -> Any:
        sides = zip(pair(shift_size), window_pair(window_size), strict=True)
        further = tuple(-(-m // 2) if s and s == m // 2 else s for s, m in sides)
        rolled = w.cyclic_shift(w.pad_to_multiple(x, window_size), further)
        mask = w.shifted_window_mask(*rolled.shape[1:3], window_size, shift_size)
        y = attend_rolled(o, rolled, mask, params, heads, window_size, qk_scale)
        return w.reverse_cyclic_shift(y, shift_size)[:, : x.shape[1], : x.shape[2]]

    return {"attention.shifted_window_attention": shifted}
