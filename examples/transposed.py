"""A relative position index that confuses height and width: an example of broken laws."""

import numpy as np
import swin_reference

precision = "float64"


def relative_position_index(window_size):
    """The meshgrid is made in (x, y) order: right for square windows only."""
    mh, mw = window_size if isinstance(window_size, tuple) else (window_size, window_size)
    w, h = (axis.ravel() for axis in np.meshgrid(np.arange(mh), np.arange(mw)))
    dh, dw = h[:, None] - h[None, :], w[:, None] - w[None, :]
    return (dh + mh - 1) * (2 * mw - 1) + (dw + mw - 1)


def relative_position_bias(table, window_size):
    """Is right: it calls the oracle."""
    return swin_reference.relative_position_bias(table, window_size)
