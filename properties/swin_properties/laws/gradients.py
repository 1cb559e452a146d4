"""Laws of the backward pass, for implementations that offer `vjp`.

``vjp(name, cotangent, *args, **kwargs)`` is the gradient of <cotangent, callable ``name`` of the arguments>:
a tuple with one entry for each positional argument, shaped like the array or the nested parameters, and
None for a size (which may be left out).  Keywords (a mask, drop path's factors) have no gradient here.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import swin_reference
from hypothesis import strategies as st
from swin_reference.parameters import mlp_shapes, norm_shapes

from swin_properties.adapters.arguments import ALL, list_arrays, list_parts
from swin_properties.adapters.contract import Asked
from swin_properties.adapters.implementation import vjp
from swin_properties.cases.case import GridCase, NetCase
from swin_properties.cases.strategies import Seeds, drawn, grids
from swin_properties.laws.attention import random_masks
from swin_properties.laws.law import Derivative, law
from swin_properties.laws.network import stage
from swin_properties.laws.patches import embedding, images

SMALL = 200
"""Elements of an output: few, since the error of a parameter's gradient grows with the number of tokens."""


ALONE = 4
"""Parts of a network that are compared alone in one case."""


def few(case: GridCase) -> GridCase:
    """Returns the case with its batch raised until B H W C reaches `SMALL`."""
    return replace(case, batch=case.batch - 1 + -(-SMALL // (prod(case.grid) * case.channels)))


Whole = grids(whole=True, largest_window=4)
Windows = grids(shifted=False, largest_window=4).map(few)
Biased = Windows.map(lambda case: replace(case, qkv_bias=1))
Shifted = grids(largest_window=4).map(few)
Tokens = grids(shifted=False, largest_window=3, channels=4).map(few)
Normed = grids(("generic", "flat"), shifted=False, largest_window=3, channels=4).map(few)
Blocks = grids(largest_window=3, channels=4).map(few)


@drawn(NetCase)
def small_networks(draw: st.DrawFn) -> NetCase:
    """Draws a network of few parameters, each of which has directions of its own.

    No window has one token: its attention is always 1, so that the gradient of its queries is 0.
    """
    depths = draw(st.sampled_from(((2,), (1, 1))))
    window = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    patch = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    grid = draw(st.integers(2, 3)), draw(st.integers(3, 4))
    return NetCase(
        batch=draw(st.integers(24, 25)),
        recipe="gentle",
        seed=draw(Seeds),
        image=(grid[0] * patch[0], grid[1] * patch[1] - draw(st.integers(0, patch[1] - 1))),
        patch=patch,
        window=window,
        depths=depths,
        heads=tuple(draw(st.sampled_from((1, 2))) for _ in depths),
        embed_dim=draw(st.sampled_from((8, 12))),
        qkv_bias=draw(st.sampled_from((1, 0))),
        patch_norm=draw(st.sampled_from((1, 0))),
        position_embedding=draw(st.sampled_from((0, 1))),
        classes=draw(st.sampled_from((20, 0))),
    )


def cotangent(case: GridCase, shape: tuple[int, ...]) -> Any:
    """Returns a random cotangent, exact in every precision."""
    return case.rng(8).integers(-127, 128, shape) / 64.0


def some_parts(case: NetCase, name: str, args: tuple[Any, ...]) -> tuple[str, ...]:
    """Returns some of a network's parts, other ones with each seed, and all at once: each costs six runs."""
    alone = [part for part, _ in list_parts(list_arrays(name, args)) if part != ALL]
    return *case.rng(9).choice(alone, min(ALONE, len(alone)), replace=False).tolist(), ALL


@law("window_partition/gradient", ["vjp", "window_partition"], Whole, "exact", compares_with="definition")
def partition_gradient(swin: Asked, case: GridCase) -> Any:
    """The gradient of partition is reverse, bitwise."""
    x = case.tokens()
    u = cotangent(case, swin_reference.window_partition(x, case.window).shape)
    expected = swin_reference.window_reverse(u, case.window, *case.grid)
    return vjp(swin, "window_partition", u, x, case.window)["x"], expected


@law("window_reverse/gradient", ["vjp", "window_reverse"], Whole, "exact", compares_with="definition")
def reverse_gradient(swin: Asked, case: GridCase) -> Any:
    """The gradient of reverse is partition, bitwise."""
    windows = case.windows().reshape(-1, *case.window, case.channels)
    u = cotangent(case, (case.batch, *case.grid, case.channels))
    gradient = vjp(swin, "window_reverse", u, windows, case.window, *case.grid)
    return gradient["windows"], swin_reference.window_partition(u, case.window)


@law(
    "cyclic_shift/gradient", ["vjp", "cyclic_shift"], grids(shifted=True), "exact", compares_with="definition"
)
def shift_gradient(swin: Asked, case: GridCase) -> Any:
    """The gradient of the shift is the reverse shift, bitwise."""
    x = case.tokens()
    u = cotangent(case, x.shape)
    expected = swin_reference.reverse_cyclic_shift(u, case.shift)
    return vjp(swin, "cyclic_shift", u, x, case.shift)["x"], expected


@law(
    "relative_position_bias/gradient-counts",
    ["vjp", "relative_position_bias"],
    Windows,
    "exact",
    compares_with="definition",
)
def table_counts(swin: Asked, case: GridCase) -> Any:
    """With a cotangent of ones the table's gradient counts pairs: (Mh - |dh|)(Mw - |dw|) at offset (dh,
    dw).
    """
    table, tokens = case.attention()["relative_position_bias_table"], prod(case.window)
    counts = np.outer(*(m - np.abs(np.arange(1 - m, m)) for m in case.window)).ravel()
    unit = np.ones((case.heads, tokens, tokens))
    gradient = vjp(swin, "relative_position_bias", unit, table, case.window)["table"]
    return gradient, np.repeat(counts[:, None], case.heads, axis=1)


@law(
    "relative_position_bias/gradient",
    ["vjp", "relative_position_bias"],
    Windows,
    "gradient",
    compares_with="oracle",
)
def table_gradient(_: Any, case: GridCase) -> Any:
    """The table's gradient sums the cotangents of all pairs that share an offset, head by head."""
    table = case.attention()["relative_position_bias_table"]
    return Derivative("relative_position_bias", (table, case.window))


@law("layer_norm/gradient", ["vjp", "layer_norm"], Normed, "gradient", compares_with="oracle")
def layer_norm_gradient(_: Any, case: GridCase) -> Any:
    """LayerNorm's gradient by x, gamma and beta is the oracle's: mean and variance depend on x."""
    return Derivative("layer_norm", (case.tokens(), case.hot(norm_shapes(case.channels))))


@law("mlp/gradient", ["vjp", "mlp"], Tokens, "gradient", compares_with="oracle")
def mlp_gradient(_: Any, case: GridCase) -> Any:
    """The MLP's gradient by its input and every parameter is the oracle's, GELU' = Phi(x) + x phi(x)."""
    return Derivative("mlp", (case.tokens(), case.hot(mlp_shapes(case.channels, 2 * case.channels))))


@law("patch_embed/gradient", ["vjp", "patch_embed"], Windows, "gradient", compares_with="oracle")
def embed_gradient(_: Any, case: GridCase) -> Any:
    """The patch embedding's gradient by the image and every parameter is the oracle's."""
    return Derivative("patch_embed", (images(case), embedding(case, norm=True), case.window))


@law(
    "patch_merging/gradient", ["vjp", "patch_merging"], Normed, "gradient", compares_with="oracle", in_v2=True
)
def merging_gradient(_: Any, case: GridCase) -> Any:
    """The merge's gradient by its input and every parameter is the oracle's, for even and odd sides."""
    return Derivative("patch_merging", (case.tokens(), case.merging()))


@law(
    "window_attention/gradient",
    ["vjp", "window_attention"],
    Windows,
    "gradient",
    compares_with="oracle",
    in_v2=True,
)
def window_gradient(_: Any, case: GridCase) -> Any:
    """Window attention's gradient by its input and every parameter is the oracle's."""
    return Derivative("window_attention", (case.windows(), case.attention(), case.heads, case.window))


@law(
    "window_attention/mask-gradient",
    ["vjp", "window_attention.mask"],
    Windows,
    "gradient",
    compares_with="oracle",
    in_v2=True,
)
def mask_gradient(_: Any, case: GridCase) -> Any:
    """Under a mask, no gradient flows between tokens that may not attend to each other."""
    x = case.windows()
    masks = {"mask": random_masks(case, len(x) // case.batch)}
    return Derivative("window_attention", (x, case.attention(), case.heads, case.window), masks)


@law(
    "window_attention/key-bias-gradient",
    ["vjp", "window_attention.params.qkv.bias"],
    Biased,
    "gradient",
    compares_with="definition",
)
def key_bias_gradient(_: Any, case: GridCase) -> Any:
    """The gradient of the key bias is 0: it adds the same to all logits of a query, which softmax ignores."""
    args = case.windows(), case.attention(), case.heads, case.window
    return Derivative("window_attention", args, only=("qkv.bias (key)",), expected=0.0)


@law(
    "shifted_window_attention/gradient",
    ["vjp", "shifted_window_attention"],
    Shifted,
    "gradient",
    compares_with="oracle",
    in_v2=True,
)
def shifted_gradient(_: Any, case: GridCase) -> Any:
    """(S)W-MSA's gradient by its input and every parameter is the oracle's, for any grid and shift."""
    args = case.tokens(), case.attention(), case.heads, case.window, case.shift
    return Derivative("shifted_window_attention", args)


@law("swin_block/gradient", ["vjp", "swin_block"], Blocks, "gradient", compares_with="oracle", in_v2=True)
def block_gradient(_: Any, case: GridCase) -> Any:
    """A block's gradient by its input and every parameter is the oracle's: no branch is detached."""
    args = case.tokens(), case.block(), case.heads, case.window, case.shift
    return Derivative("swin_block", args, directions=2)


@law(
    "swin_block/drop-path-gradient",
    ["vjp", "swin_block.kept"],
    Blocks,
    "gradient",
    compares_with="oracle",
    in_v2=True,
)
def block_drop_path_gradient(_: Any, case: GridCase) -> Any:
    """Past a dropped branch the gradient flows on unchanged; in a kept one it is scaled by its factor."""
    args = case.tokens(), case.block(), case.heads, case.window, case.shift
    sample = np.arange(case.batch) + case.seed
    kept = 2.0 * (sample % 2), 2.0 * (sample // 2 % 2)
    return Derivative("swin_block", args, {"kept": kept}, directions=2)


@law(
    "swin_stage/gradient",
    ["vjp", "swin_stage"],
    small_networks(),
    "gradient",
    compares_with="oracle",
    in_v2=True,
)
def stage_gradient(_: Any, case: NetCase) -> Any:
    """A stage's gradient by its input and every parameter is the oracle's."""
    args = case.tokens(), *stage(case, 0)
    return Derivative("swin_stage", args, only=some_parts(case, "swin_stage", args), directions=2)


@law(
    "swin_transformer/gradient",
    ["vjp", "swin_transformer"],
    small_networks(),
    "gradient",
    compares_with="oracle",
    in_v2=True,
)
def transformer_gradient(_: Any, case: NetCase) -> Any:
    """The network's gradient by the images and every parameter is the oracle's."""
    args = case.images(), case.network(), case.config
    return Derivative("swin_transformer", args, only=some_parts(case, "swin_transformer", args), directions=2)


@law(
    "swin_transformer/gradient-reaches",
    ["vjp", "swin_transformer"],
    small_networks(),
    "exact",
    compares_with="definition",
    in_v2=True,
)
def gradient_reaches(swin: Asked, case: NetCase) -> Any:
    """Every parameter has a gradient that is not 0, the query and the value bias too.

    Left out are the key bias, whose gradient is 0, and the query and the position bias of windows of one
    token, whose attention is always 1.  Half precision may round a small gradient to 0: there the law asks
    nothing.
    """
    args = case.images(), case.network(), case.config
    u = case.rng(8).integers(1, 128, (case.batch, case.classes or case.config.channels[-1])) / 64.0
    gradients = vjp(swin, "swin_transformer", u * np.where(np.indices(u.shape).sum(0) % 2, 1, -1), *args)
    in_v2 = ("q_bias", "logit_scale", "cpb_mlp.0.weight", "cpb_mlp.0.bias", "cpb_mlp.2.weight")
    of_logits = ("(query)", "relative_position_bias_table", *in_v2)
    lone = tuple(f"layers.{i}." for i, window in enumerate(case.stage_windows) if window == (1, 1))
    asked = [
        (label, where)
        for label, where in list_parts(list_arrays("swin_transformer", args))
        if not label.endswith("(key)") and not (label.startswith(lone) and label.endswith(of_logits))
    ]
    reached = [any(gradients[label][rows].any() for label, rows in where) for _, where in asked]
    if swin.precision.bits < 24:
        reached = [True] * len(asked)
    return np.array(reached), np.ones(len(asked), bool)
