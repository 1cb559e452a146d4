"""A shifted window attention without the mask: an example of broken laws."""

import swin_reference as swin
from swin_reference.windows import pad_to_multiple

precision = "float32"


def shifted_window_attention(x, params, num_heads, window_size, shift_size):
    """Is right without a shift; with a shift, the first rows attend to the last rows."""
    _, H, W, C = x.shape
    padded = pad_to_multiple(x, window_size)
    windows = swin.window_partition(swin.cyclic_shift(padded, shift_size), window_size)
    tokens = windows.reshape(len(windows), -1, C)
    attended = swin.window_attention(tokens, params, num_heads, window_size)
    grid = swin.window_reverse(attended.reshape(windows.shape), window_size, *padded.shape[1:3])
    return swin.reverse_cyclic_shift(grid, shift_size)[:, :H, :W]
