"""What is counted: launches of a forward, bytes that training keeps, the most memory that is held."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import swin_torch
from benchmarks.gpu.part import Part
from benchmarks.standing import counts, goals

BATCH = 128


def run(part: Part) -> None:
    """Counts all."""
    _, _, limits = goals.read()
    work = {limit.what: partial(by_arithmetic, part, limit) for limit in limits}
    if part.reduced:
        part.record.leave_out("launches seen by the profiler, and peak memory", "needs a GPU")
    else:
        work |= {"launches of a Swin-T forward, as the profiler sees them": partial(seen, part)}
        for name, ours in (("swin_torch", True), ("timm", False)):
            for training in (False, True):
                step = "training step" if training else "inference"
                what = f"peak memory of a Swin-T {step}, batch {BATCH}, {name}"
                work[what] = partial(peak, part, what, ours, training)
    part.each(work)


def by_arithmetic(part: Part, limit: goals.Limit) -> None:
    """Writes down what a GPU would be given, counted without one, and the limit that it reaches."""
    count = counts.COUNTS[limit.count][0]()
    part.record.add(limit.what, {"count": count, "reached": limit.reached(count)})


def seen(part: Part) -> None:
    """Writes down the kernels that a forward started, by name."""
    model, images = swin_torch.swin_t().bfloat16().cuda().eval(), random_images()
    with torch.no_grad():
        model(images)
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            model(images)
            torch.cuda.synchronize()
    cuda = torch.autograd.DeviceType.CUDA
    names = [event.name for event in profiled.events() if event.device_type == cuda]
    kernels = [name for name in names if not name.startswith(("Memcpy", "Memset"))]
    found = {name[:80]: kernels.count(name) for name in sorted(set(kernels))}
    what = "launches of a Swin-T forward, as the profiler sees them"
    part.record.add(what, {"count": len(kernels), "by name": found})


def peak(part: Part, what: str, ours: bool, training: bool) -> None:
    """Writes down the most memory that a step holds beyond weights and images."""
    model = network(ours).cuda().bfloat16().train(training)
    images = random_images()
    step(model, images, training)
    torch.cuda.synchronize()
    for parameter in model.parameters():
        parameter.grad = None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(model, images, training)
    torch.cuda.synchronize()
    part.record.add(what, {"megabytes": round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)})


def network(ours: bool) -> Any:
    """Returns Swin-T, ours or timm's."""
    if ours:
        return swin_torch.swin_t()
    import timm

    return timm.create_model("swin_tiny_patch4_window7_224", pretrained=False)


def step(model: Any, images: torch.Tensor, training: bool) -> None:
    """Runs a forward, in training with its backward."""
    with torch.set_grad_enabled(training):
        logits = model(images)
        if training:
            logits.float().square().mean().backward()


def random_images() -> torch.Tensor:
    """Returns a batch on the GPU."""
    return torch.randn(BATCH, 3, 224, 224, device="cuda", dtype=torch.bfloat16)
