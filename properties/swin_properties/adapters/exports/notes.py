"""What a file shows of its weights, in sentences: notes for every report, and faults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

WRITABLE = "the laws write weights of their own into it"
"""The note on a file into which other weights can be written."""

QUANTISED = "the file is quantised to 8 bits: rho is a measure, no verdict"
"""The note on a quantised file."""


def describe_weights(weights: Mapping[str, Any], precision: str) -> list[str]:
    """Returns what the weights of a file show by themselves: rounded to half precision, or as constructed."""
    notes = []
    matrices = {name: x for name, x in weights.items() if x.ndim > 1}
    if precision == "float32" and all(_is_half(x) for x in matrices.values()):
        notes.append(
            f"the {len(matrices)} matrices are stored in float32 and are exact in float16: they were "
            "rounded to half precision before"
        )
    norms = [x for name, x in weights.items() if "norm" in name and name.endswith("weight")]
    biases = [x for name, x in weights.items() if name.endswith(".bias") and "patch_embed" not in name]
    if all(np.all(x == 1) for x in norms) and all(np.all(x == 0) for x in biases):
        notes.append(
            "all norms are 1 and all biases 0: the weights are as constructed, no checkpoint was loaded"
        )
    ends = [x for name, x in weights.items() if name.endswith(("norm1.weight", "norm2.weight"))]
    if ends and not any(np.any(x) for x in ends):
        notes.append("the norms of all blocks are 0, as V2 is constructed: no block adds anything")
    return notes


def _is_half(x: Any) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(x, x.astype(np.float16)))


def compare_weights(weights: Mapping[str, Any], given: Mapping[str, Any], checkpoint: str) -> list[str]:
    """Returns how the weights of a file differ from those of a checkpoint, in at most one sentence."""
    law = f"a file has the weights of its checkpoint, {Path(checkpoint).name}"
    if weights.keys() != given.keys() or any(weights[name].shape != x.shape for name, x in given.items()):
        odd = sorted(weights.keys() ^ given.keys()) or [
            name for name, x in given.items() if weights[name].shape != x.shape
        ]
        return [f"{law}: they are of different networks, {odd[0]} is in one of them or has two shapes"]
    rounded = {name: x.astype(weights[name].dtype) for name, x in given.items()}
    differ = [name for name, x in rounded.items() if not np.array_equal(x, weights[name])]
    if not differ:
        return []
    with np.errstate(over="ignore"):
        halves = all(
            np.array_equal(rounded[name].astype(np.float16).astype(x.dtype), x) for name, x in weights.items()
        )
    if halves:
        return [f"{law}: its weights were rounded to half precision"]
    matrices = [name for name, x in weights.items() if x.ndim > 1]
    if set(matrices) <= set(differ):
        return [f"{law}: all {len(matrices)} matrices differ, the checkpoint was not loaded"]
    worst = max(differ, key=lambda name: float(np.abs(rounded[name] - weights[name]).max()))
    by = float(np.abs(rounded[worst] - weights[worst]).max())
    return [f"{law}: {len(differ)} of {len(weights)} weights differ, {worst} by {by:.3g}"]
