"""The fused attention: what it computes and differentiates, and that PyTorch's machinery takes it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from swin_properties import check
from swin_reference.config import CONVENTIONS
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

import swin_torch
from swin_torch.attention.operator import shifted_window_attention_core
from swin_torch.backends import triton as kernels
from swin_torch.backends.slower import say_once
from swin_torch.blocks.plain import plain_block
from swin_torch.geometry.conventions import find_margins

OPERATOR = torch.ops.swin_torch.shifted_window_attention.default
BACKWARD = torch.ops.swin_torch.shifted_window_attention_backward.default


def drawn(
    grid: tuple[int, int] = (5, 7), window: Any = (4, 3), batch: int = 2, dtype: Any = torch.float64
) -> Any:
    """A call's tensors for 2 heads of 3 channels: qkv, bias table, the padding's qkv; all want gradients."""
    generator = torch.Generator().manual_seed(0)
    rows = (2 * window[0] - 1) * (2 * window[1] - 1)
    shapes = (batch, *grid, 18), (rows, 2), (18,)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def fused(tensors: Any, window: Any, shift: Any, convention: Any) -> Any:
    qkv, table, pad = tensors
    before, after = find_margins(qkv.shape[1:3], window, convention)
    padded = [sum(sides) for sides in zip(qkv.shape[1:3], before, after, strict=True)]
    return shifted_window_attention_core(
        qkv,
        table,
        2,
        window,
        shift,
        pad_qkv=pad,
        padded_size=padded,
        roll_first=any(after),
        mask_value=convention.mask_value,
    )


@pytest.mark.parametrize("convention", ["timm", "detection"])
@pytest.mark.parametrize("law", ["oracle", "gradient"])
def test_it_follows_a_convention_s_padding_roll_and_mask_value(law: str, convention: str) -> None:
    only = f"shifted_window_attention/{law}"
    report = check(swin_torch.adapter, only=only, dtype="float64", convention=convention)
    assert report.exit_code == 0, report.of("broken")
    assert report.convention == convention


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("only", ["shifted_window_attention/[opg]*", "swin_block/[obr]*"])
def test_laws_hold_for_the_fused_adapter(only: str, dtype: str, deep: bool) -> None:
    report = check("swin_torch", dtype=dtype, effort="default" if deep else "quick", only=only)
    assert report.exit_code == 0, report.of("broken")
    assert not report.of("not offered")


def test_gradients_are_those_of_finite_differences() -> None:
    qkv, table, pad = drawn((3, 5), (2, 3), batch=1)
    for options in ({}, {"roll_first": True, "mask_value": -1.5}, {"qk_scale": 0.3}):
        assert torch.autograd.gradcheck(
            lambda *x, options=options: shifted_window_attention_core(
                *x[:2], 2, (2, 3), (1, 1), pad_qkv=x[2], **options
            ),
            (qkv, table, pad),
            fast_mode=True,
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("padding", [True, False])
def test_pytorch_finds_the_operator_well_made(dtype: Any, padding: bool) -> None:
    qkv, table, pad = drawn(dtype=dtype)
    sizes = 2, [4, 3], [2, 1], [8, 9], False, 0.5, -math.inf
    torch.library.opcheck(OPERATOR, (qkv, table, pad if padding else None, *sizes))


@pytest.mark.parametrize("heads", [1, 2])
def test_pytorch_finds_the_backward_operator_well_made(heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 5, 7, 3 * heads), (2, 5, 7, 9 * heads), (35, heads), (9 * heads,)
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    sizes = heads, [4, 3], [2, 1], [8, 9], False, 0.5, -math.inf
    torch.library.opcheck(BACKWARD, (*tensors, *sizes))


def test_compiled_without_a_break_and_once_for_all_batches() -> None:
    block = swin_torch.SwinBlock(8, 2, 4, 16)
    counted = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(block, backend=counted, fullgraph=True)
    for batch in (2, 3, 5):
        x = torch.randn(batch, 5, 6, 8, generator=torch.Generator().manual_seed(batch), requires_grad=True)
        torch._dynamo.mark_dynamic(x, 0)
        ours, theirs = compiled(x, 2), block(x, 2)
        torch.testing.assert_close(ours, theirs)
        (of_ours,), (of_theirs,) = (torch.autograd.grad(y.square().sum(), x) for y in (ours, theirs))
        torch.testing.assert_close(of_ours, of_theirs)
    assert counted.frame_count == 1
    torch._dynamo.reset()


def test_exported_at_one_batch_it_is_right_at_another() -> None:
    block = swin_torch.SwinBlock(8, 2, 4, 16).eval()
    x = torch.randn(5, 6, 7, 8, generator=torch.Generator().manual_seed(0))
    shapes = {"x": {0: torch.export.Dim("batch", min=1, max=64)}, "shift_size": None}
    exported = torch.export.export(block, (x[:2], 2), dynamic_shapes=shapes)
    # Exported are the plain operations; called as it is, a block adds in another order.
    assert torch.equal(exported.module()(x, 2), plain_block(block, x, 2, None, None))


def test_checkpointed_and_under_autocast() -> None:
    block = swin_torch.SwinBlock(8, 2, 4, 16)
    x = torch.randn(2, 5, 6, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (plain,) = torch.autograd.grad(block(x, 2).square().sum(), x)
    (again,) = torch.autograd.grad(checkpoint(block, x, 2, use_reentrant=False).square().sum(), x)
    assert torch.equal(plain, again)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = block(x, 2)
    narrow.square().sum().backward()
    table = block.attn.relative_position_bias_table
    assert table.grad is not None
    assert table.grad.dtype == torch.float32
    assert 0 < (narrow - block(x, 2)).abs().max() < 0.1


def test_backward_keeps_the_arguments_and_nothing_else() -> None:
    tensors, kept = drawn((9, 9)), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        fused(tensors, (4, 3), (2, 1), CONVENTIONS["canonical"])
    assert sorted(x.numel() for x in kept) == sorted(x.numel() for x in tensors)


def test_gradients_are_the_same_on_every_run() -> None:
    tensors = drawn((14, 14), (7, 7), batch=4, dtype=torch.float32)
    out = fused(tensors, (7, 7), (3, 3), CONVENTIONS["canonical"])
    runs = [torch.autograd.grad(out, tensors, torch.ones_like(out), retain_graph=True) for _ in range(5)]
    assert all(torch.equal(one, other) for run in runs for one, other in zip(run, runs[0], strict=True))


def test_layouts_in_memory_and_empty_batches() -> None:
    qkv, table, pad = (x.detach() for x in drawn())
    sizes = (4, 3), (2, 1), CONVENTIONS["canonical"]
    expected = fused((qkv, table, pad), *sizes)
    strided = qkv.permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0)
    assert not strided.is_contiguous()
    assert torch.equal(fused((strided, table.T.contiguous().T, pad), *sizes), expected)
    empty = qkv[:0].requires_grad_()
    out = fused((empty, table.requires_grad_(), pad), *sizes)
    assert out.shape == (0, 5, 7, 6)
    of_qkv, of_table = torch.autograd.grad(out.sum(), (empty, table))
    assert of_qkv.shape == empty.shape
    assert not of_table.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qkv": torch.zeros(1, 4, 4, 17)}, r"C divisible by heads, got \(1, 4, 4, 17\) and 2 heads"),
        ({"qkv": torch.zeros(4, 4, 18)}, r"qkv is \(B, H, W, 3 C\)"),
        ({"qkv": torch.zeros(1, 4, 4, 18, dtype=torch.int32)}, "got torch.int32: convert it"),
        ({"bias_table": torch.zeros(9, 2)}, r"got \(9, 2\) for window 4x4 and 2 heads: it needs \(49, 2\)"),
        ({"bias_table": torch.zeros(49, 2, device="meta")}, "floats on one device"),
        ({"pad_qkv": torch.zeros(6)}, r"got \(6,\) for 18 channels"),
        ({"window_size": 0}, "a window has at least one token a side"),
        ({"shift_size": 4}, "0 <= shift < window"),
        ({"padded_size": (6, 8)}, r"whole windows and holds the grid, got \(6, 8\)"),
        ({"padded_size": 4}, r"got \(4, 4\) for grid \(5, 5\)"),
        ({"mask_value": 0.0}, "a mask lowers logits, got mask_value 0.0"),
        ({"mask_value": math.nan}, "a mask lowers logits, got mask_value nan"),
    ],
)
def test_bad_input_gets_one_sentence(change: dict[str, Any], message: str) -> None:
    good = {
        "qkv": torch.zeros(1, 5, 5, 18),
        "bias_table": torch.zeros(49, 2),
        "num_heads": 2,
        "window_size": 4,
    }
    assert shifted_window_attention_core(**good).shape == (1, 5, 5, 6)
    with pytest.raises(ValueError, match=message):
        shifted_window_attention_core(**good | change)


def test_doing_without_the_kernels_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "is_asked_for", lambda _: True)
    say_once.cache_clear()
    with pytest.warns(
        UserWarning, match="slower: they compute in float16, bfloat16 and float32, got torch.f"
    ):
        fused(drawn(), (4, 3), (2, 1), CONVENTIONS["canonical"])
    fused(drawn(), (4, 3), (2, 1), CONVENTIONS["canonical"])  # a second warning would be an error


INTERPRETED = """
import sys
from swin_properties import check
from swin_properties.cases.case import GridCase
from swin_properties.judging import gradients
from swin_properties.judging.compare import evaluate
from swin_properties.judging.implementation import load_implementation
from swin_properties.laws.law import LAWS
import swin_properties.laws
from swin_torch.backends.triton import columns, launch, norms, products, tables

launched, run = set(), launch.run
launch.run = lambda kernel, *args, **kwargs: (launched.add(kernel), run(kernel, *args, **kwargs))
gradients.COTANGENTS = 4
precision, *cases = sys.argv[1:]
attention, block = "shifted_window_attention/", "swin_block/"
small = "window=2 grid=3x4 shift=1 heads=1 head_dim=3 batch=2"
laws = attention + "oracle", attention + "gradient", block + "oracle", block + "gradient"
for name, case in zip(laws, [*cases, small, small]):
    law = LAWS[name]
    outcome = evaluate(law, load_implementation("swin_torch", precision), GridCase.parse(case))
    print(name, outcome.rho, outcome.seen)
    assert outcome.seen is None
assert check("swin_torch", dtype=precision, only="patch_merging/oracle", effort="quick").exit_code == 0
kernels = 6 if "window=9" in cases[1] else 2  # attention: by blocks, a tile's are launched for the block too
of_rows = products.linear, norms.norm, norms.norm_backward, norms.add_norm, norms.merge_norm
others = {*of_rows, columns.narrow, columns.gelu_backward, tables.sum_by_offset}
assert len(launched) == kernels + len(others) and others <= launched
"""


@pytest.mark.parametrize(
    ("precision", "forward", "backward"),
    [
        (
            "float32",
            "window=7 grid=14x14 shift=3 heads=2 head_dim=4",
            "window=3x4 grid=5x6 shift=2x1 heads=1 head_dim=3",
        ),
        (
            "bfloat16",
            "window=7x5 grid=10x8 shift=0x2 heads=2 head_dim=7",
            "window=4x3 grid=4x5 shift=2x1 heads=1 head_dim=3",
        ),
        (
            "float16",
            "window=9x8 grid=13x9 shift=4x3 heads=1 head_dim=10",
            "window=9x8 grid=9x8 shift=4x3 heads=1 head_dim=2 batch=3",
        ),
    ],
)
def test_the_kernels_are_right_under_the_interpreter(
    precision: str, forward: str, backward: str, deep: bool
) -> None:
    if precision != "bfloat16" and not deep:
        pytest.skip(
            "the profile deep is not asked for: other precisions, whose kernels are those of bfloat16"
        )
    pytest.importorskip("triton", reason="triton is not installed")
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED, precision, forward, backward],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
