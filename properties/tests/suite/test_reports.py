"""What a person is told, while a run goes on and at its end."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import swin_reference
from conftest import Command
from swin_properties import check
from swin_properties.adapters.answers import format_traceback
from swin_properties.cases.case import GridCase, NetCase
from swin_properties.cases.few import move_to_few
from swin_properties.judging.report import Counterexample, LawResult, Report
from swin_properties.judging.usual import USUAL
from swin_properties.reports import html, junit, terminal
from swin_properties.reports import json as json_report

COPY = """
import torch
from torch.nn.functional import gelu, layer_norm as norm, linear, pad

precision = "float64"


def tensors(params):
    return {k: tensors(v) if isinstance(v, dict) else torch.from_numpy(v) for k, v in params.items()}


def pair(size):
    return size if isinstance(size, tuple) else (size, size)


def partition(x, window):
    (mh, mw), (B, H, W, C) = window, x.shape
    return x.view(B, H // mh, mh, W // mw, mw, C).permute(0, 1, 3, 2, 4, 5).reshape(-1, mh * mw, C)


def reverse(windows, window, H, W):
    (mh, mw), C = window, windows.shape[-1]
    return windows.view(-1, H // mh, W // mw, mh, mw, C).permute(0, 1, 3, 2, 4, 5).reshape(-1, H, W, C)


def make_index(window):
    mh, mw = window
    h, w = torch.meshgrid(torch.arange(mh), torch.arange(mw), indexing="ij")
    coords = torch.stack([h.flatten(), w.flatten()])
    dh, dw = coords[:, :, None] - coords[:, None, :]
    return (dh + mh - 1) * (2 * mw - 1) + dw + mw - 1


def make_mask(H, W, window, shift):
    regions = torch.zeros(1, H, W, 1)
    count = 0
    for h in (slice(0, H - window[0]), slice(H - window[0], H - shift[0]), slice(H - shift[0], H)):
        for w in (slice(0, W - window[1]), slice(W - window[1], W - shift[1]), slice(W - shift[1], W)):
            regions[:, h, w] = count
            count += 1
    regions = partition(regions, window)[..., 0]
    return torch.where(regions[:, None] == regions[:, :, None], 0.0, -torch.inf).double()


def attend(x, p, heads, window, mask):
    B, N, C = x.shape
    q, k, v = linear(x, **p["qkv"]).view(B, N, 3, heads, C // heads).permute(2, 0, 3, 1, 4)
    logits = (q * (C // heads) ** -0.5) @ k.mT
    logits = logits + p["relative_position_bias_table"][make_index(window)].permute(2, 0, 1)
    logits = (logits.view(-1, len(mask), heads, N, N) + mask[:, None]).view(B, heads, N, N)
    return linear((logits.softmax(-1) @ v).transpose(1, 2).reshape(B, N, C), **p["proj"])


def shifted(x, p, heads, window, shift):
    H, W = x.shape[1:3]
    x = pad(x, (0, 0, 0, -W % window[1], 0, -H % window[0]))
    height, width = x.shape[1:3]
    windows = partition(x.roll((-shift[0], -shift[1]), (1, 2)), window)
    windows = attend(windows, p, heads, window, make_mask(height, width, window, shift))
    x = reverse(windows, window, height, width).roll((shift[0], shift[1]), (1, 2))
    return x[:, :H, :W]


def layer_norm(x, params, eps=1e-5):
    return norm(torch.from_numpy(x), x.shape[-1:], **tensors(params), eps=eps).numpy()


def shifted_window_attention(x, params, num_heads, window_size, shift_size):
    x, p = torch.from_numpy(x), tensors(params)
    return shifted(x, p, num_heads, pair(window_size), pair(shift_size)).numpy()


def swin_block(x, params, num_heads, window_size, shift_size):
    x, p = torch.from_numpy(x), tensors(params)
    y = norm(x, x.shape[-1:], **p["norm1"])
    x = x + shifted(y, p["attn"], num_heads, pair(window_size), pair(shift_size))
    y = norm(x, x.shape[-1:], **p["norm2"])
    return (x + linear(gelu(linear(y, **p["mlp"]["fc1"])), **p["mlp"]["fc2"])).numpy()
"""
"""A block as it is usually written, for an adapter's file."""

MISTAKES = {
    "the scale of all channels": (
        "(q * (C // heads) ** -0.5)",
        "(q * C ** -0.5)",
        ["shifted_window_attention is the first component that is wrong", "several heads", "C^-1/2"],
    ),
    "a roll that is not undone": (
        "height, width).roll((shift[0], shift[1]), (1, 2))",
        "height, width).roll((-shift[0], -shift[1]), (1, 2))",
        ["shifted_window_attention is the first component that is wrong", "with a shift"],
    ),
    "a residual behind its norm": (
        "x = x + shifted(y,",
        "x = y + shifted(y,",
        ["swin_block is the first component that is wrong", "what it uses, .* are right|what it uses is right"],
    ),
}
"""For each mistake: the right words, the wrong ones, and what the first lines of its report say."""


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_copy_of_a_block_is_told_in_few_lines(
    name: str, command: Command, tmp_path: Path
) -> None:
    right, wrong, sentences = MISTAKES[name]
    assert COPY.count(right) == 1
    (tmp_path / "copy.py").write_text(COPY.replace(right, wrong))
    run = command("check", "copy.py", "--effort", "quick", "--shrink", "5", "--html", "report.html")
    assert run.returncode == 1, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) < 60, run.stdout
    first = "\n".join(lines[:15])
    for sentence in sentences:
        assert re.search(sentence, first), run.stdout
    assert re.search("usual case: batch=. grid=8x8 window=4x4", run.stdout), run.stdout
    page = (tmp_path / "report.html").read_text()
    assert page.index("is the first component that is wrong") < page.index("Where it is wrong")
    assert page.index("Tokens of the image") < page.index("Broken laws")
