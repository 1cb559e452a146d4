"""The network of Swin V2: patches, then stages, then the classifier's head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from swin_reference.block import Kept
from swin_reference.block_v2 import stage_v2_blocks, swin_v2_patch_merging
from swin_reference.config_v2 import SwinV2Config
from swin_reference.conventions import Convention, convention_named
from swin_reference.embedding import embed_images
from swin_reference.network import classify
from swin_reference.rules_v2 import nominal_grid
from swin_reference.types import Inexact, Params


def swin_v2_features(
    images: Inexact[np.ndarray, "batch colours height width"],
    params: Params,
    config: SwinV2Config,
    kept: Sequence[Sequence[Kept]] | None = None,
    convention: Convention | None = None,
) -> list[Any]:
    """Returns the map of every stage, before its merge and without a norm, shaped as in `swin_features`.

    (Liu et al. 2022, figure 1.)

    Errors: those of `swin_features`.

    >>> from swin_reference.parameters import hot_parameters
    >>> from swin_reference.parameters_v2 import parameter_v2_shapes
    >>> config = SwinV2Config(embed_dim=4, depths=(1, 1), num_heads=(1, 2), window_size=2, num_classes=3)
    >>> params = hot_parameters(parameter_v2_shapes(config), seed=0)
    >>> [y.shape for y in swin_v2_features(np.ones((1, 3, 16, 16)), params, config)]
    [(1, 4, 4, 4), (1, 2, 2, 8)]
    """
    convention = convention_named(config.convention) if convention is None else convention
    x = embed_images(images, params, config, convention)
    features = []
    stages = zip(params["layers"], config.depths, config.num_heads, strict=True)
    for k, (stage, depth, heads) in enumerate(stages):
        kept_stage = None if kept is None else kept[k]
        trained = config.pretrained_window(k)
        grid = nominal_grid(config, k) if convention.grid == "built-nominal" else None
        x = stage_v2_blocks(x, stage, depth, heads, config.windows[k], kept_stage, trained, convention, grid)
        features.append(x)
        if "downsample" in stage:
            x = swin_v2_patch_merging(x, stage["downsample"], convention)
    return features


def swin_v2_transformer(
    images: Inexact[np.ndarray, "batch colours height width"],
    params: Params,
    config: SwinV2Config,
    kept: Sequence[Sequence[Kept]] | None = None,
    convention: Convention | None = None,
) -> Inexact[np.ndarray, "batch classes"]:
    """Returns the class logits: head(mean over tokens of norm(the last stage's map)), as in V1.

    Errors: those of `swin_v2_features`.

    >>> from swin_reference.parameters import hot_parameters
    >>> from swin_reference.parameters_v2 import parameter_v2_shapes
    >>> config = SwinV2Config(embed_dim=4, depths=(1, 1), num_heads=(1, 2), window_size=2, num_classes=3)
    >>> params = hot_parameters(parameter_v2_shapes(config), seed=0)
    >>> swin_v2_transformer(np.ones((1, 3, 16, 16)), params, config).shape
    (1, 3)
    """
    return classify(swin_v2_features(images, params, config, kept, convention)[-1], params, config)
