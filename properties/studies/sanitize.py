"""Runs all C kernels, compiled with the sanitizers, over odd sizes and misshapen calls: none may report.

Python itself is started anew with the address sanitizer loaded first, as it must be.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

FLAGS = "-O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g"
LIBRARIES = "libasan.so", "libubsan.so", "libstdc++.so.6"
"""Loaded before Python; the last one since PyTorch throws exceptions of C++, which the first looks at."""

WINDOWS = (1, 1), (1, 5), (2, 3), (7, 7), (4, 9), (16, 16)
HEAD_DIMS = 1, 3, 5, 33, 64, 128
CHANNELS = 1, 2, 7, 15, 17, 33, 70


def library(name: str) -> str | None:
    """Returns where the compiler has a library; None if it has not."""
    asked = [os.environ.get("CC", "gcc"), f"-print-file-name={name}"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return found if Path(found).is_absolute() else None


def lacking() -> str | None:
    """Returns what is missing here to run under the sanitizers; None if nothing is."""
    missing = [name for name in LIBRARIES if library(name) is None]
    return (
        f"the C compiler has no {' and no '.join(missing)}: install gcc with its sanitizers"
        if missing
        else None
    )


def environment() -> dict[str, str]:
    """Returns the environment in which C is compiled with the sanitizers and Python starts with theirs."""
    return {
        "SWIN_TORCH_CFLAGS": FLAGS,
        "LD_PRELOAD": " ".join(filter(None, map(library, LIBRARIES))),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": "2",
    }


def plans() -> Iterator[tuple[Any, int]]:
    """Yields windows on grids of whole windows, padded and rolled, with the head dimensions."""
    from swin_torch.geometry.plan import Plan

    for (mh, mw), head_dim in product(WINDOWS, HEAD_DIMS):
        for rows, columns, shift in ((0, 0, (0, 0)), (1, mw - 1, (mh // 2, mw // 2))):
            grid = max(1, 2 * mh - rows), max(1, mw + columns)
            padded = -(-grid[0] // mh) * mh, -(-grid[1] // mw) * mw
            for roll_first in (False, True):
                yield Plan(grid, padded, (mh, mw), shift, 2, roll_first), head_dim


def attend() -> int:
    """Runs the attention forward and backward, and says how many calls that were."""
    import torch

    calls = 0
    operator = torch.ops.swin_torch.shifted_window_attention
    backward = torch.ops.swin_torch.shifted_window_attention_backward
    for plan, head_dim in plans():
        rows = (2 * plan.window[0] - 1) * (2 * plan.window[1] - 1)
        channels = 3 * plan.heads * head_dim
        sizes = plan.heads, plan.window, plan.shift, plan.padded, plan.roll_first, 0.5, -torch.inf
        for dtype, batch in product((torch.float32, torch.bfloat16), (0, 1)):
            qkv = torch.randn(batch, *plan.grid, channels).to(dtype)
            given = qkv, torch.randn(rows, plan.heads), torch.randn(channels).to(dtype), *sizes
            out = operator(*given)
            backward(torch.randn(out.shape).to(dtype), *given)
            calls += 2
    return calls


def layers() -> int:
    """Runs products, what lies between them, blocks and merges, and says how many calls that were."""
    import torch

    from swin_torch import PatchMerging, SwinBlock
    from swin_torch.backends.c import pointwise
    from swin_torch.backends.c.products import multiply as multiply

    calls = 0
    for channels, rows in product(CHANNELS, (1, 2, 5, 13, 40)):
        x, gain = torch.randn(rows, channels), torch.randn(channels)
        pointwise.gelu(x, torch.empty_like(x))
        pointwise.gelu_backward(x, torch.randn_like(x), torch.empty_like(x))
        pointwise.norm(x, gain, gain, 1e-5, torch.empty_like(x))
        of_norm = torch.zeros(torch.get_num_threads(), 2, channels)
        for added in (None, torch.randn_like(x)):
            pointwise.norm_backward(x, x, gain, 1e-5, added, of_norm, torch.empty_like(x))
        calls += 5
        for columns, depth in product((1, 15, 33, 65), (1, 17, 513)):
            for left_turned, right_turned, more in product((False, True), (False, True), (False, True)):
                left = torch.randn(depth, rows).T if left_turned else torch.randn(rows, depth)
                right = torch.randn(columns, depth).T if right_turned else torch.randn(depth, columns)
                given = torch.randn(rows, columns) if more else None
                bias = torch.randn(columns) if more else None
                multiply(left, right, torch.empty(rows, columns), given, bias, more, more)
                calls += 1
    for (mh, mw), channels, (height, width) in product(
        ((1, 1), (2, 3), (7, 7)), (1, 5, 33), ((1, 1), (5, 8), (14, 7))
    ):
        for grad, batch in product((False, True), (0, 1, 3)):
            block = SwinBlock(channels, 1, (mh, mw), channels + 2)
            merge = PatchMerging(channels)
            with torch.set_grad_enabled(grad):
                x = torch.randn(batch, height, width, channels)
                kept = (torch.ones(batch), torch.zeros(batch)) if grad else None
                out = merge(block(x.requires_grad_(grad), (mh // 2, mw // 2), kept))
            if grad:
                out.sum().backward()
            calls += 1
    return calls


def run() -> None:
    """Runs all calls, in memory that is new each time: a reading past its end would be another's else."""
    from swin_torch.backends.c import pointwise, scratch

    scratch._keep_freed_memory()
    scratch.LARGEST = -1
    pointwise.FEW = 100  # every thread has something to do
    print(f"{attend()} calls of the attention, {layers()} of layers and blocks")


def main() -> int:
    """Starts what runs, and says what the sanitizers said; how many reports is the exit code."""
    reason = lacking()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 2
    folder = Path(__file__).parent
    path = os.pathsep.join([*map(str, (folder.parent, folder, folder.parent / "reference")), *sys.path])
    given = {**os.environ, **environment(), "PYTHONPATH": path}
    own = subprocess.run([sys.executable, __file__, "run"], env=given, check=False)
    if own.returncode:
        return 1
    from misshapen import CASES, asked_for, judged

    found = judged(asked_for(list(CASES), ["inference", "training"]), given)
    reported = {name: verdict for name, verdict in found.items() if "ended the process" in verdict}
    for name, verdict in reported.items():
        print(f"{name}: {verdict}")
    print(f"{len(found)} misshapen calls, {len(reported)} that ended their process")
    return bool(reported)


if __name__ == "__main__":
    if sys.argv[1:] == ["run"]:
        run()
    else:
        sys.exit(main())
