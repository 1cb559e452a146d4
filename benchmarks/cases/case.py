"""Holds the cases that are timed, as data: every component at some sizes, and the whole models."""

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
from swin_reference.config_v2 import SwinV2Config, swin_v2_t
from swin_reference.parameters_v2 import network_shapes

from benchmarks.cases import operations

LEVELS = "small", "bench", "heavy"
"""The command that runs a case: every one, `make bench`, or `make bench-heavy`."""


@dataclass(frozen=True)
class Size:
    """Holds the sizes of a stage."""

    grid: int
    channels: int
    heads: int
    window: int = 7

    @property
    def shift(self) -> int:
        """The shift of every second block: half the window."""
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
"""Stages of Swin-T at 224 pixels and of Swin-B at 384, by name; "tiny" is for Triton's interpreter."""

NETWORKS = {
    "tiny": (SwinConfig(image_size=56, embed_dim=16, depths=(2, 1), num_heads=(1, 1)), (56, 56)),
    "small": (SwinConfig(image_size=56, embed_dim=32, depths=(2, 2), num_heads=(1, 2)), (56, 56)),
    "odd": (SwinConfig(image_size=(60, 92), embed_dim=32, depths=(2, 2), num_heads=(1, 2)), (60, 92)),
    "T-224": (swin_t, (224, 224)),
    "S-224": (swin_s, (224, 224)),
    "B-224": (swin_b, (224, 224)),
    "T-384": (replace(swin_t, image_size=384, window_size=12), (384, 384)),
    "B-384": (swin_b_384, (384, 384)),
    "T-800x1216": (replace(swin_t, image_size=(800, 1216)), (800, 1216)),
    "V2-tiny": (SwinV2Config(image_size=64, embed_dim=16, depths=(2, 1), num_heads=(1, 1)), (64, 64)),
    "V2-small": (SwinV2Config(image_size=64, embed_dim=32, depths=(2, 2), num_heads=(1, 2)), (64, 64)),
    "V2-T-256": (swin_v2_t, (256, 256)),
}
"""Configuration and image by name; "tiny" and "V2-tiny" are for Triton's interpreter.

The grids of "odd" have odd sides and no whole number of windows.
"""

JUDGED = {
    "tiny": "tiny",
    "small": "small",
    "odd": "odd",
    "T-800x1216": "odd",
    "V2-tiny": "V2-tiny",
    "V2-small": "V2-small",
    "V2-T-256": "V2-small",
}
"""The size at which each size is judged, if not "small": implementations differ in how they pad."""


@dataclass(frozen=True)
class Case:
    """Holds a callable of the adapter, its size and its batch."""

    component: str
    size: str
    batch: int = 1
    level: str = "bench"

    def __str__(self) -> str:
        return f"{self.component}-{self.size}-batch{self.batch}"

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The callable's arguments in float32; those of a small case are exact in every precision."""
        return _make_arguments(self.component, self.size, self.batch)

    @property
    def judged(self) -> Case:
        """The small case on which an implementation is judged before this one is timed."""
        return Case(self.component, JUDGED.get(self.size, "small"), level="small")

    @property
    def work(self) -> int:
        """The operations of its matmuls in a forward."""
        if self.size in NETWORKS and self.component == find_network(self.size):
            return operations.count_network(*NETWORKS[self.size], self.batch)
        size = SIZES[self.size]
        formula = WORK.get(self.component)
        return self.batch * formula(size, size.grid**2, size.channels) if formula else 0


def find_network(size: str) -> str:
    """Returns the callable that computes a network, by the name of its size.

    >>> find_network("T-224"), find_network("V2-T-256")
    ('swin_transformer', 'swin_v2_transformer')
    """
    return "swin_v2_transformer" if isinstance(NETWORKS[size][0], SwinV2Config) else "swin_transformer"


WORK: dict[str, Callable[[Size, int, int], int]] = {
    "window_attention": lambda s, t, c: operations.count_attention(t, c, s.window**2),
    "shifted_window_attention": lambda s, t, c: operations.count_attention(t, c, s.window**2),
    "mlp": lambda _, t, c: operations.count_mlp(t, c, 4 * c),
    "patch_embed": lambda _, t, c: operations.count_linear(t, 48, c),
    "patch_merging": lambda s, _, c: operations.count_merging(s.grid, s.grid, c),
    "swin_block": lambda s, t, c: operations.count_block(t, c, s.window, 4 * c),
    "swin_stage": lambda s, t, c: (
        2 * operations.count_block(t, c, s.window, 4 * c) + operations.count_merging(s.grid, s.grid, c)
    ),
}
"""The operations of one sample's forward, from size, tokens and channels; other components have no matmul."""

UNTRAINED = {"shifted_window_mask"}
"""The components without a gradient."""


def make_cases() -> list[Case]:
    """Returns every case, the small ones first."""
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
def _make_arguments(component: str, size: str, batch: int) -> tuple[Any, ...]:
    if size in NETWORKS and component == find_network(size):
        config, image = NETWORKS[size]
        shapes = network_shapes(config)
        return _draw_images(batch, *image), _make_weights(shapes, size), config
    return ARGUMENTS[component](SIZES[size], batch, size)


def _make_weights(shapes: Any, size: str) -> Any:
    """Returns weights: the oracle's test weights where the case is judged, cheaper ones where it is timed."""
    if JUDGED.get(size) == size:
        return _convert_to_float32(parameters.hot_parameters(shapes))

    def value(_: Any, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        normal = rng.standard_normal(shape, np.float32)
        return normal / np.float32(sqrt(shape[-1])) if len(shape) > 1 else 1 + normal / 10

    return parameters.fill(shapes, 0, value)


def _convert_to_float32(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _convert_to_float32(child) for name, child in value.items()}
    return (
        [_convert_to_float32(child) for child in value]
        if isinstance(value, list)
        else value.astype(np.float32)
    )


def _draw_tokens(*shape: int) -> Any:
    return recipes.tokens("generic", shape, np.random.default_rng(1)).astype(np.float32)


def _draw_images(batch: int, height: int, width: int) -> Any:
    return np.ascontiguousarray(_draw_tokens(batch, height, width, 3).transpose(0, 3, 1, 2))


def _draw_grid(s: Size, batch: int) -> Any:
    return _draw_tokens(batch, s.grid, s.grid, s.channels)


def _draw_windows(s: Size, batch: int) -> Any:
    return _draw_tokens(batch * (s.grid // s.window) ** 2, s.window, s.window, s.channels)


def _make_attention_shapes(s: Size) -> Any:
    return parameters.window_attention_shapes(s.channels, s.heads, s.window)


def _make_block_shapes(s: Size) -> Any:
    return parameters.block_shapes(s.channels, s.heads, s.window, 4 * s.channels)


def _make_stage_shapes(s: Size) -> Any:
    return parameters.stage_shapes(s.channels, 2, s.heads, s.window, 4 * s.channels, merge=True)


ARGUMENTS: dict[str, Callable[[Size, int, str], tuple[Any, ...]]] = {
    "window_partition": lambda s, b, _: (_draw_grid(s, b), s.window),
    "window_reverse": lambda s, b, _: (_draw_windows(s, b), s.window, s.grid, s.grid),
    "cyclic_shift": lambda s, b, _: (_draw_grid(s, b), s.shift),
    "shifted_window_mask": lambda s, *_: (s.grid, s.grid, s.window, s.shift),
    "relative_position_bias": lambda s, _, n: (
        _make_weights(_make_attention_shapes(s), n)["relative_position_bias_table"],
        s.window,
    ),
    "window_attention": lambda s, b, n: (
        _draw_windows(s, b).reshape(-1, s.window**2, s.channels),
        _make_weights(_make_attention_shapes(s), n),
        s.heads,
        s.window,
    ),
    "shifted_window_attention": lambda s, b, n: (
        _draw_grid(s, b),
        _make_weights(_make_attention_shapes(s), n),
        s.heads,
        s.window,
        s.shift,
    ),
    "layer_norm": lambda s, b, n: (_draw_grid(s, b), _make_weights(parameters.norm_shapes(s.channels), n)),
    "mlp": lambda s, b, n: (
        _draw_grid(s, b),
        _make_weights(parameters.mlp_shapes(s.channels, 4 * s.channels), n),
    ),
    "patch_embed": lambda s, b, n: (
        _draw_images(b, 4 * s.grid, 4 * s.grid),
        _make_weights(parameters.patch_embed_shapes(s.channels, 4), n),
        4,
    ),
    "patch_merging": lambda s, b, n: (
        _draw_grid(s, b),
        _make_weights(parameters.merging_shapes(s.channels), n),
    ),
    "swin_block": lambda s, b, n: (
        _draw_grid(s, b),
        _make_weights(_make_block_shapes(s), n),
        s.heads,
        s.window,
        s.shift,
    ),
    "swin_stage": lambda s, b, n: (
        _draw_grid(s, b),
        _make_weights(_make_stage_shapes(s), n),
        2,
        s.heads,
        s.window,
    ),
}
"""The arguments of each callable, from its size, the batch and the size's name."""

COMPONENTS = tuple(ARGUMENTS)
"""The components that are timed, each at several sizes."""
