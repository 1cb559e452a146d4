"""The second oracle: Swin straight from its definitions, token by token, slow and obvious.

It exists to prove the first one, and shares no code with it beyond `softmax` and `linear`: no roll,
no mask, no partition, no table of relative indices, another LayerNorm, another GELU, loops for the
patches.  It offers the same names, so that the first oracle is judged by the laws like anybody else.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

from swin_reference.config import Convention
from swin_reference.direct.attention import global_attention, shifted_window_attention, window_attention
from swin_reference.direct.bias_resizing import resize_relative_position_bias
from swin_reference.direct.layers import layer_norm, mlp, patch_embed, patch_merging
from swin_reference.direct.network import swin_block, swin_features, swin_stage, swin_transformer
from swin_reference.direct.sizes import true_windows

__all__ = [
    "global_attention",
    "layer_norm",
    "mlp",
    "patch_embed",
    "patch_merging",
    "resize_relative_position_bias",
    "shifted_window_attention",
    "swin_block",
    "swin_features",
    "swin_stage",
    "swin_transformer",
    "true_windows",
    "under",
    "window_attention",
]


def under(convention: Convention) -> SimpleNamespace:
    """The second oracle under a convention, with the adapter's signatures.

    >>> from swin_reference.config import CONVENTIONS
    >>> under(CONVENTIONS["timm"]).patch_embed.keywords["convention"].name
    'timm'
    """
    functions = {name: globals()[name] for name in __all__}
    decided = (shifted_window_attention, patch_embed, swin_block, swin_stage)
    return SimpleNamespace(**functions | {f.__name__: partial(f, convention=convention) for f in decided})
