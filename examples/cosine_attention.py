"""The window attention of Swin V2 in PyTorch, offered to be judged."""

import torch
from swin_properties import TorchAdapter
from torch import nn
from torch.nn.functional import linear


class CosineAttention(nn.Module):
    """Attends by the cosine of queries and keys; the names of its weights are the official ones."""

    def __init__(self, channels, heads, window, bias):
        super().__init__()
        self.heads, self.window = heads, window
        self.logit_scale = nn.Parameter(torch.zeros(heads, 1, 1))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, heads, bias=False))
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(channels)) if bias else None
        self.v_bias = nn.Parameter(torch.zeros(channels)) if bias else None
        self.proj = nn.Linear(channels, channels)

    def position_bias(self):
        """Returns the bias of each pair of tokens, (heads, N, N)."""
        mh, mw = self.window
        rows, columns = (
            axis.ravel() for axis in torch.meshgrid(torch.arange(mh), torch.arange(mw), indexing="ij")
        )
        offsets = torch.stack([rows[:, None] - rows, columns[:, None] - columns], dim=-1)
        t = offsets / torch.tensor([max(mh - 1, 1), max(mw - 1, 1)])
        t = t.sign() * torch.log2(1 + 8 * t.abs()) / 3
        return 16 * torch.sigmoid(self.cpb_mlp(t.to(self.logit_scale))).permute(2, 0, 1)

    def forward(self, x, mask=None):
        """(windows, N, C) -> the same."""
        windows, tokens = x.shape[:2]
        bias = None
        if self.q_bias is not None:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = linear(x, self.qkv.weight, bias).view(windows, tokens, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = (y / y.norm(dim=-1, keepdim=True).clamp(min=1e-12) for y in (q, k))
        logits = q @ k.mT * self.logit_scale.clamp(max=4.605170185988092).exp() + self.position_bias()
        if mask is not None:
            logits = (logits.view(-1, len(mask), *logits.shape[1:]) + mask[:, None]).view(logits.shape)
        return self.proj((logits.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))


class Adapter(TorchAdapter):
    """What is judged: `swin-oracle check examples/cosine_attention.py`."""

    name = "cosine_attention"

    def cosine_window_attention(self, x, params, num_heads, window_size, mask=None):
        """(windows, N, C) -> the same."""
        window = window_size if isinstance(window_size, tuple) else (window_size, window_size)
        module = CosineAttention(x.shape[-1], num_heads, window, bias="q_bias" in params)
        return self.loaded(module, params)(x, mask)


adapter = Adapter()
