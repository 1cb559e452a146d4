"""What the kernels become on an H100 or H200, without one: registers, spills, memory, tensor cores."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton is not installed")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from swin_torch.backends.triton import (  # noqa: E402
    choices,
    columns,
    cosines,
    launch,
    launch_rows,
    norms,
    products,
    tables,
    windows,
)
from swin_torch.geometry.plan import Plan  # noqa: E402

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
SHARED_LIMIT = 227 * 1024
REGISTERS = 65536
"""Of one multiprocessor."""

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1" or not (TOOLS / "cuobjdump").exists(),
    reason="Triton interprets, or its wheel has no cuobjdump",
)

KERNELS = [(name, window) for window in (7, 8) for name in launch.KERNELS[True]] + [
    (name, window) for window in (12, 16) for name in launch.KERNELS[False]
]
"""The attention kernels by their names in `choices`, and windows."""


NARROW = {torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float32: "*fp32"}


def compiled(
    name: str, window: int, padded: bool, dtype: torch.dtype = torch.bfloat16
) -> tuple[Any, choices.Attention]:
    """The kernel as `launch` compiles it for 3 heads of 32 channels, and the choice behind it."""
    whole = 4 * window
    kernel = launch.KERNELS[window <= 8][name]
    plan = Plan((whole - padded, whole), (whole, whole), (window,) * 2, (window // 2,) * 2, 3, False)
    qkv = torch.empty(1, whole, whole, 288, dtype=dtype, device="meta")
    shape = launch.find_shape(name, plan, qkv)
    precision = "tf32" if dtype == torch.float32 else "ieee"  # a meta tensor is on no GPU
    constants = {"const": shape.constants["const"]._replace(PRECISION=precision)}
    types = dict.fromkeys(("qkv", "pad", "out", "d_out", "d_qkv"), NARROW[dtype])
    types |= dict.fromkeys(("table", "d_bias", "stats"), "*fp32")
    types |= dict.fromkeys(("scale", "mask_value"), "fp32") | dict.fromkeys(constants, "constexpr")
    return built(kernel, types, "i32", constants, shape), choices.choose_attention(name, plan, qkv)


def built(
    kernel: Any,
    types: dict[str, str],
    others: str,
    constants: dict[str, Any],
    shape: launch.Shape,
    whole: tuple[str, ...] = (),
) -> Any:
    """Compiled for sm_90, with all pointers and the sizes ``whole`` multiples of 16."""
    signature = {name: types.get(name, others) for name in kernel.arg_names}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, (name, kind) in enumerate(signature.items())
        if kind[0] == "*" or name in whole
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": shape.num_warps, "num_stages": shape.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


def within_limits(made: Any, programs: int, folder: Path) -> str:
    """The kernel's instructions; it spills nothing, and a multiprocessor holds so many programs at once."""
    found = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", dumped(made, "--dump-resource-usage", folder))
    assert found
    registers, stack, local = map(int, found.groups())
    assert (stack, local) == (0, 0)
    code = dumped(made, "-sass", folder)
    assert not re.findall(r"\b(?:STL|LDL)\b", code), "registers are spilled"
    assert made.metadata.shared <= SHARED_LIMIT // programs
    assert -(-registers // 8) * 8 * 32 * made.metadata.num_warps <= REGISTERS // programs
    return code


def dumped(kernel: Any, how: str, folder: Path) -> str:
    binary = folder / "kernel.cubin"
    binary.write_bytes(kernel.asm["cubin"])
    run = subprocess.run([TOOLS / "cuobjdump", how, binary], capture_output=True, text=True, check=True)
    return run.stdout


@pytest.mark.parametrize(("name", "window"), KERNELS)
def test_no_size_of_a_call_is_compiled_for(name: str, window: int) -> None:
    unspecialized = [one.name for one in launch.KERNELS[window <= 8][name].params if one.do_not_specialize]
    assert unspecialized == [*windows.Sizes._fields]


@pytest.mark.parametrize(
    ("name", "window", "padded"),
    [(*key, False) for key in KERNELS] + [(*key, True) for key in KERNELS if key[1] in (7, 12)],
)
def test_no_spills_and_tensor_cores(name: str, window: int, padded: bool, tmp_path: Path) -> None:
    made, choice = compiled(name, window, padded)
    code = within_limits(made, choice.programs, tmp_path)
    assert "HGMMA" in code, "no tensor cores of sm_90"
    assert re.search(r"\bLD(?:GSTS|G)\.E\.\S*128", code), "tokens are not loaded 16 bytes at a time"


def test_tf32_uses_tensor_cores(tmp_path: Path) -> None:
    made, _ = compiled("forward", 7, False, torch.float32)
    assert re.search(r"HGMMA\S*TF32", dumped(made, "-sass", tmp_path))


@pytest.mark.parametrize("channels", [96, 192, 384, 768, 1536])
def test_the_norm_does_not_spill(channels: int, tmp_path: Path) -> None:
    block = choices.round_to_power(channels)
    constants = {"BLOCK": block, "AHEAD": True}
    types = {"channels": "i32", "eps": "fp32"} | dict.fromkeys(constants, "constexpr")
    shape = launch.Shape(constants, launch_rows.count_warps(block), 1)
    made = built(norms.add_norm, types, "*bf16", constants, shape)
    within_limits(
        made, REGISTERS // (64 * 32 * made.metadata.num_warps), tmp_path
    )  # 32 warps keep memory busy


@pytest.mark.parametrize("channels", [96, 192, 384, 768])
def test_the_norm_of_a_merge_does_not_spill(channels: int, tmp_path: Path) -> None:
    constants = launch_rows.make_merge_constants(channels)
    types = dict.fromkeys(("rows", "height", "width", "channels"), "i32") | {"eps": "fp32"}
    types |= dict.fromkeys(constants, "constexpr")
    shape = launch.Shape(constants, launch_rows.NORM_WARPS, 3)
    made = built(norms.merge_norm, types, "*bf16", constants, shape, ("channels",))
    code = within_limits(made, 4, tmp_path)
    assert re.search(r"\bLDG\.E\.\S*(?:64|128)", code), "tokens are not loaded several at a time"


@pytest.mark.parametrize("wide", [False, True], ids=["alike", "autocast"])
@pytest.mark.parametrize("kernel", [columns.narrow, columns.gelu_backward, norms.norm_backward], ids=str)
def test_the_passes_of_backward_do_not_spill(kernel: Any, wide: bool, tmp_path: Path) -> None:
    constants = dict.fromkeys(("SCALED", "STORED", "ONTO"), True)
    sizes = {"ROWS": launch_rows.PASS_ROWS, "BLOCK": launch_rows.PASS_BLOCK}
    if kernel is norms.norm_backward:
        sizes = launch_rows.make_norm_constants(96)
    constants = {name: one for name, one in (constants | sizes).items() if name in kernel.arg_names}
    types = dict.fromkeys(("rows", "columns", "channels", "each"), "i32") | {"eps": "fp32"}
    types |= dict.fromkeys(constants, "constexpr")
    types |= dict.fromkeys(("sums", "of_gain", "of_shift", "factor"), "*fp32")
    if wide:
        types |= dict.fromkeys(("onto", "gain", "of_x" if "onto" in kernel.arg_names else "x"), "*fp32")
    whole = "columns", "channels"
    made = built(kernel, types, "*bf16", constants, launch.Shape(constants, 4, 3), whole)
    code = within_limits(made, 4, tmp_path)
    assert re.search(r"\bLDG\.E\.\S*(?:64|128)", code), "tokens are not loaded several at a time"


@pytest.mark.parametrize("kind", ["*bf16", "*fp16", "*fp32"])
@pytest.mark.parametrize("kernel", [cosines.turn, cosines.turn_backward], ids=str)
def test_the_passes_of_cosines_do_not_spill(kernel: Any, kind: str, tmp_path: Path) -> None:
    constants = launch_rows.make_norm_constants(32)
    types = dict.fromkeys(("rows", "vectors", "heads", "head_dim"), "i32")
    types |= dict.fromkeys(("factors", "sums"), "*fp32") | dict.fromkeys(constants, "constexpr")
    shape = launch.Shape(constants, launch_rows.NORM_WARPS, 3)
    made = built(kernel, types, kind, constants, shape, ("head_dim",))
    code = within_limits(made, 4, tmp_path)
    assert re.search(r"\bLDG\.E\.\S*(?:64|128)", code), "tokens are not loaded several at a time"


def test_the_sum_by_offset_does_not_spill(tmp_path: Path) -> None:
    constants = {"MH": 7, "MW": 7, "ROWS": launch.OFFSETS_AT_ONCE // 64, "BLOCK": 64}
    types = {"heads": "i32", "offsets": "i32"} | dict.fromkeys(constants, "constexpr")
    within_limits(
        built(tables.sum_by_offset, types, "*fp32", constants, launch.Shape(constants, 4, 3)), 8, tmp_path
    )


LAYERS = {
    "norm, qkv": (1, 3, {"NORM": True, "GELU": False, "ONTO": False}),
    "projection, residual": (1, 1, {"NORM": False, "GELU": False, "ONTO": True}),
    "norm, fc1, GELU": (1, 4, {"NORM": True, "GELU": True, "ONTO": False}),
    "fc2, residual": (4, 1, {"NORM": False, "GELU": False, "ONTO": True}),
}
"""Inputs and outputs in channels of the tokens, and what lies around."""


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("channels", "images", "dtype"),
    [
        (96, 128, torch.bfloat16),
        (384, 128, torch.bfloat16),
        (384, 128, torch.float32),
        (768, 1, torch.float16),
    ],
    ids=str,
)
def test_linear_layers_do_not_spill(
    layer: str, channels: int, images: int, dtype: torch.dtype, tmp_path: Path
) -> None:
    inputs, outputs, around = LAYERS[layer]
    inputs, outputs = inputs * channels, outputs * channels
    rows = images * (56 * 96 // channels) ** 2
    size = choices.fill_processors(choices.estimate_linear(outputs, inputs), rows, outputs, 132)
    shape = launch_rows.make_linear_shape(size, torch.empty(outputs, inputs, dtype=dtype, device="meta"))
    constants = shape.constants | around | {"BIAS": True}
    constants["PRECISION"] = "tf32" if dtype == torch.float32 else "ieee"
    types = {"rows": "i32", "columns": "i32", "eps": "fp32"} | dict.fromkeys(constants, "constexpr")
    made = built(products.linear, types, NARROW[dtype], constants, shape, whole=("columns",))
    code = within_limits(made, size.programs, tmp_path)
    assert re.search(r"HGMMA\S*TF32" if dtype == torch.float32 else "HGMMA", code), "no tensor cores of sm_90"
    assert re.search(r"\bLDGSTS\.E\.\S*128", code), "tokens are not loaded 16 bytes at a time, ahead"
    assert re.search(r"\bSTG\.E\.\S*128", code), "outputs are not stored 16 bytes at a time"
