"""This machine: what it is, and how fast it multiplies matrices and copies, measured now."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from swin_timing.interleaved import nothing, timed

from benchmarks.machine.checkout import commit

INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
PACKAGES = ("torch", "timm", "torchvision", "transformers", "numpy")


@cache
def ceilings(
    device: str = "cpu", dtype: torch.dtype = torch.float32, side: int = 0, size: int = 0
) -> tuple[float, float]:
    """The best of some tries: operations a second in a matmul, bytes a second moved by a copy.

    ``side`` of the matrices and ``size`` of what is copied suit the device, unless they are given.
    """
    side, size = side or (1024 if device == "cpu" else 8192), size or (2**24 if device == "cpu" else 2**30)
    # Random numbers: a GPU multiplies ones and zeros faster than it does real data.
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.randn(size, device=device).to(dtype)
    target = torch.empty_like(source)
    matmul = _least(lambda: torch.mm(a, b), device)
    copy = _least(lambda: target.copy_(source), device)
    return 2 * side**3 / matmul, 2 * source.nbytes / copy


def _least(run: Callable[[], Any], device: str, tries: int = 7) -> float:
    wait = wait_for(device)
    wait()
    return min(timed(run, wait=wait)() for _ in range(tries))


def wait_for(device: str) -> Callable[[], object]:
    """What returns when the device has done what it was given."""
    return torch.cuda.synchronize if device == "cuda" else nothing


@cache
def described() -> dict[str, Any]:
    """What a result is to be read with: processor, instruction sets, threads, versions, commit."""
    import cpuinfo  # comes with pytest-benchmark, which a GPU machine need not have

    info = cpuinfo.get_cpu_info()
    flags = info.get("flags", [])
    matmul, copy = ceilings()
    return {
        "processor": info.get("brand_raw", platform.processor()),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "matmul_gflops": round(matmul / 1e9, 1),
        "copy_gbytes": round(copy / 1e9, 1),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": commit(),
    }


def sentence() -> str:
    """The description as one line of a page."""
    d = described()
    versions = ", ".join(f"{name} {number}" for name, number in d["versions"].items() if number)
    gpu = f", {d['gpu']}" if d["gpu"] else ", no GPU"
    instructions, plural = ", ".join(d["instructions"]) or "no AVX2", "s" * (d["threads"] != 1)
    return (
        f"{d['processor']} ({instructions}), {d['threads']} thread{plural}{gpu}; "
        f"matmul {d['matmul_gflops']} GFLOP/s, copy {d['copy_gbytes']} GB/s; {versions}; commit {d['commit']}"
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
