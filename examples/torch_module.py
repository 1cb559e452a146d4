"""An ordinary PyTorch block of Swin, and its adapter: the last lines.

swin-oracle check examples/torch_module.py
"""

import torch
from swin_properties import TorchAdapter
from torch import nn
from torch.nn.functional import pad, scaled_dot_product_attention


def split_windows(x, window):
    """(B, H, W, C) -> (B, windows, tokens, C)."""
    B, H, W, C = x.shape
    mh, mw = window
    x = x.view(B, H // mh, mh, W // mw, mw, C).transpose(2, 3)
    return x.reshape(B, -1, mh * mw, C)


def join_windows(windows, window, height, width):
    """(B, windows, tokens, C) -> (B, H, W, C)."""
    B, C = windows.shape[0], windows.shape[-1]
    mh, mw = window
    x = windows.view(B, height // mh, width // mw, mh, mw, C).transpose(2, 3)
    return x.reshape(B, height, width, C)


class Attention(nn.Module):
    """(Shifted-)window attention on a grid (B, H, W, C) of any size."""

    def __init__(self, dim, heads, window, shift, qkv_bias=True):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        mh, mw = window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * mh - 1) * (2 * mw - 1), heads))
        h, w = torch.arange(mh * mw) // mw, torch.arange(mh * mw) % mw
        dh, dw = h[:, None] - h, w[:, None] - w
        self.register_buffer("index", (dh + mh - 1) * (2 * mw - 1) + dw + mw - 1)

    def mask(self, height, width):
        """Tells which tokens of a window are neighbours in the image: (windows, 1, tokens, tokens)."""
        rows = torch.arange(height, device=self.index.device) >= height - self.shift[0]
        columns = torch.arange(width, device=self.index.device) >= width - self.shift[1]
        region = split_windows((2 * rows[:, None] + columns)[None, :, :, None], self.window)[0, :, :, 0]
        return (region[:, :, None] == region[:, None, :])[:, None]

    def forward(self, x):
        """Pads, shifts, attends inside the windows, shifts back, crops."""
        _, H, W, _ = x.shape
        (mh, mw), (sh, sw) = self.window, self.shift
        x = pad(x, (0, 0, 0, -W % mw, 0, -H % mh))
        height, width = x.shape[1:3]
        windows = split_windows(x.roll((-sh, -sw), (1, 2)), self.window)
        q, k, v = self.qkv(windows).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1)
        bias = bias.masked_fill(~self.mask(height, width), -torch.inf)
        attended = scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(2, 3).flatten(-2)
        x = join_windows(self.proj(attended), self.window, height, width)
        return x.roll((sh, sw), (1, 2))[:, :H, :W]


class Block(nn.Module):
    """A Swin block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, dim, heads, window, shift, hidden, qkv_bias=True):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, window, shift, qkv_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x):
        """(B, H, W, C) -> same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


# The adapter.


def make_pair(size):
    """Returns a size as (height, width)."""
    return size if isinstance(size, tuple) else (size, size)


def rename(flat):
    """Renames the official weights to the names of the modules above."""
    return {name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.2"): x for name, x in flat.items()}


class Adapter(TorchAdapter):
    """The modules above as the callables of an adapter."""

    def shifted_window_attention(self, x, params, num_heads, window_size, shift_size):
        """(B, H, W, C) -> same."""
        sizes = x.shape[-1], num_heads, make_pair(window_size), make_pair(shift_size)
        return self.loaded(lambda: Attention(*sizes, qkv_bias="bias" in params["qkv"]), params)(x)

    def swin_block(self, x, params, num_heads, window_size, shift_size):
        """(B, H, W, C) -> same."""
        sizes = x.shape[-1], num_heads, make_pair(window_size), make_pair(shift_size)
        hidden, qkv_bias = len(params["mlp"]["fc1"]["weight"]), "bias" in params["attn"]["qkv"]
        return self.loaded(lambda: Block(*sizes, hidden, qkv_bias), params, rename)(x)


adapter = Adapter()
