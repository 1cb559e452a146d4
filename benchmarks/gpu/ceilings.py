"""Measures the card's ceilings: how fast it multiplies and copies, in each precision."""

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
"""By name: the type, and the precision in which PyTorch multiplies float32."""


REDUCED = {"side": 64, "size": 4096}
"""The sizes of a rehearsal."""


def run(part: Part) -> None:
    """Measures each precision."""
    part.do_each({precision: partial(measure, part, precision) for precision in PRECISIONS})


def measure(part: Part, precision: str) -> None:
    """Records the operations a second of a matmul and the bytes a second of a copy."""
    dtype, product = PRECISIONS[precision]
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = product
    description.measure_ceilings.cache_clear()
    try:
        sizes = REDUCED if part.reduced else {}
        operations, moved = description.measure_ceilings(part.device, dtype, **sizes)
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    part.record.add(precision, {"operations": operations, "bytes": moved})
    print(f"{precision}: matmul {operations / 1e12:.3g} TFLOP/s, copy {moved / 1e12:.3g} TB/s", flush=True)


def find(part: Part, precision: str) -> tuple[float, float]:
    """Returns operations and bytes a second in a precision: from this part's file, else measured now."""
    path = record.find_path(part.folder, "ceilings")
    found: dict[str, Any] = record.read(path)["found"] if path.exists() else {}
    if precision in found:
        return found[precision]["operations"], found[precision]["bytes"]
    return description.measure_ceilings(
        part.device, PRECISIONS[precision][0], **(REDUCED if part.reduced else {})
    )
