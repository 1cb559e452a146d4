"""Logits of images, an implementation's beside the oracle's: how far apart, and whose class is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import swin_reference
from swin_reference.config import SwinConfig

from swin_properties.budget.budget import RHO_MAX_LIMIT
from swin_properties.budget.precision import Precision
from swin_properties.budget.within import Comparison, perturb, within_budget


@dataclass(frozen=True)
class Logits(Comparison):
    """Both sides' logits, (images, classes), the budget of each, and how far apart the sides are."""

    @property
    def agree(self) -> Any:
        """For each image, whether both sides name the same class."""
        same: Any = self.got.argmax(1) == self.expected.argmax(1)
        return same

    @property
    def decided(self) -> Any:
        """For each image, whether the oracle's class is first by more than both logits may err together.

        >>> from swin_properties.budget.budget import EQUAL
        >>> exact, beta = np.array([[1.0, 0.0], [1e-9, 0.0]]), np.full((2, 2), 1e-8)
        >>> Logits(exact, exact, beta, EQUAL).decided
        array([ True, False])
        """
        floor = np.sqrt(np.mean(np.square(self.beta)))
        may_err = RHO_MAX_LIMIT * np.maximum(self.beta, floor)
        best = self.expected.argmax(1)[:, None]
        first, its_error = (np.take_along_axis(x, best, 1) for x in (self.expected, may_err))
        beaten = first - self.expected > its_error + may_err
        np.put_along_axis(beaten, best, True, 1)
        return beaten.all(1)


def judged_logits(
    got: Any,
    expected: Any,
    images: Any,
    params: Mapping[str, Any],
    config: SwinConfig,
    precision: Precision,
    oracle: Any = swin_reference,
) -> Logits:
    """The logits ``got`` of images beside the oracle's, with the budget of who computed in ``precision``.

    Shapes: got and expected (B, classes), images (B, colours, H, W).  Images and parameters are exact in the
    precision.  Near the limit more perturbed runs decide, as for a law.

    >>> from swin_properties.budget.precision import PRECISIONS
    >>> config = SwinConfig(embed_dim=4, depths=(1,), num_heads=(2,), window_size=2, num_classes=3)
    >>> params = swin_reference.hot_parameters(swin_reference.parameter_shapes(config))
    >>> images = np.ones((2, 3, 8, 8))
    >>> exact = swin_reference.swin_transformer(images, params, config)
    >>> judged_logits(exact + 1e-3, exact, images, params, config, PRECISIONS["float32"]).deviation.holds
    False
    """

    def logits(swin: Any) -> tuple[Any, Any]:
        return swin.swin_transformer(images, params, config), expected

    known = SimpleNamespace(swin_transformer=lambda *_: got)
    residuals = perturb(logits, oracle, precision)
    (found,) = within_budget(logits, known, oracle, precision, residuals).pairs
    return Logits(**vars(found))
