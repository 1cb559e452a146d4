"""The oracle: what Swin Transformer is, as plain NumPy functions.

Every function takes the arguments of the adapter that implementations offer.  So this module is itself an
implementation: ``swin-oracle check swin_reference``.

Each public name is imported when it is first used: ``import swin_reference.sizes`` loads neither NumPy nor
SciPy.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from inspect import signature
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swin_reference import direct
    from swin_reference.attention import shifted_window_attention, window_attention
    from swin_reference.attention_v2 import cosine_window_attention, shifted_cosine_window_attention
    from swin_reference.bias_resizing import resize_relative_position_bias
    from swin_reference.block import stage_blocks, swin_block, swin_stage
    from swin_reference.block_v2 import swin_v2_block, swin_v2_patch_merging, swin_v2_stage
    from swin_reference.config import SwinConfig, load_config, swin_b, swin_l, swin_s, swin_t
    from swin_reference.config_v2 import SwinV2Config, swin_v2_b, swin_v2_l, swin_v2_s, swin_v2_t
    from swin_reference.conventions import CONVENTIONS, Convention, convention_named
    from swin_reference.layers import (
        drop_path,
        drop_path_factors,
        drop_path_rates,
        gelu,
        layer_norm,
        linear,
        mlp,
        softmax,
    )
    from swin_reference.network import swin_features, swin_transformer
    from swin_reference.network_v2 import swin_v2_features, swin_v2_transformer
    from swin_reference.parameters import hot_parameters, initial_parameters, parameter_shapes
    from swin_reference.parameters_v2 import initial_parameters_v2, parameter_v2_shapes
    from swin_reference.patches import patch_embed, patch_merging
    from swin_reference.position_bias_v2 import continuous_position_bias_table
    from swin_reference.relative_position import relative_position_bias, relative_position_index
    from swin_reference.rules import Rejected
    from swin_reference.windows import (
        cyclic_shift,
        reverse_cyclic_shift,
        shifted_window_mask,
        window_partition,
        window_reverse,
    )

    adapters: SimpleNamespace
    """The oracle under each named convention: ``swin-oracle identify swin_reference:adapters.timm``."""

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Rejected",
    "SwinConfig",
    "SwinV2Config",
    "continuous_position_bias_table",
    "convention_named",
    "cosine_window_attention",
    "cyclic_shift",
    "direct",
    "drop_path",
    "drop_path_factors",
    "drop_path_rates",
    "gelu",
    "hot_parameters",
    "initial_parameters",
    "initial_parameters_v2",
    "layer_norm",
    "linear",
    "load_config",
    "mlp",
    "parameter_shapes",
    "parameter_v2_shapes",
    "patch_embed",
    "patch_merging",
    "relative_position_bias",
    "relative_position_index",
    "resize_relative_position_bias",
    "reverse_cyclic_shift",
    "shifted_cosine_window_attention",
    "shifted_window_attention",
    "shifted_window_mask",
    "softmax",
    "stage_blocks",
    "swin_b",
    "swin_block",
    "swin_features",
    "swin_l",
    "swin_s",
    "swin_stage",
    "swin_t",
    "swin_transformer",
    "swin_v2_b",
    "swin_v2_block",
    "swin_v2_features",
    "swin_v2_l",
    "swin_v2_patch_merging",
    "swin_v2_s",
    "swin_v2_stage",
    "swin_v2_t",
    "swin_v2_transformer",
    "window_attention",
    "window_partition",
    "window_reverse",
]

_NAMES = {
    "attention": ("shifted_window_attention", "window_attention"),
    "attention_v2": ("cosine_window_attention", "shifted_cosine_window_attention"),
    "bias_resizing": ("resize_relative_position_bias",),
    "block": ("stage_blocks", "swin_block", "swin_stage"),
    "block_v2": ("swin_v2_block", "swin_v2_patch_merging", "swin_v2_stage"),
    "config": ("SwinConfig", "load_config", "swin_b", "swin_l", "swin_s", "swin_t"),
    "config_v2": ("SwinV2Config", "swin_v2_b", "swin_v2_l", "swin_v2_s", "swin_v2_t"),
    "conventions": ("CONVENTIONS", "Convention", "convention_named"),
    "layers": (
        "linear",
        "softmax",
        "layer_norm",
        "gelu",
        "mlp",
        "drop_path",
        "drop_path_rates",
        "drop_path_factors",
    ),
    "network": ("swin_features", "swin_transformer"),
    "network_v2": ("swin_v2_features", "swin_v2_transformer"),
    "parameters": ("hot_parameters", "initial_parameters", "parameter_shapes"),
    "parameters_v2": ("initial_parameters_v2", "parameter_v2_shapes"),
    "patches": ("patch_embed", "patch_merging"),
    "position_bias_v2": ("continuous_position_bias_table",),
    "relative_position": ("relative_position_bias", "relative_position_index"),
    "rules": ("Rejected",),
    "windows": (
        "window_partition",
        "window_reverse",
        "cyclic_shift",
        "reverse_cyclic_shift",
        "shifted_window_mask",
    ),
    "direct": (),
}
"""For each module, the public names that come from it."""

_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports a public name, or a module of the package, when it is first used."""
    value: Any
    if name == "adapters":
        value = SimpleNamespace(**{key: variant(convention=key) for key in __getattr__("CONVENTIONS")})
    elif name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name in _NAMES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__, "adapters"})


name = "swin_reference"
precision = "float64"
convention = "canonical"


def under(convention: Convention) -> SimpleNamespace:
    """Returns the oracle's functions under a convention, with the adapter's signatures.

    >>> import numpy as np
    >>> from swin_reference import CONVENTIONS
    >>> under(CONVENTIONS["official"]).patch_merging(np.ones((1, 3, 2, 1)), {})
    Traceback (most recent call last):
    ...
    swin_reference.rules.Rejected: the official convention merges grids with even sides, got 3x2: use an \
image whose grid is even before each merge
    """

    def decided(function: FunctionType) -> Any:
        takes = "convention" in signature(function).parameters
        return partial(function, convention=convention) if takes else function

    public = {name: __getattr__(name) for name in _HOMES}
    functions = {name: decided(value) for name, value in public.items() if isinstance(value, FunctionType)}
    return SimpleNamespace(**functions, convention=convention.name)


def variant(precision: str = "float64", convention: str = "canonical") -> SimpleNamespace:
    """Returns the oracle as an implementation in another precision, under another convention.

    Every function computes in the precision of its arguments.

    Errors: ``ValueError`` for a precision other than float64 and float32, or an unknown convention.

    >>> variant("float32", "timm").name
    'swin_reference in float32, timm'
    """
    if precision not in ("float32", "float64"):
        raise ValueError(f"the oracle computes in float64 or float32, got {precision!r}: use one of these")
    implementation = under(__getattr__("convention_named")(convention))
    implementation.name = f"swin_reference in {precision}, {convention}"
    implementation.precision, implementation.convention = precision, convention
    implementation.with_precision = lambda other: variant(other, convention)
    implementation.with_convention = lambda other: variant(precision, other)
    return implementation


def with_precision(precision: str) -> SimpleNamespace:
    """Returns the oracle as an implementation that computes in another precision.

    >>> with_precision("float32").precision
    'float32'
    """
    return variant(precision)


def with_convention(convention: str) -> SimpleNamespace:
    """Returns the oracle as an implementation under another convention.

    >>> with_convention("timm").convention
    'timm'
    """
    return variant(convention=convention)
