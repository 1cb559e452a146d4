"""Laws of the whole network's symmetries: they compare an implementation with itself and need no oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from swin_properties.adapters.contract import Asked
from swin_properties.cases.case import NetCase
from swin_properties.cases.case_v2 import NetV2Case
from swin_properties.cases.strategies import networks
from swin_properties.laws.law import law

MODEL, MAPS = ["swin_transformer"], ["swin_features"]


@law(
    "swin_transformer/own-sample",
    MODEL,
    networks(deepest=2, enough=False),
    "exact",
    compares_with="itself",
    in_v2=True,
)
def own_sample(swin: Asked, case: NetCase) -> Any:
    """An image's logits do not depend on the other images of the batch, bitwise."""
    case = replace(case, batch=3)
    x, args = case.images(), (case.network(), case.config)
    changed = int(case.rng(3).integers(3))
    nudged = x.copy()
    nudged[changed] = -x[changed, ::-1]
    others = np.arange(3) != changed
    before, after = (swin.swin_transformer(images, *args)[others] for images in (x, nudged))
    return after, before


@law(
    "swin_transformer/batch-order", MODEL, networks(deepest=2, longest=4), compares_with="itself", in_v2=True
)
def batch_order(swin: Asked, case: NetCase) -> Any:
    """Permuting the images permutes the logits, and an image's logits are the same in a smaller batch."""
    case = replace(case, batch=max(2, case.batch))
    x, args = case.images(), (case.network(), case.config)
    order = case.rng(3).permutation(case.batch)
    y = swin.swin_transformer(x, *args)
    halves = [swin.swin_transformer(half, *args) for half in np.array_split(x, 2)]
    return [(swin.swin_transformer(x[order], *args), y[order]), (np.concatenate(halves), y)]


@law("swin_features/roll", MAPS, networks(maps=True, rolls=True), compares_with="itself", in_v2=True)
def features_roll(swin: Asked, case: NetCase) -> Any:
    """Where nothing is shifted, rolling the image by a window of the last stage rolls every map."""
    x, args, stages = case.images(), (case.network(), case.config), len(case.depths)
    step = tuple(p * m << stages - 1 for p, m in zip(case.patch, case.window, strict=True))
    rolled = swin.swin_features(np.roll(x, step, (2, 3)), *args)
    maps = swin.swin_features(x, *args)
    return [
        (after, np.roll(map_, tuple(m << stages - 1 - k for m in case.window), (1, 2)))
        for k, (after, map_) in enumerate(zip(rolled, maps, strict=True))
    ]


def transposed(case: NetCase, params: Any, name: str = "", window: tuple[int, int] = (1, 1)) -> Any:
    """Returns a network's parameters with height and width swapped in each that has them."""
    if name == "layers":
        stages = zip(params, case.stage_windows, strict=True)
        return [transposed(case, stage, "", stage_window) for stage, stage_window in stages]
    if isinstance(params, list):
        return [transposed(case, child, "", window) for child in params]
    if name == "cpb_mlp":
        return params | {"0": params["0"] | {"weight": np.ascontiguousarray(params["0"]["weight"][:, ::-1])}}
    if name == "downsample":  # of the merge's four neighbours, (1, 0) and (0, 1) change places
        return {
            key: {
                leaf: np.concatenate([np.split(x, 4, -1)[i] for i in (0, 2, 1, 3)], -1)
                for leaf, x in child.items()
            }
            if key == "reduction" or not isinstance(case, NetV2Case)  # V2's norm is of the merged token
            else child
            for key, child in params.items()
        }
    if isinstance(params, Mapping):
        return {key: transposed(case, child, key, window) for key, child in params.items()}
    if name == "relative_position_bias_table":
        # A window that the convention shrinks may take a part of the whole one's table.
        whole = len(params) != prod(2 * side - 1 for side in window)
        rows, columns = (2 * side - 1 for side in (case.window if whole else window))
        return params.reshape(rows, columns, -1).swapaxes(0, 1).reshape(params.shape)
    if name == "absolute_pos_embed":
        return params.reshape(1, *case.grid, -1).swapaxes(1, 2).reshape(params.shape)
    return params.swapaxes(2, 3) if params.ndim == 4 else params  # the embedding's convolution


@law("swin_features/transpose", MAPS, networks(maps=True), compares_with="itself", in_v2=True)
def features_transpose(swin: Asked, case: NetCase) -> Any:
    """Swapping height and width in image, sizes and the parameters that have them swaps them in every map."""
    turned = replace(case, image=case.image[::-1], patch=case.patch[::-1], window=case.window[::-1])
    x, params = case.images(), case.network()
    images = np.ascontiguousarray(x.swapaxes(2, 3))
    got = swin.swin_features(images, transposed(case, params), turned.config)
    maps = swin.swin_features(x, params, case.config)
    return [(after.swapaxes(1, 2), map_) for after, map_ in zip(got, maps, strict=True)]


@law("swin_transformer/zeros", MODEL, networks(enough=False), "exact", compares_with="definition", in_v2=True)
def zeros(swin: Asked, case: NetCase) -> Any:
    """Images of zeros have finite logits, with biases and without any."""
    params = case.network()
    unbiased = without_biases(params)
    images = np.zeros(case.images().shape)
    finite = [np.isfinite(swin.swin_transformer(images, p, case.config)) for p in (params, unbiased)]
    return [(one, np.ones(one.shape, bool)) for one in finite]


def without_biases(params: Any) -> Any:
    """Returns parameters at any nesting level with every bias and the position embedding 0.

    >>> without_biases({"head": {"bias": np.ones(1), "weight": np.ones(1)}})
    {'head': {'bias': array([0.]), 'weight': array([1.])}}
    """
    if isinstance(params, list):
        return [without_biases(child) for child in params]
    return {
        name: without_biases(child)
        if isinstance(child, (Mapping, list))
        else child * (not name.endswith("bias") and name != "absolute_pos_embed")
        for name, child in params.items()
    }
