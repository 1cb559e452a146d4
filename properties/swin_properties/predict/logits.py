"""Compares the logits of an implementation with the oracle's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import swin_reference
from swin_reference.config import SwinConfig
from swin_reference.config_v2 import SwinV2Config

from swin_properties.budget.budget import RHO_MAX_LIMIT
from swin_properties.budget.precision import Precision
from swin_properties.budget.within import Comparison, perturb, within_budget


@dataclass(frozen=True)
class Logits(Comparison):
    """The logits of the implementation and of the oracle, (images, classes), and each budget."""

    @property
    def agree(self) -> Any:
        """Returns, for each image, whether the largest logit of both is that of the same class."""
        same: Any = self.got.argmax(1) == self.expected.argmax(1)
        return same

    @property
    def decided(self) -> Any:
        """Returns, for each image, whether the oracle's largest logit leads by more than rounding can change.

        That is, by more than the errors that two logits may have together.

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


def name_network(config: SwinConfig) -> str:
    """Returns the name of the callable that classifies images by a network of a configuration.

    >>> name_network(SwinConfig())
    'swin_transformer'
    """
    return "swin_v2_transformer" if isinstance(config, SwinV2Config) else "swin_transformer"


def compare_logits(
    got: Any,
    expected: Any,
    images: Any,
    params: Mapping[str, Any],
    config: SwinConfig,
    precision: Precision,
    oracle: Any = swin_reference,
) -> Logits:
    """Compares the logits ``got`` with the oracle's ``expected``, in the budget of ``precision``.

    Shapes: got and expected (B, classes), images (B, colours, H, W).  Images and parameters are exact
    in the precision.  Near the limit more perturbed runs decide, as for a law.

    >>> from swin_properties.budget.precision import PRECISIONS
    >>> config = SwinConfig(embed_dim=4, depths=(1,), num_heads=(2,), window_size=2, num_classes=3)
    >>> params = swin_reference.hot_parameters(swin_reference.parameter_shapes(config))
    >>> images = np.ones((2, 3, 8, 8))
    >>> exact = swin_reference.swin_transformer(images, params, config)
    >>> compare_logits(exact + 1e-3, exact, images, params, config, PRECISIONS["float32"]).deviation.holds
    False
    """

    name = name_network(config)

    def logits(swin: Any) -> tuple[Any, Any]:
        return getattr(swin, name)(images, params, config), expected

    known = SimpleNamespace(**{name: lambda *_: got})
    residuals = perturb(logits, oracle, precision)
    (found,) = within_budget(logits, known, oracle, precision, residuals).pairs
    return Logits(**vars(found))
