"""A block without gradients by the ways that a GPU has, each judged at full size before it is timed.

One or the other is faster by the size of its products: on a GPU that nobody measured, arithmetic decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from swin_properties.budget import deviation

from benchmarks import floors
from benchmarks.cases import SIZES, Case
from benchmarks.verdicts import exact_and_budget, wide
from swin_torch import fusing
from swin_torch.variants import FusedAdapter

COMPONENT = "swin_block"

STAGES = "stage1", "stage2", "stage3", "stage4"


class Launched(FusedAdapter):
    """Each linear layer with what lies around it in one launch."""

    compute_block = staticmethod(lambda block, x, shift, *_: fusing.in_five_launches(block, x, shift))


class Around(FusedAdapter):
    """The library's products, few passes between them."""

    compute_block = staticmethod(lambda block, x, shift, *_: fusing.around_products(block, x, shift))


WAYS = {"five launches": Launched, "library's products": Around}


def runs(size: str, batch: int, precision: str, device: str) -> dict[str, Callable[[], Any]]:
    """Each way, ready to be timed, of a stage's shifted block on so many images.

    Errors: ``ValueError`` for one that computes another function.
    """
    image, *rest = Case(COMPONENT, size).arguments
    images = np.repeat(image, batch, 0)
    found = {name: way(precision, device).prepare(COMPONENT, images, *rest) for name, way in WAYS.items()}
    exact, beta = exact_and_budget(COMPONENT, wide((image, *rest)), precision)
    for name, run in found.items():
        got = run()[-1:].double().cpu().numpy()
        if not (apart := deviation(got, exact, beta)).holds:
            raise ValueError(
                f"what is timed is Swin's block, {name} is {apart.rho:.3g} budgets from it: mend it"
            )
    return found


def works(size: str, batch: int) -> Iterator[floors.Work]:
    """Its kernels' operations and numbers moved."""
    stage = SIZES[size]
    return floors.block(batch * stage.grid**2, stage.channels, stage.window**2, 4 * stage.channels)
