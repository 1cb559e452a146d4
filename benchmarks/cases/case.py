"""What is timed: every component at some sizes, the whole models, as data; and the arrays they are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import sqrt
from typing import Any

import numpy as np
from swin_properties.cases import recipes
from swin_reference import parameters
from swin_reference.config import SwinConfig, swin_b, swin_b_384, swin_s, swin_t

from benchmarks.cases import operations

LEVELS = "small", "bench", "heavy"
"""Which run takes a case: each, `make bench`, `make bench-heavy`."""


@dataclass(frozen=True)
class Size:
    """A stage: grid, channels, heads and window; ``shift`` is half the window."""

    grid: int
    channels: int
    heads: int
    window: int = 7

    @property
    def shift(self) -> int:
        """Of the odd blocks."""
        return self.window // 2


SIZES = {
    "tiny": Size(8, 16, 1, 4),
    "small": Size(14, 32, 2),
    "stage1": Size(56, 96, 3),
    "stage2": Size(28, 192, 6),
    "stage3": Size(14, 384, 12),
    "stage4": Size(7, 768, 24),
    "stage1-384": Size(96, 128, 4, 12),
}
"""Stages by name: of Swin-T at 224 pixels, and of Swin-B at 384; "tiny" is for Triton's interpreter."""

NETWORKS = {
    "small": (SwinConfig(image_size=56, embed_dim=32, depths=(2, 2), num_heads=(1, 2)), (56, 56)),
    "odd": (SwinConfig(image_size=(60, 92), embed_dim=32, depths=(2, 2), num_heads=(1, 2)), (60, 92)),
    "T-224": (swin_t, (224, 224)),
    "S-224": (swin_s, (224, 224)),
    "B-224": (swin_b, (224, 224)),
    "T-384": (replace(swin_t, image_size=384, window_size=12), (384, 384)),
    "B-384": (swin_b_384, (384, 384)),
    "T-800x1216": (replace(swin_t, image_size=(800, 1216)), (800, 1216)),
}
"""Networks by name: the configuration and the image; grids of "odd" are neither whole windows nor even."""

JUDGED = {"small": "small", "odd": "odd", "T-800x1216": "odd"}
"""The size that a size is judged at, where it is not "small": implementations differ in how they pad."""


@dataclass(frozen=True)
class Case:
    """One callable of the adapter at one size and batch."""

    component: str
    size: str
    batch: int = 1
    level: str = "bench"

    def __str__(self) -> str:
        return f"{self.component}-{self.size}-batch{self.batch}"

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What the callable is given: float32, exact in every precision where the case is small."""
        return _arguments(self.component, self.size, self.batch)

    @property
    def judged(self) -> Case:
        """The small case that says whether an implementation computes Swin in this one."""
        return Case(self.component, JUDGED.get(self.size, "small"), level="small")

    @property
    def work(self) -> int:
        """Operations of its matmuls in a forward."""
        if self.component == "swin_transformer":
            return operations.network(*NETWORKS[self.size], self.batch)
        size = SIZES[self.size]
        return self.batch * WORK.get(self.component, lambda *_: 0)(size, size.grid**2, size.channels)


WORK: dict[str, Callable[[Size, int, int], int]] = {
    "window_attention": lambda s, t, c: operations.attention(t, c, s.window**2),
    "shifted_window_attention": lambda s, t, c: operations.attention(t, c, s.window**2),
    "mlp": lambda _, t, c: operations.mlp(t, c, 4 * c),
    "patch_embed": lambda _, t, c: operations.linear(t, 48, c),
    "patch_merging": lambda s, _, c: operations.merging(s.grid, s.grid, c),
    "swin_block": lambda s, t, c: operations.block(t, c, s.window, 4 * c),
    "swin_stage": lambda s, t, c: (
        2 * operations.block(t, c, s.window, 4 * c) + operations.merging(s.grid, s.grid, c)
    ),
}
"""Operations of one sample's forward, from its size, tokens and channels; what is not here has no matmul."""

COMPONENTS = (
    "window_partition",
    "window_reverse",
    "cyclic_shift",
    "shifted_window_mask",
    "relative_position_bias",
    "window_attention",
    "shifted_window_attention",
    "layer_norm",
    "mlp",
    "patch_embed",
    "patch_merging",
    "swin_block",
    "swin_stage",
)

UNTRAINED = {"shifted_window_mask"}
"""Components without a gradient."""


def cases() -> list[Case]:
    """Every case, the small ones of all components first."""
    whole = "swin_transformer"
    return [
        *(Case(component, "small", level="small") for component in (*COMPONENTS, whole)),
        Case(whole, "odd", level="small"),
        *(Case(component, size) for component in COMPONENTS for size in ("stage1", "stage3")),
        *(Case(component, "stage1-384") for component in ("shifted_window_attention", "swin_block")),
        *(Case(component, "stage1", 8, "heavy") for component in COMPONENTS),
        *(Case(whole, size) for size in ("T-224", "S-224", "B-224", "T-384")),
        Case(whole, "T-224", 8, "heavy"),
        *(Case(whole, size, level="heavy") for size in ("B-384", "T-800x1216")),
    ]


@lru_cache(2)
def _arguments(component: str, size: str, batch: int) -> tuple[Any, ...]:
    if component == "swin_transformer":
        config, image = NETWORKS[size]
        shapes = parameters.parameter_shapes(config)
        return _images(batch, *image), _weights(shapes, size), config
    return ARGUMENTS[component](SIZES[size], batch, size)


def _weights(shapes: Any, size: str) -> Any:
    """Hot and exact where they are judged; where they are timed, drawn in less time."""
    if size in ("small", "odd"):
        return _narrow(parameters.hot_parameters(shapes))

    def value(_: Any, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        normal = rng.standard_normal(shape, np.float32)
        return normal / np.float32(sqrt(shape[-1])) if len(shape) > 1 else 1 + normal / 10

    return parameters.fill(shapes, 0, value)


def _narrow(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _narrow(child) for name, child in value.items()}
    return [_narrow(child) for child in value] if isinstance(value, list) else value.astype(np.float32)


def _tokens(*shape: int) -> Any:
    return recipes.tokens("generic", shape, np.random.default_rng(1)).astype(np.float32)


def _images(batch: int, height: int, width: int) -> Any:
    return np.ascontiguousarray(_tokens(batch, height, width, 3).transpose(0, 3, 1, 2))


def _grid(s: Size, batch: int) -> Any:
    return _tokens(batch, s.grid, s.grid, s.channels)


def _windows(s: Size, batch: int) -> Any:
    return _tokens(batch * (s.grid // s.window) ** 2, s.window, s.window, s.channels)


def _attention(s: Size) -> Any:
    return parameters.window_attention_shapes(s.channels, s.heads, s.window)


def _block(s: Size) -> Any:
    return parameters.block_shapes(s.channels, s.heads, s.window, 4 * s.channels)


def _stage(s: Size) -> Any:
    return parameters.stage_shapes(s.channels, 2, s.heads, s.window, 4 * s.channels, merge=True)


ARGUMENTS: dict[str, Callable[[Size, int, str], tuple[Any, ...]]] = {
    "window_partition": lambda s, b, _: (_grid(s, b), s.window),
    "window_reverse": lambda s, b, _: (_windows(s, b), s.window, s.grid, s.grid),
    "cyclic_shift": lambda s, b, _: (_grid(s, b), s.shift),
    "shifted_window_mask": lambda s, *_: (s.grid, s.grid, s.window, s.shift),
    "relative_position_bias": lambda s, _, n: (
        _weights(_attention(s), n)["relative_position_bias_table"],
        s.window,
    ),
    "window_attention": lambda s, b, n: (
        _windows(s, b).reshape(-1, s.window**2, s.channels),
        _weights(_attention(s), n),
        s.heads,
        s.window,
    ),
    "shifted_window_attention": lambda s, b, n: (
        _grid(s, b),
        _weights(_attention(s), n),
        s.heads,
        s.window,
        s.shift,
    ),
    "layer_norm": lambda s, b, n: (_grid(s, b), _weights(parameters.norm_shapes(s.channels), n)),
    "mlp": lambda s, b, n: (_grid(s, b), _weights(parameters.mlp_shapes(s.channels, 4 * s.channels), n)),
    "patch_embed": lambda s, b, n: (
        _images(b, 4 * s.grid, 4 * s.grid),
        _weights(parameters.patch_embed_shapes(s.channels, 4), n),
        4,
    ),
    "patch_merging": lambda s, b, n: (_grid(s, b), _weights(parameters.merging_shapes(s.channels), n)),
    "swin_block": lambda s, b, n: (_grid(s, b), _weights(_block(s), n), s.heads, s.window, s.shift),
    "swin_stage": lambda s, b, n: (_grid(s, b), _weights(_stage(s), n), 2, s.heads, s.window),
}
"""The arguments of a callable from its size, the batch and the size's name."""
