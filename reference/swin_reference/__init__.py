"""The oracle: what Swin Transformer is, as plain NumPy functions.

Every function takes the arguments of the adapter that implementations offer, so that this module is
itself an implementation: ``swin-oracle check swin_reference``.
"""

from functools import partial as _partial
from inspect import signature as _signature
from types import FunctionType as _FunctionType
from types import SimpleNamespace as _SimpleNamespace
from typing import Any as _Any

from swin_reference import direct as direct
from swin_reference.attention import shifted_window_attention, window_attention
from swin_reference.bias_resizing import resize_relative_position_bias
from swin_reference.block import stage_blocks, swin_block, swin_stage
from swin_reference.config import SwinConfig, load_config, swin_b, swin_l, swin_s, swin_t
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
from swin_reference.parameters import hot_parameters, initial_parameters, parameter_shapes
from swin_reference.patches import patch_embed, patch_merging
from swin_reference.relative_position import relative_position_bias, relative_position_index
from swin_reference.rules import Rejected
from swin_reference.windows import (
    cyclic_shift,
    reverse_cyclic_shift,
    shifted_window_mask,
    window_partition,
    window_reverse,
)

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Rejected",
    "SwinConfig",
    "convention_named",
    "cyclic_shift",
    "direct",
    "drop_path",
    "drop_path_factors",
    "drop_path_rates",
    "gelu",
    "hot_parameters",
    "initial_parameters",
    "layer_norm",
    "linear",
    "load_config",
    "mlp",
    "parameter_shapes",
    "patch_embed",
    "patch_merging",
    "relative_position_bias",
    "relative_position_index",
    "resize_relative_position_bias",
    "reverse_cyclic_shift",
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
    "window_attention",
    "window_partition",
    "window_reverse",
]

name = "swin_reference"
precision = "float64"
convention = "canonical"


def under(convention: Convention) -> _SimpleNamespace:
    """The same functions under a convention: what it decides is filled in, the signatures are the adapter's.

    >>> import numpy as np
    >>> under(CONVENTIONS["official"]).patch_merging(np.ones((1, 3, 2, 1)), {})
    Traceback (most recent call last):
    ...
    swin_reference.rules.Rejected: the official convention merges grids with even sides, got 3x2: use an \
image whose grid is even before each merge
    """

    def decided(function: _Any) -> _Any:
        takes = "convention" in _signature(function).parameters
        return _partial(function, convention=convention) if takes else function

    functions = {key: globals()[key] for key in __all__ if isinstance(globals()[key], _FunctionType)}
    return _SimpleNamespace(**{key: decided(function) for key, function in functions.items()})


def variant(precision: str = "float64", convention: str = "canonical") -> _SimpleNamespace:
    """The oracle as an implementation in another precision, under another convention; it is generic in dtype.

    Errors: ``ValueError`` for a precision that NumPy's arithmetic does not have, or an unknown convention.

    >>> variant("float32", "timm").name
    'swin_reference in float32, timm'
    """
    if precision not in ("float32", "float64"):
        raise ValueError(f"the oracle computes in float64 or float32, got {precision!r}: use one of these")
    implementation = under(convention_named(convention))
    implementation.name = f"swin_reference in {precision}, {convention}"
    implementation.precision, implementation.convention = precision, convention
    implementation.with_precision = lambda other: variant(other, convention)
    implementation.with_convention = lambda other: variant(precision, other)
    return implementation


def with_precision(precision: str) -> _SimpleNamespace:
    """The oracle as an implementation that computes in another precision.

    >>> with_precision("float32").precision
    'float32'
    """
    return variant(precision)


def with_convention(convention: str) -> _SimpleNamespace:
    """The oracle as an implementation under another convention.

    >>> with_convention("timm").convention
    'timm'
    """
    return variant(convention=convention)


adapters = _SimpleNamespace(**{key: variant(convention=key) for key in CONVENTIONS})
"""The oracle under each named convention: ``swin-oracle identify swin_reference:adapters.timm``."""
