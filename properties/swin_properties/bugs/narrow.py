"""Planted bugs of precision: some numbers have fewer bits than the implementation says."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from swin_properties.budget.precision import PRECISIONS, Precision
from swin_properties.bugs.gallery import bug, replaces
from swin_properties.bugs.layers import as_norm, mean_square, tanh_form

LINEAR = "layers.linear"
SMALL_ERRORS = "Errors of 5e-4 of the values: accuracy hardly shows them."


def rounded(x: Any, precision: Precision) -> Any:
    """Rounds to a precision, a complex number in both its parts, and keeps the type.

    >>> rounded(np.array([1.0 + 2.0**-12]), PRECISIONS["float16"])
    array([1.])
    """
    if np.iscomplexobj(x):
        return rounded(x.real, precision) + 1j * rounded(x.imag, precision)
    return precision.rounded(x).astype(np.asarray(x).dtype)


in_half = partial(rounded, precision=PRECISIONS["float16"])
in_tf32 = partial(rounded, precision=replace(PRECISIONS["tf32"], name="a factor of tf32", bits=11))


@bug(
    "weights-in-half",
    "The weights of linear layers are kept in float16.",
    SMALL_ERRORS,
    "Ports to ggml and converters, which store weights in half precision whatever they are asked.",
    component="mlp, patch_embed, patch_merging, window_attention",
    when="numbers that use all bits",
)
@replaces(LINEAR)
def weights_in_half(original: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    return original(x, in_half(weight), bias)


@bug(
    "table-in-half",
    "The relative position bias table is kept in float16.",
    SMALL_ERRORS,
    "Ports to ggml; fused attention that takes its bias in half precision.",
    component="relative_position_bias",
    when="numbers that use all bits",
)
@replaces("relative_position.relative_position_bias")
def table_in_half(original: Any, table: Any, window_size: Any) -> Any:
    return original(in_half(table), window_size)


@bug(
    "input-in-half",
    "Images are rounded to float16.",
    SMALL_ERRORS,
    "Data loaders and preprocessors that work in half precision.",
    component="patch_embed",
    when="numbers that use all bits",
)
@replaces("patches.patch_embed")
def input_in_half(original: Any, images: Any, *args: Any) -> Any:
    return original(in_half(images), *args)


@bug(
    "products-in-tf32",
    "Linear layers multiply with 11 bits of each factor.",
    SMALL_ERRORS,
    "PyTorch on GPUs where TF32 is allowed, called float32.",
    component="mlp, patch_embed, patch_merging, window_attention",
    only_when="",
)
@replaces(LINEAR)
def products_in_tf32(original: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    return original(in_tf32(x), in_tf32(weight), bias)


@bug(
    "softmax-in-half",
    "The softmax is rounded to float16.",
    SMALL_ERRORS,
    component="window_attention",
    only_when="a window of more than one token",
)
@replaces("layers.softmax")
def softmax_in_half(original: Any, x: Any) -> Any:
    return in_half(original(x))


@bug(
    "sums-in-half",
    "LayerNorm's mean is rounded to float16.",
    "Grows with the mean of the token.",
    component="layer_norm",
    only_when="",
)
@as_norm
def sums_in_half(x: Any, mean: Any, eps: float) -> Any:
    centred = x - in_half(mean)
    return centred / np.sqrt(mean_square(centred) + eps)


@bug(
    "gelu-half-table",
    "GELU is looked up in a table of float16, of the tanh form.",
    SMALL_ERRORS,
    "ggml, llama.cpp issue 29252.",
    component="mlp",
    only_when="",
)
@replaces("layers.gelu")
def gelu_half_table(original: Any, x: Any) -> Any:
    looked_up = in_half(tanh_form(in_half(x)))
    return np.where(x.real <= -10, 0.0 * x, np.where(x.real >= 10, x, looked_up))
