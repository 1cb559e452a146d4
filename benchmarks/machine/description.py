"""Describes this machine, and measures how fast it multiplies matrices and copies memory."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from swin_timing.interleaved import do_nothing, make_sample

from benchmarks.machine.checkout import find_commit

INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
PACKAGES = ("torch", "timm", "torchvision", "transformers", "numpy")


@cache
def measure_ceilings(
    device: str = "cpu", dtype: torch.dtype = torch.float32, side: int = 0, size: int = 0
) -> tuple[float, float]:
    """Returns the most operations a second of a matmul, and the most bytes a second that a copy moves.

    ``side`` is that of the matrices, ``size`` the numbers that are copied; 0 chooses what suits the device.
    """
    side, size = side or (1024 if device == "cpu" else 8192), size or (2**24 if device == "cpu" else 2**30)
    # Random numbers: a GPU multiplies ones and zeros faster than it does real data.
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.randn(size, device=device).to(dtype)
    target = torch.empty_like(source)
    matmul = _find_least_seconds(lambda: torch.mm(a, b), device)
    copy = _find_least_seconds(lambda: target.copy_(source), device)
    return 2 * side**3 / matmul, 2 * source.nbytes / copy


def _find_least_seconds(run: Callable[[], Any], device: str, tries: int = 7) -> float:
    wait = find_wait(device)
    wait()
    return min(make_sample(run, wait=wait)() for _ in range(tries))


def find_wait(device: str) -> Callable[[], object]:
    """Returns a function that waits until the device has finished its work."""
    return torch.cuda.synchronize if device == "cuda" else do_nothing


@cache
def describe() -> dict[str, Any]:
    """Returns what a result depends on: processor, instruction sets, threads, versions, commit."""
    import cpuinfo  # part of pytest-benchmark, which a GPU machine may lack

    info = cpuinfo.get_cpu_info()
    flags = info.get("flags", [])
    matmul, copy = measure_ceilings()
    return {
        "processor": info.get("brand_raw", platform.processor()),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "matmul_gflops": round(matmul / 1e9, 1),
        "copy_gbytes": round(copy / 1e9, 1),
        "versions": {name: _find_version(name) for name in PACKAGES},
        "commit": find_commit(),
    }


def make_sentence() -> str:
    """Returns the description as one line of a page."""
    d = describe()
    versions = ", ".join(f"{name} {number}" for name, number in d["versions"].items() if number)
    gpu = f", {d['gpu']}" if d["gpu"] else ", no GPU"
    instructions, plural = ", ".join(d["instructions"]) or "no AVX2", "s" * (d["threads"] != 1)
    return (
        f"{d['processor']} ({instructions}), {d['threads']} thread{plural}{gpu}; "
        f"matmul {d['matmul_gflops']} GFLOP/s, copy {d['copy_gbytes']} GB/s; {versions}; commit {d['commit']}"
    )


def _find_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
