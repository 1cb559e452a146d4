"""A short Swin with transformers' names: a configuration makes classes; query, key and value are apart."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class SwinConfig:
    image_size: tuple = (224, 224)
    patch_size: tuple = (4, 4)
    num_channels: int = 3
    embed_dim: int = 96
    depths: tuple = (2, 2, 6, 2)
    num_heads: tuple = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_path_rate: float = 0.1
    use_absolute_embeddings: bool = False
    num_labels: int = 1000


def window_partition(x, window_size):
    B, H, W, C = x.shape
    x = x.view(B, H // window_size, window_size, W // window_size, window_size, C)
    return x.transpose(2, 3).reshape(-1, window_size, window_size, C)


def window_reverse(windows, window_size, height, width):
    x = windows.view(
        -1, height // window_size, width // window_size, window_size, window_size, windows.shape[-1]
    )
    return x.transpose(2, 3).reshape(-1, height, width, windows.shape[-1])


class SwinSelfAttention(nn.Module):
    def __init__(self, config, dim, num_heads, window_size):
        super().__init__()
        self.num_heads = num_heads
        M = window_size
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * M - 1) ** 2, num_heads))
        rows, columns = torch.arange(M).repeat_interleave(M), torch.arange(M).repeat(M)
        index = (rows[:, None] - rows + M - 1) * (2 * M - 1) + columns[:, None] - columns + M - 1
        self.register_buffer("relative_position_index", index)
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=config.qkv_bias) for _ in range(3))

    def forward(self, hidden_states, attention_mask=None):
        q, k, v = (
            part(hidden_states).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        logits = logits + self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if attention_mask is not None:
            logits = logits.unflatten(0, (-1, len(attention_mask))) + attention_mask[:, None]
            logits = logits.flatten(0, 1)
        attention = logits.softmax(-1)
        return (attention @ v).transpose(1, 2).flatten(2), attention


class Dense(nn.Module):
    def __init__(self, dim, out):
        super().__init__()
        self.dense = nn.Linear(dim, out)

    def forward(self, x):
        return self.dense(x)


class SwinAttention(nn.Module):
    def __init__(self, config, dim, num_heads, window_size):
        super().__init__()
        self.self = SwinSelfAttention(config, dim, num_heads, window_size)
        self.output = Dense(dim, dim)

    def forward(self, hidden_states, attention_mask=None):
        x, attention = self.self(hidden_states, attention_mask)
        return self.output(x), attention


class SwinLayer(nn.Module):
    def __init__(self, config, dim, input_resolution, num_heads, shift_size=0):
        super().__init__()
        self.input_resolution, self.window_size, self.shift_size = (
            input_resolution,
            config.window_size,
            shift_size,
        )
        self.layernorm_before = nn.LayerNorm(dim)
        self.attention = SwinAttention(config, dim, num_heads, config.window_size)
        self.drop_path = nn.Identity()
        self.layernorm_after = nn.LayerNorm(dim)
        self.intermediate = Dense(dim, int(config.mlp_ratio * dim))
        self.output = Dense(int(config.mlp_ratio * dim), dim)

    def fit_window(self, sides):
        if min(sides) <= self.window_size:
            return min(sides), 0
        return self.window_size, self.shift_size

    def get_attn_mask(self, height, width, dtype, device):
        M, S = self.window_size, self.shift_size
        if not S:
            return None
        region = torch.zeros(1, height, width, 1, dtype=dtype, device=device)
        cuts = (slice(0, -M), slice(-M, -S), slice(-S, None))
        for number, (rows, columns) in enumerate((rows, columns) for rows in cuts for columns in cuts):
            region[:, rows, columns] = number
        region = window_partition(region, M).flatten(1)
        return (region[:, None] != region[:, :, None]).to(dtype) * -100.0

    def forward(self, hidden_states, input_dimensions, always_partition=False):
        H, W = input_dimensions
        M, S = (self.window_size, self.shift_size) if always_partition else self.fit_window(input_dimensions)
        B, _, C = hidden_states.shape
        x = self.layernorm_before(hidden_states).view(B, H, W, C)
        x = F.pad(x, (0, 0, 0, -W % M, 0, -H % M))
        padded = x.shape[1:3]
        windows = window_partition(torch.roll(x, (-S, -S), (1, 2)), M).flatten(1, 2)
        mask = self.get_attn_mask(*padded, x.dtype, x.device) if S else None
        windows = self.attention(windows, mask)[0].view(-1, M, M, C)
        x = torch.roll(window_reverse(windows, M, *padded), (S, S), (1, 2))[:, :H, :W]
        hidden_states = hidden_states + self.drop_path(x.reshape(B, H * W, C))
        x = self.output(F.gelu(self.intermediate(self.layernorm_after(hidden_states))))
        return (hidden_states + self.drop_path(x),)


class SwinPatchMerging(nn.Module):
    def __init__(self, input_resolution, dim):
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, input_feature, input_dimensions):
        H, W = input_dimensions
        x = input_feature.view(len(input_feature), H, W, -1)
        x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
        parts = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
        return self.reduction(self.norm(torch.cat(parts, -1).flatten(1, 2)))


class SwinStage(nn.Module):
    def __init__(self, config, dim, input_resolution, depth, num_heads, downsample=None):
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinLayer(config, dim, input_resolution, num_heads, config.window_size // 2 * (i % 2))
            for i in range(depth)
        )
        self.downsample = downsample and downsample(input_resolution, dim)

    def forward(self, hidden_states, input_dimensions):
        for block in self.blocks:
            hidden_states = block(hidden_states, input_dimensions)[0]
        before = hidden_states
        if self.downsample is not None:
            hidden_states = self.downsample(before, input_dimensions)
            input_dimensions = tuple((side + 1) // 2 for side in input_dimensions)
        return hidden_states, before, input_dimensions


class SwinPatchEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.patch_size = config.patch_size
        self.projection = nn.Conv2d(config.num_channels, config.embed_dim, self.patch_size, self.patch_size)

    def forward(self, pixel_values):
        (ph, pw), (H, W) = self.patch_size, pixel_values.shape[2:]
        x = self.projection(F.pad(pixel_values, (0, -W % pw, 0, -H % ph)))
        return x.flatten(2).transpose(1, 2), tuple(x.shape[2:])


class SwinEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.patch_embeddings = SwinPatchEmbeddings(config)
        (H, W), (ph, pw) = config.image_size, config.patch_size
        self.sides = -(-H // ph), -(-W // pw)
        embedding = torch.zeros(1, self.sides[0] * self.sides[1], config.embed_dim)
        self.position_embeddings = nn.Parameter(embedding) if config.use_absolute_embeddings else None
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(self, pixel_values):
        x, sides = self.patch_embeddings(pixel_values)
        x = self.norm(x)
        if self.position_embeddings is None:
            return x, sides
        if sides != self.sides:
            raise ValueError("the position embedding is of another image size")
        return x + self.position_embeddings, sides


class SwinEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        sides = [side // patch for side, patch in zip(config.image_size, config.patch_size, strict=True)]
        merges = [SwinPatchMerging] * (len(config.depths) - 1) + [None]
        self.layers = nn.ModuleList(
            SwinStage(
                config,
                config.embed_dim * 2**i,
                tuple(side // 2**i for side in sides),
                depth,
                config.num_heads[i],
                merges[i],
            )
            for i, depth in enumerate(config.depths)
        )

    def forward(self, x, sides):
        for layer in self.layers:
            x, _, sides = layer(x, sides)
        return x


class SwinModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = SwinEmbeddings(config)
        self.encoder = SwinEncoder(config)
        self.layernorm = nn.LayerNorm(config.embed_dim * 2 ** (len(config.depths) - 1))

    def forward(self, pixel_values):
        x = self.layernorm(self.encoder(*self.embeddings(pixel_values)))
        return x, x.mean(1)


@dataclass
class Output:
    logits: torch.Tensor


class SwinForImageClassification(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.swin = SwinModel(config)
        dim = config.embed_dim * 2 ** (len(config.depths) - 1)
        self.classifier = nn.Linear(dim, config.num_labels) if config.num_labels else nn.Identity()

    def forward(self, pixel_values):
        return Output(self.classifier(self.swin(pixel_values)[1]))
