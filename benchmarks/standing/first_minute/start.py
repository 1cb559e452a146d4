"""python -m benchmarks.standing.first_minute.start NAME: one start of a network, timed step by step.

It prints one line of JSON.  A process measures one contestant, once: nothing of it is loaded before.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from swin_timing.machine_load import read_peak_bytes

IMAGES_TIMED = 10
"""How many images follow the second; the least time counts."""


def build_ours(package: Any) -> Any:
    """Returns Swin-T as our users build it."""
    return package.swin_t()


def build_timm(package: Any) -> Any:
    """Returns Swin-T as timm's users build it."""
    return package.create_model("swin_tiny_patch4_window7_224")


def build_torchvision(package: Any) -> Any:
    """Returns Swin-T as torchvision's users build it."""
    return package.swin_t()


def build_transformers(package: Any) -> Any:
    """Returns Swin-T as transformers' users build it."""
    return package.SwinForImageClassification(package.SwinConfig(num_labels=1000))


BUILDERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "swin_torch": ("swin_torch", build_ours),
    "timm": ("timm", build_timm),
    "torchvision": ("torchvision.models", build_torchvision),
    "transformers": ("transformers", build_transformers),
}
"""The module that a user imports, and what makes a Swin-T from it, by contestant."""


def measure_start(name: str) -> dict[str, float]:
    """Returns the seconds of each step of a start, and the most memory in MB after inference and training.

    ``import`` is what the package adds to the import of torch.
    """
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    home, build = BUILDERS[name]
    steps: dict[str, float] = {}

    def time_step(step: str, run: Callable[[], Any]) -> Any:
        begun = perf_counter()
        done = run()
        steps[step] = perf_counter() - begun
        return done

    package = time_step("import", lambda: import_package(name, home))
    model = time_step("construction", lambda: build(package)).eval()
    with torch.no_grad():
        time_step("first image", lambda: model(image))
        time_step("second image", lambda: model(image))
        later = []
        for _ in range(IMAGES_TIMED):
            time_step("an image", lambda: model(image))
            later.append(steps["an image"])
    steps["an image"] = min(later)
    steps["memory, inference"] = read_peak_bytes() / 1e6
    model.train()
    optimizer = torch.optim.AdamW(model.parameters())

    def train() -> None:
        logits = model(image.repeat(2, 1, 1, 1))
        getattr(logits, "logits", logits).square().mean().backward()
        optimizer.step()

    time_step("first training step", train)
    steps["memory, training"] = read_peak_bytes() / 1e6
    return steps


def import_package(name: str, home: str) -> Any:
    """Imports a package; peers import torchvision, whose operators are declared where they do not load."""
    if name != "swin_torch":
        from swin_properties.adapters.peers.base import vision_operators

        vision_operators()
    return importlib.import_module(home)


if __name__ == "__main__":
    print(json.dumps(measure_start(sys.argv[1])))
