"""A short Swin V2 with the official names: cosine attention, a computed bias, norms behind branches."""

import math

import torch
from torch import nn


def window_partition(x, window_size):
    B, H, W, C = x.shape
    x = x.view(B, H // window_size, window_size, W // window_size, window_size, C)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window_size, window_size, C)


def window_reverse(windows, window_size, H, W):
    x = windows.view(-1, H // window_size, W // window_size, window_size, window_size, windows.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, H, W, windows.shape[-1])


def make_mask(H, W, window_size, shift_size):
    region = torch.zeros(1, H, W, 1)
    cuts = (slice(0, -window_size), slice(-window_size, -shift_size), slice(-shift_size, None))
    for number, (rows, columns) in enumerate((rows, columns) for rows in cuts for columns in cuts):
        region[:, rows, columns] = number
    region = window_partition(region, window_size).flatten(1)
    return (region[:, None] != region[:, :, None]) * -100.0


class Mlp(nn.Module):
    def __init__(self, in_features, hidden_features):
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_features, in_features)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class WindowAttention(nn.Module):
    def __init__(self, dim, window_size, num_heads, qkv_bias=True, pretrained_window_size=(0, 0)):
        super().__init__()
        self.num_heads = num_heads
        self.logit_scale = nn.Parameter(torch.log(10 * torch.ones(num_heads, 1, 1)))
        layers = nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, num_heads, bias=False)
        self.cpb_mlp = nn.Sequential(*layers)
        Mh, Mw = window_size
        rows, columns = torch.arange(1 - Mh, Mh), torch.arange(1 - Mw, Mw)
        offsets = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).float()[None]
        trained = pretrained_window_size if pretrained_window_size[0] > 0 else window_size
        offsets = 8 * offsets / (torch.tensor(trained) - 1).clamp(min=1)
        offsets = offsets.sign() * torch.log2(offsets.abs() + 1) / math.log2(8)
        self.register_buffer("relative_coords_table", offsets)
        rows, columns = torch.arange(Mh).repeat_interleave(Mw), torch.arange(Mw).repeat(Mh)
        index = (rows[:, None] - rows + Mh - 1) * (2 * Mw - 1) + columns[:, None] - columns + Mw - 1
        self.register_buffer("relative_position_index", index)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.proj = nn.Linear(dim, dim)
        self.softmax = nn.Softmax(-1)

    def forward(self, x, mask=None):
        B, N, C = x.shape
        x = self.qkv(x)
        if self.q_bias is not None:
            x = x + torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        q, k, v = x.view(B, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        cosine = nn.functional.normalize(q, dim=-1) @ nn.functional.normalize(k, dim=-1).transpose(-2, -1)
        logits = self.logit_scale.clamp(max=math.log(100)).exp() * cosine
        table = self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)
        logits = logits + 16 * torch.sigmoid(table[self.relative_position_index].permute(2, 0, 1))
        if mask is not None:
            logits = (logits.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
        return self.proj((self.softmax(logits) @ v).transpose(1, 2).reshape(B, N, C))


class SwinTransformerBlock(nn.Module):
    def __init__(
        self,
        dim,
        input_resolution,
        num_heads,
        window_size=7,
        shift_size=0,
        mlp_ratio=4.0,
        qkv_bias=True,
        pretrained_window_size=0,
    ):
        super().__init__()
        self.input_resolution, self.window_size, self.shift_size = input_resolution, window_size, shift_size
        if min(input_resolution) <= window_size:
            self.shift_size, self.window_size = 0, min(input_resolution)
        self.norm1 = nn.LayerNorm(dim)
        trained = (pretrained_window_size, pretrained_window_size)
        self.attn = WindowAttention(dim, (self.window_size, self.window_size), num_heads, qkv_bias, trained)
        self.drop_path = nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        mask = make_mask(*input_resolution, self.window_size, self.shift_size) if self.shift_size else None
        self.register_buffer("attn_mask", mask)

    def forward(self, x):
        H, W = self.input_resolution
        B, _, C = x.shape
        y = x.view(B, H, W, C)
        y = torch.roll(y, (-self.shift_size, -self.shift_size), (1, 2))
        windows = window_partition(y, self.window_size).flatten(1, 2)
        windows = self.attn(windows, self.attn_mask).view(-1, self.window_size, self.window_size, C)
        y = window_reverse(windows, self.window_size, H, W)
        y = torch.roll(y, (self.shift_size, self.shift_size), (1, 2))
        x = x + self.drop_path(self.norm1(y.view(B, H * W, C)))
        return x + self.drop_path(self.norm2(self.mlp(x)))


class PatchMerging(nn.Module):
    def __init__(self, input_resolution, dim):
        super().__init__()
        self.input_resolution = input_resolution
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x):
        H, W = self.input_resolution
        assert H % 2 == W % 2 == 0
        x = x.view(len(x), H, W, -1)
        parts = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
        return self.norm(self.reduction(torch.cat(parts, -1).flatten(1, 2)))


class BasicLayer(nn.Module):
    def __init__(
        self,
        dim,
        input_resolution,
        depth,
        num_heads,
        window_size,
        mlp_ratio=4.0,
        qkv_bias=True,
        pretrained_window_size=0,
        downsample=None,
    ):
        super().__init__()
        sizes = {
            "mlp_ratio": mlp_ratio,
            "qkv_bias": qkv_bias,
            "pretrained_window_size": pretrained_window_size,
        }
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(
                dim, input_resolution, num_heads, window_size, 0 if i % 2 == 0 else window_size // 2, **sizes
            )
            for i in range(depth)
        )
        self.downsample = downsample and downsample(input_resolution, dim)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class PatchEmbed(nn.Module):
    def __init__(self, img_size=224, patch_size=4, in_chans=3, embed_dim=96, norm_layer=None):
        super().__init__()
        self.img_size = img_size
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)
        self.norm = norm_layer and norm_layer(embed_dim)

    def forward(self, x):
        assert x.shape[2:] == tuple(self.img_size)
        x = self.proj(x).flatten(2).transpose(1, 2)
        return x if self.norm is None else self.norm(x)


class SwinTransformerV2(nn.Module):
    def __init__(
        self,
        img_size=(224, 224),
        patch_size=(4, 4),
        in_chans=3,
        num_classes=1000,
        embed_dim=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        mlp_ratio=4.0,
        qkv_bias=True,
        pretrained_window_sizes=(0, 0, 0, 0),
        ape=False,
        patch_norm=True,
        **kwargs,
    ):
        super().__init__()
        self.patch_embed = PatchEmbed(
            img_size, patch_size, in_chans, embed_dim, nn.LayerNorm if patch_norm else None
        )
        H, W = img_size[0] // patch_size[0], img_size[1] // patch_size[1]
        self.absolute_pos_embed = nn.Parameter(torch.zeros(1, H * W, embed_dim)) if ape else None
        sizes = {"mlp_ratio": mlp_ratio, "qkv_bias": qkv_bias}
        last = len(depths) - 1
        self.layers = nn.ModuleList(
            BasicLayer(
                embed_dim * 2**i,
                (H // 2**i, W // 2**i),
                depths[i],
                num_heads[i],
                window_size,
                pretrained_window_size=pretrained_window_sizes[i],
                downsample=PatchMerging if i < last else None,
                **sizes,
            )
            for i in range(len(depths))
        )
        self.norm = nn.LayerNorm(embed_dim * 2**last)
        self.head = nn.Linear(embed_dim * 2**last, num_classes) if num_classes else nn.Identity()

    def forward(self, x):
        x = self.patch_embed(x)
        if self.absolute_pos_embed is not None:
            x = x + self.absolute_pos_embed
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(1))
