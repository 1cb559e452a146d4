"""mmpretrain's Swin V2: ``mmpretrain.models.backbones.swin_transformer_v2``.

Blocks are built as its backbone builds them by default. A window one token high or wide divides an offset by
0, and every result is NaN: it is asked larger windows. Its merge reads the four tokens by channel: the
weights are put into that order.
"""

from swin_properties.adapters.peers.base import NoSingleTokens, only, ratio, side, two, vision_operators

vision_operators()

import mmpretrain.models.backbones.swin_transformer_v2 as swin  # noqa: E402
from mmpretrain.models.utils import PatchMerging, ShiftWindowMSA, WindowMSAV2  # noqa: E402
from studies.peers.of_mmpretrain import BLOCK, Parts  # noqa: E402


def name_attention(flat):
    """Returns the weights of an attention as those of the windows inside it."""
    return {f"w_msa.{name}": x for name, x in flat.items()}


class MmpretrainV2(NoSingleTokens, Parts):
    """The parts of mmpretrain's Swin V2."""

    convention = None  # it is identified
    scope = {  # noqa: RUF012
        "square_windows": True,
        "own_shift": True,
    }

    def relative_position_index(self, window_size):
        """(N, N), integers."""
        return WindowMSAV2(1, two(window_size), 1).relative_position_index

    def cosine_window_attention(
        self, x, params, num_heads, window_size, mask=None, pretrained_window_size=None
    ):
        """(B nW, N, C), additive mask (nW, N, N) -> same."""
        attention = WindowMSAV2(
            x.shape[-1],
            two(window_size),
            num_heads,
            "q_bias" in params,
            pretrained_window_size=two(pretrained_window_size or 0),
        )
        return self.loaded(attention, params)(x, mask)

    def shifted_cosine_window_attention(
        self, x, params, num_heads, window_size, shift_size, pretrained_window_size=None
    ):
        """(B, H, W, C) -> same."""
        window, shift = side(window_size, "windows"), side(shift_size, "shifts")
        only(min(x.shape[1:3]) >= window, "windows no larger than the grid")
        attention = ShiftWindowMSA(
            x.shape[-1],
            num_heads,
            window,
            shift,
            qkv_bias="q_bias" in params,
            window_msa=WindowMSAV2,
            pretrained_window_size=two(pretrained_window_size or 0),
        )
        return self.loaded(attention, params, name_attention)(x.flatten(1, 2), x.shape[1:3]).view(x.shape)

    def swin_v2_patch_merging(self, x, params):
        """(B, H, W, C) -> (B, H', W', 2 C)."""
        return self._merge(x, params, PatchMerging(x.shape[-1], 2 * x.shape[-1], use_post_norm=True))

    def swin_v2_block(self, x, params, num_heads, window_size, shift_size, pretrained_window_size=None):
        """(B, H, W, C) -> same."""
        window, shift = side(window_size, "windows"), side(shift_size, "shifts")
        only(shift in (0, window // 2), "shifts of half a window")
        only(min(x.shape[1:3]) >= window, "windows no larger than the grid")
        block = swin.SwinBlockV2(
            x.shape[-1],
            num_heads,
            window,
            shift > 0,
            ffn_ratio=ratio(params["mlp"]),
            attn_cfgs={"qkv_bias": "q_bias" in params["attn"]},
            pretrained_window_size=pretrained_window_size or 0,
        )
        return self.loaded(block, params, BLOCK)(x.flatten(1, 2), x.shape[1:3]).view(x.shape)


adapter = MmpretrainV2()
