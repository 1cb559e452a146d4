"""The fused attention beside its peers' formulations, paired and interleaved: ratios of minima.

    python benchmarks/attention_core.py [cpu|cuda] [rounds]

What is timed is all between the two linear layers.  The fused operator takes qkv in image order; a peer
shifts and partitions its tokens, takes qkv in window order, made beforehand, and goes back.  A peer counts
only if its output is the fused operator's, which the laws judge.  On a GPU copying qkv is timed beside them:
4/6 of that is the forward's floor, which moves 4 parts and not 6.  On a busy CPU set OMP_NUM_THREADS=1:
threads that wait for each other measure the other load.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from swin_torch import functional, shifted_window_attention_core

STAGES = {"stage 1": (56, 96, 3), "stage 2": (28, 192, 6), "stage 3": (14, 384, 12)}
WINDOW = 7
BATCH = {"cpu": 8, "cuda": 128}
Runs = dict[str, Callable[[], Any]]


class Case:
    """One stage at one shift and precision: the tensors, and the runs by name."""

    def __init__(self, device: str, dtype: torch.dtype, stage: str, shift: int) -> None:
        """All tensors are random."""
        torch.manual_seed(0)
        side, channels, self.heads = STAGES[stage]
        self.shift = shift
        batch = BATCH[device]
        make = lambda *shape: torch.randn(*shape, device=device)  # noqa: E731
        self.qkv = make(batch, side, side, 3 * channels).to(dtype).requires_grad_()
        self.table = make((2 * WINDOW - 1) ** 2, self.heads).requires_grad_()
        self.x = make(batch, side, side, channels).to(dtype).requires_grad_()
        self.cotangent = make(batch, side, side, channels).to(dtype)
        windows = functional.window_partition(functional.cyclic_shift(self.qkv, shift), WINDOW)
        self.windows = windows.flatten(1, 2).contiguous().detach().requires_grad_()
        # Peers mask by adding -100, whole windows of zeros too.
        soft = functional.shifted_window_mask(side, side, WINDOW, shift, dtype, device)
        self.mask = soft.clamp(min=-100) if shift else None

    def fused(self) -> Tensor:
        """The operator."""
        return shifted_window_attention_core(self.qkv, self.table, self.heads, WINDOW, self.shift)

    def peer(self, sdpa: bool) -> Tensor:
        """As timm, torchvision and the official code formulate it, with SDPA as timm does where it can."""
        moved = functional.window_partition(functional.cyclic_shift(self.x, self.shift), WINDOW)
        q, k, v = self.windows.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = functional.relative_position_bias(self.table, WINDOW).to(q.dtype)[None]
        if self.mask is not None:
            batch = len(q) // len(self.mask)
            bias = (bias + self.mask[:, None]).expand(batch, -1, -1, -1, -1).flatten(0, 1) if sdpa else bias
        if sdpa:
            out = scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            logits = (q * q.shape[-1] ** -0.5) @ k.mT + bias
            if self.mask is not None:
                logits = (logits.unflatten(0, (-1, len(self.mask))) + self.mask[:, None]).flatten(0, 1)
            out = logits.softmax(-1) @ v
        out = out.transpose(1, 2).reshape(moved.shape)
        grid = functional.window_reverse(out, WINDOW, *self.x.shape[1:3])
        return functional.reverse_cyclic_shift(grid, self.shift)

    def runs(self, training: bool) -> Runs:
        """The forward without gradients, or forward and backward; peers verified first."""
        outputs: Runs = {
            "fused": self.fused,
            "manual": lambda: self.peer(sdpa=False),
            "sdpa": lambda: self.peer(sdpa=True),
        }
        bound = 1e-4 if self.qkv.dtype == torch.float32 else 0.1
        for name, output in outputs.items():
            if (output() - self.fused()).abs().max() > bound:
                raise SystemExit(f"{name} is another function: its time means nothing")

        def step(name: str) -> None:
            with torch.set_grad_enabled(training):
                out = outputs[name]()
                if training:
                    leaves = self.table, self.qkv if name == "fused" else self.windows
                    torch.autograd.grad(out, leaves, self.cotangent)

        return {name: lambda name=name: step(name) for name in outputs}  # type: ignore[misc]


def minima(runs: Runs, rounds: int, device: str) -> dict[str, float]:
    """The least time of each run in milliseconds, the order rotated from round to round."""
    names, best = list(runs), dict.fromkeys(runs, float("inf"))
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            _wait(device)
            start = perf_counter()
            runs[name]()
            _wait(device)
            if turn:  # the first round warms up
                best[name] = min(best[name], 1e3 * (perf_counter() - start))
    return best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main(device: str = "cpu", rounds: str = "15") -> None:
    """Prints the table."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(f"{name}, batch {BATCH[device]}, ms, and ratios to the fused operator")
    for dtype in (torch.float32, torch.bfloat16):
        for stage in STAGES:
            for shift in (WINDOW // 2, 0):
                case = Case(device, dtype, stage, shift)
                for training in (False, True):
                    runs = case.runs(training)
                    if device == "cuda":
                        out = torch.empty_like(case.qkv)
                        runs["copy"] = lambda out=out, case=case: out.copy_(case.qkv.detach())
                    if device == "cpu" and dtype == torch.bfloat16:
                        del runs["manual"]  # without bfloat16 instructions it takes seconds
                    best = minima(runs, int(rounds), device)
                    what = f"{dtype}"[6:], stage, f"shift {shift}", "training" if training else "inference"
                    ratios = "  ".join(
                        f"{name} {time:.2f} ({time / best['fused']:.2f}x)" for name, time in best.items()
                    )
                    print(*what, ratios, sep="  ", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
