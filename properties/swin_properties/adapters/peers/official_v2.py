"""microsoft's own Swin V2: ``models/swin_transformer_v2.py`` of a Swin-Transformer checkout."""

from __future__ import annotations

from typing import Any

from swin_weights import flatten

from swin_properties.adapters.peers.base import (
    NoSingleTokens,
    bias_of_softmax,
    table_of_bias,
    two,
    withdraw_v1,
)
from swin_properties.adapters.peers.checkout import TIMM, found, load_file, of_peer
from swin_properties.adapters.peers.official import Official

FILE = "models/swin_transformer_v2.py"


@withdraw_v1
class OfficialV2(NoSingleTokens, Official):
    """Blocks, stages and networks are built for one grid, and decide window and shift by it themselves."""

    convention = "official-v2"
    network_class = "SwinTransformerV2"
    scope = Official.scope | {"no_qk_scale": True}

    def relative_position_index(self, window_size: Any) -> Any:
        """(N, N), integers."""
        return self._attention(1, 1, window_size, {}, None).relative_position_index

    def continuous_position_bias_table(
        self, params: Any, window_size: Any, pretrained_window_size: Any = None
    ) -> Any:
        """The weights of a bias MLP -> ((2 Mh - 1)(2 Mw - 1), heads)."""
        heads = len(params["2"]["weight"])
        attention = self._attention(heads, heads, window_size, {}, pretrained_window_size)
        self.holding(attention.cpb_mlp, flatten(params))
        return table_of_bias(bias_of_softmax(attention), attention.relative_position_index)

    def cosine_window_attention(
        self,
        x: Any,
        params: Any,
        num_heads: int,
        window_size: Any,
        mask: Any = None,
        pretrained_window_size: Any = None,
    ) -> Any:
        """(B nW, N, C), additive mask (nW, N, N) -> same."""
        attention = self._attention(x.shape[-1], num_heads, window_size, params, pretrained_window_size)
        return self.with_weights("attention", attention, params)(x, mask)

    def swin_v2_patch_merging(self, x: Any, params: Any) -> Any:
        """(B, H, W, C), even sides -> (B, H/2, W/2, 2 C)."""
        return self._merge(x, params)

    def swin_v2_block(
        self,
        x: Any,
        params: Any,
        num_heads: int,
        window_size: Any,
        shift_size: Any,
        kept: Any = None,
        pretrained_window_size: Any = None,
    ) -> Any:
        """(B, H, W, C), drop path's factors (B,) for both branches -> same."""
        own = {"qkv_bias": "q_bias" in params["attn"], "pretrained_window_size": pretrained_window_size or 0}
        return self._apply_block(x, params, num_heads, window_size, shift_size, kept, **own)

    def swin_v2_stage(
        self,
        x: Any,
        params: Any,
        depth: int,
        num_heads: int,
        window_size: Any,
        pretrained_window_size: Any = None,
    ) -> Any:
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        bias = "q_bias" in params["blocks"][0]["attn"]
        own = {"qkv_bias": bias, "pretrained_window_size": pretrained_window_size or 0}
        return self._apply_stage(x, params, depth, num_heads, window_size, **own)

    def swin_v2_features(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> the map (B, H', W', C') of every stage, before its merge."""
        return self._list_maps(images, params, config)

    def swin_v2_transformer(self, images: Any, params: Any, config: Any) -> Any:
        """(B, 3, H, W) -> (B, classes)."""
        return self._network(params, config)(images)

    def _attention(self, channels: int, heads: int, window_size: Any, params: Any, trained: Any) -> Any:
        return self.made(
            self.swin.WindowAttention,
            dim=channels,
            num_heads=heads,
            window_size=two(window_size),
            qkv_bias="q_bias" in params,
            pretrained_window_size=two(trained or 0),
        )


def adapter_from(path: str) -> OfficialV2:
    """The adapter of a checkout, or of its file.

    Errors: ``ValueError`` in one sentence for a path without it, or a file that is another.
    """
    file = found(path, (FILE,), "official-v2")
    stand_ins: dict[str, dict[str, Any]] = {key: {} for key in ("timm", "timm.models")}
    stand_ins["timm.models.layers"] = TIMM
    module = load_file(file, "official_swin_transformer_v2", stand_ins)
    swin = of_peer(module, file, "official-v2", OfficialV2.network_class)
    return OfficialV2(swin, f"official-v2 from {path}")
