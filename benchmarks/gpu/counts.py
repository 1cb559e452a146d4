"""Counts the launches of a forward, the bytes that training keeps, and the most memory that a step holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

import swin_torch
from benchmarks.gpu.part import Part
from benchmarks.standing import counts, goals

BATCH = 128

NETWORKS: dict[str, tuple[Callable[[], Any], str, int]] = {
    "Swin-T": (swin_torch.swin_t, "swin_tiny_patch4_window7_224", 224),
    "SwinV2-T": (swin_torch.swin_v2_t, "swinv2_tiny_window8_256", 256),
}
"""By name: what makes ours, timm's name, and the side of an image."""


def run(part: Part) -> None:
    """Counts all."""
    _, _, limits = goals.read()
    work: dict[str, Callable[[], None]] = {
        limit.what: partial(count_without_gpu, part, limit) for limit in limits
    }
    if part.reduced:
        part.record.leave_out("launches seen by the profiler, and peak memory", "needs a GPU")
    else:
        for network in NETWORKS:
            for what, training in (("forward", False), ("training step in bf16 autocast", True)):
                name = f"launches of a {network} {what}, as the profiler sees them"
                work[name] = partial(count_kernels, part, name, network, training)
            for name, ours in (("swin_torch", True), ("timm", False)):
                for training in (False, True):
                    step = "training step" if training else "inference"
                    what = f"peak memory of a {network} {step}, batch {BATCH}, {name}"
                    work[what] = partial(measure_peak, part, what, network, ours, training)
    part.do_each(work)


def count_without_gpu(part: Part, limit: goals.Limit) -> None:
    """Records a count for a GPU that is made without one, and the limit that it reaches."""
    count = counts.count(limit)
    part.record.add(limit.what, {"count": count, "reached": limit.find_reached(count)})


def count_kernels(part: Part, what: str, network: str, training: bool) -> None:
    """Records the kernels that a step starts, and the microseconds of each, by name."""
    model, images = make_network(network, True).cuda().train(training), draw_images(network)
    if not training:
        model.bfloat16()
    with torch.autocast("cuda", torch.bfloat16, enabled=training):
        run_step(model, images, training)
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            run_step(model, images, training)
            torch.cuda.synchronize()
    kernels = [
        (event.name[:80], event.device_time)
        for event in profiled.events()
        if event.device_type == DeviceType.CUDA and not event.name.startswith(("Memcpy", "Memset"))
    ]
    names = sorted({name for name, _ in kernels})
    found = {name: [round(length, 1) for one, length in kernels if one == name] for name in names}
    total = sum(length for _, length in kernels)
    part.record.add(what, {"count": len(kernels), "microseconds": found, "total": round(total)})


def measure_peak(part: Part, what: str, network: str, ours: bool, training: bool) -> None:
    """Records the most memory that a step holds beyond weights and images."""
    model = make_network(network, ours).cuda().bfloat16().train(training)
    images = draw_images(network)
    run_step(model, images, training)
    torch.cuda.synchronize()
    for parameter in model.parameters():
        parameter.grad = None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run_step(model, images, training)
    torch.cuda.synchronize()
    part.record.add(what, {"megabytes": round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)})


def make_network(network: str, ours: bool) -> Any:
    """Returns Swin-T or SwinV2-T, ours or timm's."""
    make, name_of_timm, _ = NETWORKS[network]
    if ours:
        return make()
    import timm

    return timm.create_model(name_of_timm, pretrained=False)


def run_step(model: Any, images: torch.Tensor, training: bool) -> None:
    """Runs a forward, in training with its backward."""
    with torch.set_grad_enabled(training):
        logits = model(images)
        if training:
            logits.float().square().mean().backward()


def draw_images(network: str) -> torch.Tensor:
    """Returns a batch on the GPU."""
    *_, side = NETWORKS[network]
    return torch.randn(BATCH, 3, side, side, device="cuda", dtype=torch.bfloat16)
