"""mmpretrain's Swin: ``mmpretrain.models.backbones.swin_transformer`` and what it uses of mmcv.

Blocks are built as its backbone builds them by default; its network has maps only behind a norm, so that
networks are put together here of its own parts. Its merge reads the four tokens by channel: the weights are
put into that order.
"""

from swin_properties.adapters.peers.base import only, ratio, side, two, vision_operators

vision_operators()

import mmpretrain.models.backbones.swin_transformer as swin  # noqa: E402
from mmcv.cnn.bricks.transformer import FFN, PatchEmbed, PatchMerging  # noqa: E402
from mmpretrain.models.utils import ShiftWindowMSA, WindowMSA  # noqa: E402
from studies.peers.assembled import Assembled, by_channel, rename  # noqa: E402
from swin_properties import TorchAdapter  # noqa: E402

FFN_NAMES = {"mlp.fc1": "ffn.layers.0.0", "mlp.fc2": "ffn.layers.1"}
BLOCK = rename(**{**FFN_NAMES, "attn.": "attn.w_msa."})


class Parts(TorchAdapter):
    """What the Swin and the Swin V2 of mmpretrain have alike."""

    def mlp(self, x, params):
        """(..., C) -> same, without FFN's shortcut."""
        mlp = FFN(x.shape[-1], len(params["fc1"]["weight"]), act_cfg={"type": "GELU"}, add_identity=False)
        return self.loaded(mlp, params, rename(fc1="layers.0.0", fc2="layers.1"))(x)

    def _merge(self, x, params, merging):
        """(B, H, W, C) -> (B, H', W', 2 C), by a merge that reads the four tokens by channel."""
        merged, grid = self.loaded(merging, params, by_channel)(x.flatten(1, 2), x.shape[1:3])
        return merged.view(len(x), *grid, 2 * x.shape[-1])


class Mmpretrain(Parts, Assembled):
    """The parts of mmpretrain's Swin."""

    scope = {  # noqa: RUF012
        "square_windows": True,
        "own_shift": True,
        "patch_norm": "always",
        "no_qk_scale": True,
        "no_position_embedding": True,
    }

    def window_partition(self, x, window_size):
        """(B, H, W, C) -> (B nW, Mh, Mw, C)."""
        return ShiftWindowMSA.window_partition(x, side(window_size, "windows"))

    def window_reverse(self, windows, window_size, height, width):
        """(B nW, Mh, Mw, C) -> (B, H, W, C)."""
        return ShiftWindowMSA.window_reverse(windows, height, width, side(window_size, "windows"))

    def relative_position_index(self, window_size):
        """(N, N), integers."""
        return WindowMSA(1, two(window_size), 1).relative_position_index

    def window_attention(self, x, params, num_heads, window_size, mask=None):
        """(B nW, N, C), additive mask (nW, N, N) -> same."""
        sizes = x.shape[-1], two(window_size), num_heads, "bias" in params["qkv"]
        return self.loaded(WindowMSA(*sizes), params)(x, mask)

    def shifted_window_attention(self, x, params, num_heads, window_size, shift_size):
        """(B, H, W, C) -> same."""
        window, shift = side(window_size, "windows"), side(shift_size, "shifts")
        only(min(x.shape[1:3]) >= window, "windows no larger than the grid")
        attention = ShiftWindowMSA(x.shape[-1], num_heads, window, shift, qkv_bias="bias" in params["qkv"])
        names = rename(qkv="w_msa.qkv", proj="w_msa.proj", relative="w_msa.relative")
        return self.loaded(attention, params, names)(x.flatten(1, 2), x.shape[1:3]).view(x.shape)

    def patch_embed(self, images, params, patch_size):
        """(B, 3, H, W) -> (B, H', W', C)."""
        channels, colours = params["proj"]["weight"].shape[:2]
        only("norm" in params, "embeddings with a norm")
        patch = side(patch_size, "patches")
        embedding = PatchEmbed(colours, channels, "Conv2d", patch, patch, norm_cfg={"type": "LN"})
        tokens, grid = self.loaded(embedding, params, rename(proj="projection"))(images)
        return tokens.view(len(images), *grid, channels)

    def patch_merging(self, x, params):
        """(B, H, W, C) -> (B, H', W', 2 C)."""
        return self._merge(x, params, PatchMerging(x.shape[-1], 2 * x.shape[-1]))

    def swin_block(self, x, params, num_heads, window_size, shift_size):
        """(B, H, W, C) -> same."""
        window, shift = side(window_size, "windows"), side(shift_size, "shifts")
        only(shift in (0, window // 2), "shifts of half a window")
        only(min(x.shape[1:3]) >= window, "windows no larger than the grid")
        block = swin.SwinBlock(
            x.shape[-1],
            num_heads,
            window,
            shift > 0,
            ratio(params["mlp"]),
            attn_cfgs={"qkv_bias": "bias" in params["attn"]["qkv"]},
        )
        return self.loaded(block, params, BLOCK)(x.flatten(1, 2), x.shape[1:3]).view(x.shape)


adapter = Mmpretrain()
