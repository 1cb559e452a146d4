"""The second oracle: Swin computed from its definitions, token by token.  It is slow and simple.

It checks the first oracle.  It shares with it `softmax`, `linear`, the configurations and the conventions'
names, and nothing else: it has no partition and no table of relative indices, another LayerNorm, another
GELU, and loops over the patches.  It has no roll and no mask either, unless a convention has no true windows.
Its functions have the names of the first oracle's, so that the laws compare the two.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

from swin_reference.config import Convention
from swin_reference.direct.attention import global_attention, shifted_window_attention, window_attention
from swin_reference.direct.attention_v2 import (
    continuous_position_bias_table,
    cosine_window_attention,
    shifted_cosine_window_attention,
)
from swin_reference.direct.bias_resizing import resize_relative_position_bias
from swin_reference.direct.layers import layer_norm, mlp, patch_embed, patch_merging
from swin_reference.direct.network import swin_block, swin_features, swin_stage, swin_transformer
from swin_reference.direct.network_v2 import (
    swin_v2_block,
    swin_v2_features,
    swin_v2_patch_merging,
    swin_v2_stage,
    swin_v2_transformer,
)
from swin_reference.direct.sizes import true_windows

__all__ = [
    "continuous_position_bias_table",
    "cosine_window_attention",
    "global_attention",
    "layer_norm",
    "mlp",
    "patch_embed",
    "patch_merging",
    "resize_relative_position_bias",
    "shifted_cosine_window_attention",
    "shifted_window_attention",
    "swin_block",
    "swin_features",
    "swin_stage",
    "swin_transformer",
    "swin_v2_block",
    "swin_v2_features",
    "swin_v2_patch_merging",
    "swin_v2_stage",
    "swin_v2_transformer",
    "true_windows",
    "under",
    "window_attention",
]


def under(convention: Convention) -> SimpleNamespace:
    """Returns the second oracle's functions under a convention, with the adapter's signatures.

    >>> from swin_reference.config import CONVENTIONS
    >>> under(CONVENTIONS["timm"]).patch_embed.keywords["convention"].name
    'timm'
    """
    functions = {name: globals()[name] for name in __all__}
    decided = (
        continuous_position_bias_table,
        cosine_window_attention,
        shifted_window_attention,
        shifted_cosine_window_attention,
        patch_embed,
        swin_block,
        swin_stage,
        swin_v2_block,
        swin_v2_stage,
    )
    return SimpleNamespace(**functions | {f.__name__: partial(f, convention=convention) for f in decided})
