"""birder's Swin V2: ``birder.net.swin_transformer_v2``.

Its network has the window that its image size gives, so that its parts alone are asked. Its block shrinks the
window to the grid that it is built for: it is asked windows no larger than the grid.
"""

from swin_properties import TorchAdapter
from swin_properties.adapters.peers.base import only, ratio, two, vision_operators

vision_operators()

import birder.net.swin_transformer_v2 as swin  # noqa: E402
from studies.peers.assembled import join_biases, rename  # noqa: E402

NAMES = rename(fc1="0", fc2="3")


class BirderV2(TorchAdapter):
    """The parts of birder's Swin V2."""

    convention = "torchvision-v2"  # which its code follows: no whole network is asked
    scope = {  # noqa: RUF012
        "own_shift": True,
        "qkv_bias": "always",
        "no_pretrained_window": True,
    }

    def relative_position_index(self, window_size):
        """(N, N), integers."""
        attention = swin.ShiftedWindowAttention(1, two(window_size), (0, 0), 1, True, True)
        tokens = two(window_size)[0] * two(window_size)[1]
        return attention.relative_position_index.view(tokens, tokens)

    def shifted_cosine_window_attention(self, x, params, num_heads, window_size, shift_size):
        """(B, H, W, C) -> same."""
        sizes = x.shape[-1], two(window_size), two(shift_size), num_heads, "q_bias" in params, True
        return self.loaded(swin.ShiftedWindowAttention(*sizes), params, join_biases)(x)

    def swin_v2_patch_merging(self, x, params):
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        return self.loaded(swin.PatchMerging(x.shape[-1]), params)(x)

    def swin_v2_block(self, x, params, num_heads, window_size, shift_size):
        """(B, H, W, C) -> same."""
        grid, window = tuple(x.shape[1:3]), two(window_size)
        only(grid[0] >= window[0] and grid[1] >= window[1], "windows no larger than the grid")
        sizes = x.shape[-1], grid, num_heads, window, two(shift_size), ratio(params["mlp"]), 0.0
        return self.loaded(swin.SwinTransformerBlock(*sizes), params, name_block)(x)


def name_block(flat):
    """Returns the weights of a block by birder's names."""
    mlp = {name: x for name, x in flat.items() if name.startswith("mlp.")}
    return join_biases({name: x for name, x in flat.items() if name not in mlp} | NAMES(mlp))


adapter = BirderV2()
