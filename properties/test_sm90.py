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

from swin_torch.kernels import blocks, blocks_backward, blocks_bias, launch, norms, tile  # noqa: E402
from swin_torch.plan import Plan  # noqa: E402

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
SHARED_LIMIT = 227 * 1024
REGISTERS = 65536
"""Of one multiprocessor."""

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1" or not (TOOLS / "cuobjdump").exists(),
    reason="Triton interprets, or its wheel has no cuobjdump",
)

KERNELS = {
    (tile.forward, 7): launch.FORWARD_PROGRAMS,
    (tile.forward, 8): launch.FORWARD_PROGRAMS,
    (tile.backward, 7): launch.BACKWARD_PROGRAMS,
    (tile.backward, 8): launch.BACKWARD_PROGRAMS,
} | {
    (kernel, window): launch.BACKWARD_PROGRAMS
    for window in (12, 16)
    for kernel in (
        blocks.forward,
        blocks_backward.queries,
        blocks_backward.keys,
        blocks_bias.bias_gradient,
    )
}
"""Kernel and window, and how many programs a multiprocessor must hold at once, as `launch` counts on."""


def compiled(kernel: Any, window: int, padded: bool, dtype: torch.dtype = torch.bfloat16) -> Any:
    """The kernel as `launch` compiles it for 3 heads of 32 channels."""
    whole = 4 * window
    plan = Plan((whole - padded, whole), (whole, whole), (window,) * 2, (window // 2,) * 2, 3, False)
    qkv = torch.empty(1, whole, whole, 288, dtype=dtype, device="meta")
    shape = launch.compiled_shape(plan, qkv, backward=kernel not in (tile.forward, blocks.forward))
    constants = {name: value for name, value in shape.constants.items() if name in kernel.arg_names}
    constants["PRECISION"] = "tf32" if dtype == torch.float32 else "ieee"  # a meta tensor is on no GPU
    narrow = {torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float32: "*fp32"}[dtype]
    types = dict.fromkeys(("qkv", "pad", "out", "gradient", "of_qkv"), narrow)
    types |= dict.fromkeys(("table", "of_bias", "stats"), "*fp32")
    types |= dict.fromkeys(("scale", "mask_value"), "fp32") | dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind[0] == "*"}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": shape.num_warps, "num_stages": shape.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


def dumped(kernel: Any, how: str, folder: Path) -> str:
    binary = folder / "kernel.cubin"
    binary.write_bytes(kernel.asm["cubin"])
    run = subprocess.run([TOOLS / "cuobjdump", how, binary], capture_output=True, text=True, check=True)
    return run.stdout


@pytest.mark.parametrize(
    ("kernel", "window", "padded"),
    [(*key, False) for key in KERNELS] + [(*key, True) for key in KERNELS if key[1] in (7, 12)],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_no_spills_and_tensor_cores(kernel: Any, window: int, padded: bool, tmp_path: Path) -> None:
    made = compiled(kernel, window, padded)
    found = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", dumped(made, "--dump-resource-usage", tmp_path))
    assert found
    registers, stack, local = map(int, found.groups())
    assert (stack, local) == (0, 0)
    code = dumped(made, "-sass", tmp_path)
    assert not re.findall(r"\b(?:STL|LDL)\b", code), "registers are spilled"
    assert "HGMMA" in code, "no tensor cores of sm_90"
    assert re.search(r"\bLD(?:GSTS|G)\.E\.\S*128", code), "tokens are not loaded 16 bytes at a time"
    programs = KERNELS[kernel, window]
    assert made.metadata.shared <= SHARED_LIMIT // programs
    assert -(-registers // 8) * 8 * 32 * made.metadata.num_warps <= REGISTERS // programs


def test_tf32_uses_tensor_cores(tmp_path: Path) -> None:
    made = compiled(tile.forward, 7, False, torch.float32)
    assert re.search(r"HGMMA\S*TF32", dumped(made, "-sass", tmp_path))


@pytest.mark.parametrize("channels", [96, 192, 384, 768, 1536])
def test_the_norm_does_not_spill(channels: int, tmp_path: Path) -> None:
    block = launch._power_of_two(channels)
    constants = {"BLOCK": block, "AHEAD": True}
    types = {"channels": "i32", "eps": "fp32"} | dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "*bf16") for name in norms.add_norm.arg_names}
    source = ASTSource(fn=norms.add_norm, signature=signature, constexprs=constants)
    options = {"num_warps": launch.row_warps(block)}
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    found = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", dumped(made, "--dump-resource-usage", tmp_path))
    assert found
    registers, stack, local = map(int, found.groups())
    assert (stack, local) == (0, 0)
    assert registers <= 64, "fewer than 32 warps a multiprocessor do not keep its memory busy"
