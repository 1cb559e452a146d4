"""This card's ceilings: how fast it multiplies large matrices and copies, in each precision."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.gpu import record
from benchmarks.gpu.part import Part
from benchmarks.machine import description

PRECISIONS = {
    "bfloat16": (torch.bfloat16, "ieee"),
    "float16": (torch.float16, "ieee"),
    "tf32": (torch.float32, "tf32"),
    "float32": (torch.float32, "ieee"),
}
"""By name: the type, and what PyTorch multiplies float32 in."""


REDUCED = {"side": 64, "size": 4096}
"""Sizes of a rehearsal."""


def run(part: Part) -> None:
    """Measures each precision."""
    part.each({precision: partial(measure, part, precision) for precision in PRECISIONS})


def measure(part: Part, precision: str) -> None:
    """Writes down operations a second of a matmul, and bytes a second of a copy."""
    dtype, product = PRECISIONS[precision]
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = product
    description.ceilings.cache_clear()
    try:
        sizes = REDUCED if part.reduced else {}
        operations, moved = description.ceilings(part.device, dtype, **sizes)
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    part.record.add(precision, {"operations": operations, "bytes": moved})
    print(f"{precision}: matmul {operations / 1e12:.3g} TFLOP/s, copy {moved / 1e12:.3g} TB/s", flush=True)


def of(part: Part, precision: str) -> tuple[float, float]:
    """Returns what was measured for a precision, by the part before or else now."""
    path = record.path_of(part.folder, "ceilings")
    found: dict[str, Any] = record.read(path)["found"] if path.exists() else {}
    if precision in found:
        return found[precision]["operations"], found[precision]["bytes"]
    return description.ceilings(part.device, PRECISIONS[precision][0], **(REDUCED if part.reduced else {}))
