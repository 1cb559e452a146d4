"""The oracle: what Swin Transformer is, as plain NumPy functions.

Every function takes the arguments of the adapter that implementations offer, so that this module is
itself an implementation: ``swin-oracle check swin_reference``.
"""

from types import SimpleNamespace as _SimpleNamespace

from swin_reference import direct as direct
from swin_reference.attention import shifted_window_attention, window_attention
from swin_reference.config import SwinConfig, load_config, swin_b, swin_l, swin_s, swin_t
from swin_reference.elementary import (
    drop_path,
    drop_path_factors,
    drop_path_rates,
    gelu,
    layer_norm,
    linear,
    mlp,
    softmax,
)
from swin_reference.model import (
    stage_blocks,
    swin_block,
    swin_features,
    swin_stage,
    swin_transformer,
)
from swin_reference.parameters import hot_parameters, initial_parameters, parameter_shapes
from swin_reference.patches import patch_embed, patch_merging
from swin_reference.relative_position import relative_position_bias, relative_position_index
from swin_reference.resizing import resize_relative_position_bias
from swin_reference.windows import (
    cyclic_shift,
    reverse_cyclic_shift,
    shifted_window_mask,
    window_partition,
    window_reverse,
)

__all__ = [
    "SwinConfig",
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
    "with_precision",
]

name = "swin_reference"
precision = "float64"


def with_precision(precision: str) -> _SimpleNamespace:
    """The same functions as an implementation that computes in float32: the oracle is generic in dtype.

    Errors: ``ValueError`` for a precision that NumPy's own arithmetic does not have.

    >>> with_precision("float32").precision
    'float32'
    """
    if precision not in ("float32", "float64"):
        raise ValueError(f"the oracle computes in float64 or float32, got {precision!r}: use one of these")
    functions = {key: globals()[key] for key in __all__ if key != "with_precision"}
    return _SimpleNamespace(**functions, name=f"swin_reference in {precision}", precision=precision)
