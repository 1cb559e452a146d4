"""A short Swin with torchvision's names: attention pads, shifts and masks; a network is a list of parts."""

import torch
from torch import nn
from torch.nn import functional as F


class ShiftedWindowAttention(nn.Module):
    def __init__(self, dim, window_size, shift_size, num_heads, qkv_bias=True):
        super().__init__()
        self.window_size, self.shift_size, self.num_heads = window_size, shift_size, num_heads
        Mh, Mw = window_size
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * Mh - 1) * (2 * Mw - 1), num_heads))
        rows, columns = torch.arange(Mh).repeat_interleave(Mw), torch.arange(Mw).repeat(Mh)
        index = (rows[:, None] - rows + Mh - 1) * (2 * Mw - 1) + columns[:, None] - columns + Mw - 1
        self.register_buffer("relative_position_index", index.flatten())
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, H, W, C = x.shape
        Mh, Mw = self.window_size
        x = F.pad(x, (0, 0, 0, -W % Mw, 0, -H % Mh))
        Hp, Wp = x.shape[1:3]
        Sh = 0 if Mh >= Hp else self.shift_size[0]
        Sw = 0 if Mw >= Wp else self.shift_size[1]
        x = torch.roll(x, (-Sh, -Sw), (1, 2))
        q, k, v = self.qkv(self.cut(x)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].view(Mh * Mw, Mh * Mw, -1)
        logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias.permute(2, 0, 1)
        if Sh or Sw:
            rows, columns = x.new_zeros(Hp), x.new_zeros(Wp)
            for region, M, S in ((rows, Mh, Sh), (columns, Mw, Sw)):
                region[-M:] = 1
                region[len(region) - S :] = 2
            region = self.cut((3 * rows[:, None] + columns)[None, :, :, None])[..., 0]
            hidden = (region[:, None] != region[:, :, None])[:, None]
            logits = logits.unflatten(0, (B, -1)).masked_fill(hidden, -torch.inf).flatten(0, 1)
        x = self.proj((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))
        x = x.view(B, Hp // Mh, Wp // Mw, Mh, Mw, C).transpose(2, 3).reshape(B, Hp, Wp, C)
        return torch.roll(x, (Sh, Sw), (1, 2))[:, :H, :W].contiguous()

    def cut(self, x):
        B, H, W, C = x.shape
        Mh, Mw = self.window_size
        return x.view(B, H // Mh, Mh, W // Mw, Mw, C).transpose(2, 3).reshape(-1, Mh * Mw, C)


class MLP(nn.Sequential):
    def __init__(self, in_channels, hidden_channels):
        hidden, out = hidden_channels
        layers = nn.Linear(in_channels, hidden), nn.GELU(), nn.Dropout(0.0), nn.Linear(hidden, out)
        super().__init__(*layers)


class SwinTransformerBlock(nn.Module):
    def __init__(self, dim, num_heads, window_size, shift_size, mlp_ratio=4.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = ShiftedWindowAttention(dim, window_size, shift_size, num_heads)
        self.stochastic_depth = nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, [int(dim * mlp_ratio), dim])

    def forward(self, x):
        x = x + self.stochastic_depth(self.attn(self.norm1(x)))
        return x + self.stochastic_depth(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x):
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        parts = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
        return self.reduction(self.norm(torch.cat(parts, -1)))


class Permute(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)


class SwinTransformer(nn.Module):
    def __init__(
        self, patch_size, embed_dim, depths, num_heads, window_size, mlp_ratio=4.0, num_classes=1000
    ):
        super().__init__()
        embed = nn.Conv2d(3, embed_dim, tuple(patch_size), tuple(patch_size))
        parts = [nn.Sequential(embed, Permute(), nn.LayerNorm(embed_dim))]
        for i, depth in enumerate(depths):
            dim = embed_dim * 2**i
            shifts = [[0 if j % 2 == 0 else M // 2 for M in window_size] for j in range(depth)]
            blocks = [SwinTransformerBlock(dim, num_heads[i], window_size, s, mlp_ratio) for s in shifts]
            parts += [nn.Sequential(*blocks)] + [PatchMerging(dim)] * (i < len(depths) - 1)
        self.features = nn.Sequential(*parts)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.features(x)).mean((1, 2)))
