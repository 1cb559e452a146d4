"""A short Swin as timm has it: tokens in a grid, windows as pairs, the merge in front of a stage."""

import torch
from torch import nn
from torch.nn import functional as F


def window_partition(x, window_size):
    B, H, W, C = x.shape
    Mh, Mw = window_size
    return x.view(B, H // Mh, Mh, W // Mw, Mw, C).transpose(2, 3).reshape(-1, Mh, Mw, C)


def window_reverse(windows, window_size, H, W):
    Mh, Mw = window_size
    x = windows.view(-1, H // Mh, W // Mw, Mh, Mw, windows.shape[-1])
    return x.transpose(2, 3).reshape(-1, H, W, windows.shape[-1])


class Mlp(nn.Module):
    def __init__(self, in_features, hidden_features=None, act_layer=nn.GELU):
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_features, in_features)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class WindowAttention(nn.Module):
    def __init__(self, dim, num_heads, window_size=7, qkv_bias=True):
        super().__init__()
        self.num_heads = num_heads
        Mh, Mw = window_size
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * Mh - 1) * (2 * Mw - 1), num_heads))
        rows, columns = torch.arange(Mh).repeat_interleave(Mw), torch.arange(Mw).repeat(Mh)
        index = (rows[:, None] - rows + Mh - 1) * (2 * Mw - 1) + columns[:, None] - columns + Mw - 1
        self.register_buffer("relative_position_index", index, persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, mask=None):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(len(x) // len(mask), 1, 1, 1)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(x.transpose(1, 2).flatten(2))


class SwinTransformerBlock(nn.Module):
    def __init__(
        self,
        dim,
        input_resolution,
        num_heads=4,
        window_size=7,
        shift_size=0,
        always_partition=False,
        mlp_ratio=4.0,
        qkv_bias=True,
    ):
        super().__init__()
        sizes = zip(input_resolution, window_size, shift_size, strict=True)
        kept = [(M, S) if always_partition or r > M else (r, 0) for r, M, S in sizes]
        self.window_size, self.shift_size = zip(*kept, strict=True)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, self.window_size, qkv_bias)
        self.drop_path1 = nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path2 = nn.Identity()
        self.register_buffer("attn_mask", self.get_attn_mask(*input_resolution), persistent=False)

    def get_attn_mask(self, H, W):
        if not any(self.shift_size):
            return None
        (Mh, Mw), (Sh, Sw) = self.window_size, self.shift_size
        H, W = H + -H % Mh, W + -W % Mw
        region = torch.zeros(1, H, W, 1)
        cuts = [
            (slice(0, L - M), slice(L - M, L - S), slice(L - S, L)) for L, M, S in ((H, Mh, Sh), (W, Mw, Sw))
        ]
        for number, (rows, columns) in enumerate((rows, columns) for rows in cuts[0] for columns in cuts[1]):
            region[:, rows, columns] = number
        region = window_partition(region, self.window_size).flatten(1)
        hidden = region[:, None] != region[:, :, None]
        return torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)

    def _attn(self, x):
        _, H, W, C = x.shape
        (Mh, Mw), (Sh, Sw) = self.window_size, self.shift_size
        x = F.pad(x, (0, 0, 0, -W % Mw, 0, -H % Mh))
        Hp, Wp = x.shape[1:3]
        x = torch.roll(x, (-Sh, -Sw), (1, 2))
        windows = self.attn(window_partition(x, self.window_size).flatten(1, 2), self.attn_mask)
        x = window_reverse(windows.view(-1, Mh, Mw, C), self.window_size, Hp, Wp)
        return torch.roll(x, (Sh, Sw), (1, 2))[:, :H, :W]

    def forward(self, x):
        x = x + self.drop_path1(self._attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    def __init__(self, dim, out_dim=None):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, out_dim or 2 * dim, bias=False)

    def forward(self, x):
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        parts = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
        return self.reduction(self.norm(torch.cat(parts, -1)))


class SwinTransformerStage(nn.Module):
    def __init__(
        self,
        dim,
        out_dim,
        input_resolution,
        depth,
        downsample=True,
        num_heads=4,
        window_size=7,
        mlp_ratio=4.0,
        qkv_bias=True,
    ):
        super().__init__()
        self.downsample = PatchMerging(dim, out_dim) if downsample else nn.Identity()
        if downsample:
            input_resolution = tuple(-(-side // 2) for side in input_resolution)
        shift = tuple(M // 2 for M in window_size)
        self.blocks = nn.Sequential(
            *(
                SwinTransformerBlock(
                    out_dim,
                    input_resolution,
                    num_heads,
                    window_size,
                    (0, 0) if i % 2 == 0 else shift,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                )
                for i in range(depth)
            )
        )

    def forward(self, x):
        return self.blocks(self.downsample(x))


class PatchEmbed(nn.Module):
    def __init__(self, img_size=224, patch_size=4, in_chans=3, embed_dim=96, norm_layer=nn.LayerNorm):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)
        self.norm = nn.Identity() if norm_layer is None else norm_layer(embed_dim)

    def forward(self, x):
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Head(nn.Module):
    def __init__(self, dim, num_classes):
        super().__init__()
        self.fc = nn.Linear(dim, num_classes) if num_classes else nn.Identity()

    def forward(self, x):
        return self.fc(x.mean((1, 2)))


class SwinTransformer(nn.Module):
    def __init__(
        self,
        img_size=(224, 224),
        patch_size=(4, 4),
        in_chans=3,
        num_classes=1000,
        embed_dim=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=(7, 7),
        mlp_ratio=4.0,
        qkv_bias=True,
        **kwargs,
    ):
        super().__init__()
        self.patch_embed = PatchEmbed(img_size, patch_size, in_chans, embed_dim)
        grid = tuple(side // patch for side, patch in zip(img_size, patch_size, strict=True))
        layers, dim = [], embed_dim
        for i, depth in enumerate(depths):
            sizes = (depth, i > 0, num_heads[i], window_size, mlp_ratio, qkv_bias)
            layers.append(SwinTransformerStage(dim, embed_dim * 2**i, grid, *sizes))
            grid = tuple(-(-side // 2) for side in grid) if i else grid
            dim = embed_dim * 2**i
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(dim)
        self.head = Head(dim, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.layers(self.patch_embed(x))))
