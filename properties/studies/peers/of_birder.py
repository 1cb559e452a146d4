"""birder's Swin: ``birder.net.swin_transformer_v1``.

Its network has patches of 4, an MLP ratio of 4 and the window that its image size gives, so that networks
of other sizes are put together here of its own parts.
"""

from swin_properties.adapters.peers.base import only, ratio, two, vision_operators

vision_operators()

import birder.net.swin_transformer_v1 as swin  # noqa: E402
from studies.peers.assembled import Assembled, rename  # noqa: E402
from torch import nn  # noqa: E402
from torchvision.ops import MLP  # noqa: E402

MLP_NAMES = {"fc1": "0", "fc2": "3"}


class Birder(Assembled):
    """The parts of birder's Swin."""

    convention = "torchvision"  # which its code follows: an embedding that drops pixels is not identified
    scope = {  # noqa: RUF012
        "patch_norm": "always",
        "own_shift": True,
        "qkv_bias": "always",
        "no_qk_scale": True,
        "no_position_embedding": True,
    }

    def relative_position_index(self, window_size):
        """(N, N), integers."""
        attention = swin.ShiftedWindowAttention(1, two(window_size), (0, 0), 1)
        tokens = two(window_size)[0] * two(window_size)[1]
        return attention.relative_position_index.view(tokens, tokens)

    def relative_position_bias(self, table, window_size):
        """((2 Mh - 1)(2 Mw - 1), heads) -> (heads, N, N)."""
        attention = swin.ShiftedWindowAttention(1, two(window_size), (0, 0), 1)
        index = attention.relative_position_index
        return swin.get_relative_position_bias(table, index, two(window_size))[0]

    def shifted_window_attention(self, x, params, num_heads, window_size, shift_size):
        """(B, H, W, C) -> same."""
        sizes = x.shape[-1], two(window_size), two(shift_size), num_heads, "bias" in params["qkv"]
        return self.loaded(swin.ShiftedWindowAttention(*sizes), params)(x)

    def mlp(self, x, params):
        """(..., C) -> same."""
        widths = [len(params["fc1"]["weight"]), x.shape[-1]]
        mlp = MLP(x.shape[-1], widths, activation_layer=nn.GELU, inplace=None)
        return self.loaded(mlp, params, rename(**MLP_NAMES))(x)

    def patch_embed(self, images, params, patch_size):
        """(B, 3, H, W) -> (B, H', W', C): the stem's convolution and norm."""
        channels, colours = params["proj"]["weight"].shape[:2]
        only("norm" in params, "embeddings with a norm")
        convolution = nn.Conv2d(colours, channels, two(patch_size), two(patch_size))
        stem = nn.Sequential(convolution, swin.Permute([0, 2, 3, 1]), nn.LayerNorm(channels, eps=1e-5))
        return self.loaded(stem, params, rename(proj="0", norm="2"))(images)

    def patch_merging(self, x, params):
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        return self.loaded(swin.PatchMerging(x.shape[-1]), params)(x)

    def swin_block(self, x, params, num_heads, window_size, shift_size):
        """(B, H, W, C) -> same."""
        sizes = x.shape[-1], num_heads, two(window_size), two(shift_size), ratio(params["mlp"]), 0.0
        return self.loaded(swin.SwinTransformerBlock(*sizes), params, rename(**MLP_NAMES))(x)


adapter = Birder()
