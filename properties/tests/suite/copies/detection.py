"""A short Swin as official detectors have it: a backbone whose blocks are told H and W, and the mask."""

import torch
from torch import nn
from torch.nn import functional as F


def window_partition(x, window_size):
    B, H, W, C = x.shape
    x = x.view(B, H // window_size, window_size, W // window_size, window_size, C)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window_size, window_size, C)


def window_reverse(windows, window_size, H, W):
    x = windows.view(-1, H // window_size, W // window_size, window_size, window_size, windows.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, H, W, windows.shape[-1])


class Mlp(nn.Module):
    def __init__(self, in_features, hidden_features=None, drop=0.0):
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden_features or in_features)
        self.fc2 = nn.Linear(hidden_features or in_features, in_features)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class WindowAttention(nn.Module):
    """Its bias is fused: a buffer that is computed when the module goes into evaluation mode."""

    def __init__(self, dim, window_size, num_heads, qkv_bias=True):
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        Mh, Mw = window_size
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * Mh - 1) * (2 * Mw - 1), num_heads))
        rows, columns = torch.arange(Mh).repeat_interleave(Mw), torch.arange(Mw).repeat(Mh)
        index = (rows[:, None] - rows + Mh - 1) * (2 * Mw - 1) + columns[:, None] - columns + Mw - 1
        self.register_buffer("relative_position_index", index)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.fused = None

    def train(self, mode=True):
        self.fused = None if mode else self.compute_bias()
        return super().train(mode)

    def compute_bias(self):
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def forward(self, x, mask=None):
        B, N, C = x.shape
        q, k, v = self.qkv(x).view(B, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        logits = self.scale * q @ k.transpose(-2, -1) + (
            self.compute_bias() if self.fused is None else self.fused
        )
        if mask is not None:
            logits = (logits.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
        attention = logits.softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(B, N, C)), attention


class SwinTransformerBlock(nn.Module):
    def __init__(self, dim, num_heads, window_size=7, shift_size=0, mlp_ratio=4.0, qkv_bias=True):
        super().__init__()
        self.window_size, self.shift_size = window_size, shift_size
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, (window_size, window_size), num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.H = self.W = None

    def forward(self, x, mask_matrix):
        H, W, M, S = self.H, self.W, self.window_size, self.shift_size
        B, _, C = x.shape
        y = F.pad(self.norm1(x).view(B, H, W, C), (0, 0, 0, -W % M, 0, -H % M))
        padded = y.shape[1:3]
        y = torch.roll(y, (-S, -S), (1, 2))
        windows = self.attn(window_partition(y, M).flatten(1, 2), mask_matrix if S else None)[0]
        y = torch.roll(window_reverse(windows.view(-1, M, M, C), M, *padded), (S, S), (1, 2))
        x = x + y[:, :H, :W].reshape(B, H * W, C)
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x, H, W):
        x = F.pad(x.view(len(x), H, W, -1), (0, 0, 0, W % 2, 0, H % 2))
        parts = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
        return self.reduction(self.norm(torch.cat(parts, -1).flatten(1, 2)))


class BasicLayer(nn.Module):
    def __init__(self, dim, depth, num_heads, window_size=7, mlp_ratio=4.0, qkv_bias=True, downsample=None):
        super().__init__()
        self.window_size, self.shift_size = window_size, window_size // 2
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(dim, num_heads, window_size, window_size // 2 * (i % 2), mlp_ratio, qkv_bias)
            for i in range(depth)
        )
        self.downsample = downsample and downsample(dim)

    def forward(self, x, H, W):
        M, S = self.window_size, self.shift_size
        region = torch.zeros(1, H + -H % M, W + -W % M, 1, device=x.device, dtype=x.dtype)
        cuts = (slice(0, -M), slice(-M, -S), slice(-S, None))
        for number, (rows, columns) in enumerate((rows, columns) for rows in cuts for columns in cuts):
            region[:, rows, columns] = number
        region = window_partition(region, M).flatten(1)
        mask = (region[:, None] != region[:, :, None]) * -100.0
        for block in self.blocks:
            block.H, block.W = H, W
            x = block(x, mask.to(x.dtype))
        if self.downsample is None:
            return x, H, W, x, H, W
        return x, H, W, self.downsample(x, H, W), (H + 1) // 2, (W + 1) // 2


class PatchEmbed(nn.Module):
    def __init__(self, patch_size=4, in_chans=3, embed_dim=96, norm_layer=None):
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)
        self.norm = norm_layer and norm_layer(embed_dim)

    def forward(self, x):
        (ph, pw), (H, W) = self.patch_size, x.shape[2:]
        x = self.proj(F.pad(x, (0, -W % pw, 0, -H % ph)))
        if self.norm is None:
            return x
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SwinTransformer(nn.Module):
    def __init__(
        self,
        pretrain_img_size=224,
        patch_size=(4, 4),
        in_chans=3,
        embed_dim=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        mlp_ratio=4.0,
        qkv_bias=True,
        patch_norm=True,
        out_indices=(0, 1, 2, 3),
    ):
        super().__init__()
        self.out_indices = out_indices
        self.patch_embed = PatchEmbed(patch_size, in_chans, embed_dim, nn.LayerNorm if patch_norm else None)
        merges = [PatchMerging] * (len(depths) - 1) + [None]
        self.layers = nn.ModuleList(
            BasicLayer(embed_dim * 2**i, depth, num_heads[i], window_size, mlp_ratio, qkv_bias, merges[i])
            for i, depth in enumerate(depths)
        )
        for i in out_indices:
            setattr(self, f"norm{i}", nn.LayerNorm(embed_dim * 2**i))

    def forward(self, x):
        x = self.patch_embed(x)
        H, W = x.shape[2:]
        x, maps = x.flatten(2).transpose(1, 2), []
        for i, layer in enumerate(self.layers):
            out, h, w, x, H, W = layer(x, H, W)
            if i in self.out_indices:
                maps.append(getattr(self, f"norm{i}")(out).view(len(x), h, w, -1).permute(0, 3, 1, 2))
        return tuple(maps)
