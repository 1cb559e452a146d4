"""The network: patches, then stages, then the classifier's head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from swin_reference.block import Kept, stage_blocks
from swin_reference.config import SwinConfig
from swin_reference.conventions import Convention, convention_named
from swin_reference.embedding import embed_images
from swin_reference.layers import layer_norm, linear
from swin_reference.patches import patch_merging
from swin_reference.types import Inexact, Params


def swin_features(
    images: Inexact[np.ndarray, "batch colours height width"],
    params: Params,
    config: SwinConfig,
    kept: Sequence[Sequence[Kept]] | None = None,
    convention: Convention | None = None,
) -> list[Any]:
    """Returns the map of every stage, before its merge and without a norm.

    The map of stage k, counted from 0, is (B, H / (p 2^k), W / (p 2^k), embed_dim 2^k) with patches of p
    pixels, sides rounded up.  ``kept`` has one list for each stage.  A ``convention`` takes the place of
    ``config.convention``.  (Liu et al. 2021, figure 3a.)

    Errors: ``ValueError`` for parameters that do not fit the configuration; `Rejected` for an image, or a
    stage's grid, that the convention rejects.

    >>> from swin_reference.parameters import hot_parameters, parameter_shapes
    >>> config = SwinConfig(embed_dim=4, depths=(1, 1), num_heads=(1, 2), window_size=2, num_classes=3)
    >>> params = hot_parameters(parameter_shapes(config), seed=0)
    >>> [y.shape for y in swin_features(np.ones((1, 3, 16, 16)), params, config)]
    [(1, 4, 4, 4), (1, 2, 2, 8)]
    """
    convention = convention_named(config.convention) if convention is None else convention
    x = embed_images(images, params, config, convention)
    features = []
    stages = zip(params["layers"], config.depths, config.num_heads, strict=True)
    for k, (stage, depth, heads) in enumerate(stages):
        kept_stage = None if kept is None else kept[k]
        x = stage_blocks(x, stage, depth, heads, config.windows[k], kept_stage, config.qk_scale, convention)
        features.append(x)
        if "downsample" in stage:
            x = patch_merging(x, stage["downsample"], convention)
    return features


def swin_transformer(
    images: Inexact[np.ndarray, "batch colours height width"],
    params: Params,
    config: SwinConfig,
    kept: Sequence[Sequence[Kept]] | None = None,
    convention: Convention | None = None,
) -> Inexact[np.ndarray, "batch classes"]:
    """Returns the class logits: head(mean over tokens of norm(the last stage's map)).

    With ``num_classes`` 0 there is no head and the mean, (B, C), is returned.  ``params`` holds
    ``patch_embed``, ``layers``, ``norm``, ``head`` and, if the configuration has one,
    ``absolute_pos_embed``.  (Liu et al.  2021, section 3.1.)

    Errors: those of `swin_features`.

    >>> from swin_reference.parameters import hot_parameters, parameter_shapes
    >>> config = SwinConfig(embed_dim=4, depths=(1, 1), num_heads=(1, 2), window_size=2, num_classes=3)
    >>> params = hot_parameters(parameter_shapes(config), seed=0)
    >>> swin_transformer(np.ones((1, 3, 16, 16)), params, config).shape
    (1, 3)
    """
    return classify(swin_features(images, params, config, kept, convention)[-1], params, config)


def classify(
    x: Inexact[np.ndarray, "batch height width channels"], params: Params, config: SwinConfig
) -> Inexact[np.ndarray, "batch classes"]:
    """Returns head(mean over tokens of norm(x)): what follows the last stage's map.

    With ``num_classes`` 0 there is no head and the mean, (B, C), is returned.

    >>> norm = {"weight": np.ones(2), "bias": np.array([0.0, 1.0])}
    >>> classify(np.array([[[[1.0, 3.0]]]]), {"norm": norm}, SwinConfig(num_classes=0)).round(3)
    array([[-1.,  2.]])
    """
    last = layer_norm(x, params["norm"])
    batch, height, width, channels = last.shape
    pooled = last.reshape(batch, height * width, channels).sum(axis=1) / (height * width)  # (B, C)
    return linear(pooled, **params["head"]) if config.num_classes else pooled
