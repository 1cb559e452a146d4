"""swin-transformer-pytorch's Swin: ``swin_transformer_pytorch.swin_transformer``.

Its bias table is one for all heads, its merge has no norm and a bias of its own, and no part has a norm
after the patches: asked are attention by tables that are alike for every head, the MLP and the block.
"""

from studies.peers.assembled import rename
from swin_properties import TorchAdapter
from swin_properties.adapters.peers.base import only, side
from swin_transformer_pytorch import swin_transformer as swin


class Lucidrains(TorchAdapter):
    """The parts of swin-transformer-pytorch that compute what parts of Swin compute."""

    scope = {  # noqa: RUF012
        "square_windows": True,
        "whole_windows": True,
        "qkv_bias": "never",
        "shift": "half",
        "no_qk_scale": True,
    }

    def declines(self, name, *args):
        """Why a call is not asked: its table is for one head."""
        given = dict(zip(("x", "params", "num_heads", "window_size", "shift_size"), args, strict=False))
        return "one head only" if given.get("num_heads", 1) != 1 else None

    def relative_position_index(self, window_size):
        """(N, N), integers: the row of a table that is read by two indices."""
        window = side(window_size, "windows")
        rows, columns = (swin.get_relative_distances(window) + window - 1).unbind(-1)
        return rows * (2 * window - 1) + columns

    def shifted_window_attention(self, x, params, num_heads, window_size, shift_size):
        """(B, H, W, C) -> same."""
        window = self._window(window_size, shift_size)
        head_dim, shifted = x.shape[-1] // num_heads, side(shift_size, "shifts") > 0
        attention = swin.WindowAttention(x.shape[-1], num_heads, head_dim, shifted, window, True)
        return self._with_table(attention, params, window, "")(x)

    def mlp(self, x, params):
        """(..., C) -> same."""
        mlp = swin.FeedForward(x.shape[-1], len(params["fc1"]["weight"]))
        return self.loaded(mlp, params, rename(fc1="net.0", fc2="net.2"))(x)

    def swin_block(self, x, params, num_heads, window_size, shift_size):
        """(B, H, W, C) -> same."""
        window = self._window(window_size, shift_size)
        head_dim, hidden = x.shape[-1] // num_heads, len(params["mlp"]["fc1"]["weight"])
        shifted = side(shift_size, "shifts") > 0
        block = swin.SwinBlock(x.shape[-1], num_heads, head_dim, hidden, shifted, window, True)
        return self._with_table(block, params, window, "attn.")(x)

    def _window(self, window_size, shift_size):
        window, shift = side(window_size, "windows"), side(shift_size, "shifts")
        only(shift in (0, window // 2), "shifts of half a window")
        return window

    def _with_table(self, module, params, window, prefix):
        """Returns the module with these weights and the masks that it made itself."""
        own = {name: x for name, x in module.state_dict().items() if name.endswith("_mask")}
        words = {
            "norm1": "attention_block.fn.norm",
            "norm2": "mlp_block.fn.norm",
            "mlp.fc1": "mlp_block.fn.fn.net.0",
            "mlp.fc2": "mlp_block.fn.fn.net.2",
            "attn.": "attention_block.fn.fn.",
            "relative_position_bias_table": "pos_embedding",
            "qkv": "to_qkv",
            "proj": "to_out",
        }

        def names(flat):
            flat = rename(**words)(flat)
            key = next(name for name in flat if name.endswith("pos_embedding"))
            flat[key] = flat[key].view(2 * window - 1, 2 * window - 1)
            return flat | {name: x.to(flat[key]) for name, x in own.items()}

        return self.loaded(module, params, names)


adapter = Lucidrains()
