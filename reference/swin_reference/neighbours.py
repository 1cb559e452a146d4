"""What the merges of Swin and Swin V2 do alike: put 2x2 tokens side by side."""

from __future__ import annotations

import numpy as np

from swin_reference.conventions import Convention
from swin_reference.rules import merged_grid
from swin_reference.types import Inexact
from swin_reference.windows import pad_to_multiple


def join_neighbours(
    x: Inexact[np.ndarray, "batch height width channels"], convention: Convention
) -> Inexact[np.ndarray, "batch half_height half_width channels_times_4"]:
    """Returns 2x2 tokens side by side, in the order (0,0), (1,0), (0,1), (1,1) of their (row, column).

    Checkpoints depend on the order.  An odd side is padded with zeros at the bottom or right.  (Official
    code: ``PatchMerging``.)

    Errors: `Rejected` for an odd side that the convention rejects.

    >>> from swin_reference.conventions import CANONICAL
    >>> join_neighbours(np.arange(4.0).reshape(1, 2, 2, 1), CANONICAL)
    array([[[[0., 2., 1., 3.]]]])
    """
    merged_grid(x.shape[1:3], convention)  # raises `Rejected`
    x = pad_to_multiple(x, 2)
    return np.concatenate([x[:, dh::2, dw::2] for dw in (0, 1) for dh in (0, 1)], axis=-1)
