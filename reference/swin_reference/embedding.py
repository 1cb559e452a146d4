"""What the networks of Swin and Swin V2 do alike with images: embed them, and add their positions."""

from __future__ import annotations

import numpy as np

from swin_reference.config import SwinConfig
from swin_reference.conventions import Convention
from swin_reference.patches import patch_embed
from swin_reference.rules import check_image, stage_grids
from swin_reference.types import Inexact, Params


def embed_images(
    images: Inexact[np.ndarray, "batch colours height width"],
    params: Params,
    config: SwinConfig,
    convention: Convention,
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Returns the tokens of images: their patches, and the absolute position embedding if there is one.

    Errors: those of `patch_embed` and `add_position_embedding`; `Rejected` for a size of image that the
    convention rejects.

    >>> from swin_reference.conventions import CANONICAL
    >>> proj = {"weight": np.ones((1, 1, 2, 2)), "bias": np.zeros(1)}
    >>> config = SwinConfig(patch_size=2, in_channels=1)
    >>> embed_images(np.ones((1, 1, 2, 4)), {"patch_embed": {"proj": proj}}, config, CANONICAL).ravel()
    array([4., 4.])
    """
    check_image(images.shape[2:], config, convention)
    x = patch_embed(images, params["patch_embed"], config.patch_size, convention)
    if not config.absolute_position_embedding:
        return x
    return add_position_embedding(x, params["absolute_pos_embed"], stage_grids(config, convention)[0])


def add_position_embedding(
    x: Inexact[np.ndarray, "batch height width channels"],
    embedding: Inexact[np.ndarray, "1 tokens channels"],
    grid: tuple[int, int],
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Adds the absolute position embedding, one vector for each token, row by row.

    y[b, h, w] = x[b, h, w] + embedding[0, h W + w].  (Official code: ``ape``.)

    Errors: ``ValueError`` unless the grid of ``x`` is ``grid``, for which the embedding was made.

    >>> add_position_embedding(np.zeros((1, 2, 2, 1)), np.arange(4.0).reshape(1, 4, 1), (2, 2)).ravel()
    array([0., 1., 2., 3.])
    """
    if x.shape[1:3] != grid:
        raise ValueError(
            f"an absolute position embedding fits the grid it was made for, got {x.shape[1]}x{x.shape[2]} "
            f"and an embedding of {grid[0]}x{grid[1]}: feed images of config.image_size"
        )
    return x + embedding.reshape(1, *x.shape[1:])
