"""Cases of Swin V2: the sizes of V1's, with V2's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from swin_reference import parameters_v2
from swin_reference.config import SwinConfig
from swin_reference.config_v2 import SwinV2Config

from swin_properties.cases import recipes
from swin_properties.cases.case import Case, GridCase, NetCase
from swin_properties.cases.remember import remember


def set_bias_width(shapes: Any, width: int) -> Any:
    """Returns shapes, at any nesting level, with MLPs of the position bias of this width.

    >>> set_bias_width({"cpb_mlp": parameters_v2.position_bias_shapes(3)}, 8)["cpb_mlp"]["2"]
    {'weight': (3, 8)}
    """
    if isinstance(shapes, list):
        return [set_bias_width(child, width) for child in shapes]
    if not isinstance(shapes, dict):
        return shapes
    return {
        name: parameters_v2.position_bias_shapes(child["2"]["weight"][0], width)
        if name == "cpb_mlp"
        else set_bias_width(child, width)
        for name, child in shapes.items()
    }


@dataclass(frozen=True)
class GridV2Case(GridCase):
    """A grid of tokens for everything of Swin V2 up to a block."""

    bias_width: int = parameters_v2.BIAS_MLP_WIDTH
    """The width of the MLP of the position bias."""

    def hot(self, shapes: Any) -> Any:
        """Hot parameters of any shapes, from this case's seed, by the recipe."""
        return super().hot(set_bias_width(shapes, self.bias_width))

    @remember
    def attention(self) -> Any:
        """Parameters of a cosine window attention by the recipe."""
        shapes = parameters_v2.cosine_window_attention_shapes(self.channels, self.heads, bool(self.qkv_bias))
        return recipes.weights(self.recipe, self.hot(shapes))

    @remember
    def block(self) -> Any:
        """Parameters of a block by the recipe."""
        hidden = self.hidden or 2 * self.channels
        shapes = parameters_v2.block_v2_shapes(self.channels, self.heads, hidden, bool(self.qkv_bias))
        return recipes.weights(self.recipe, self.hot(shapes))

    def merging(self) -> Any:
        """Parameters of a patch merging."""
        return self.hot(parameters_v2.merging_v2_shapes(self.channels))


@dataclass(frozen=True)
class NetV2Case(NetCase):
    """A whole Swin V2: for stages, features and the classifier."""

    pretrained: tuple[int, ...] = ()
    """The window of each stage in which the weights were trained; empty for the one that is used."""
    bias_width: int = parameters_v2.BIAS_MLP_WIDTH
    """The width of the MLP of the position bias."""

    def hot(self, shapes: Any) -> Any:
        """Hot parameters of any shapes, from this case's seed, by the recipe."""
        return super().hot(set_bias_width(shapes, self.bias_width))

    @property
    def config(self) -> SwinV2Config:
        """The configuration these sizes make."""
        own = {field.name: getattr(super(NetV2Case, self).config, field.name) for field in fields(SwinConfig)}
        return SwinV2Config(**own, pretrained_window_sizes=self.pretrained)

    @remember
    def network(self) -> Any:
        """Parameters of the network by the recipe."""
        if self.recipe == "own":
            return super().network()
        return recipes.weights(self.recipe, self.hot(parameters_v2.parameter_v2_shapes(self.config)))


V2_CASES: dict[type[Case], type[Case]] = {GridCase: GridV2Case, NetCase: NetV2Case}
"""For each type of case of V1, that of V2."""


def find_v1(kind: type[Case]) -> type[Case]:
    """Returns the type of case of V1 that has the sizes of a type of case.

    >>> find_v1(GridV2Case).__name__, find_v1(NetCase).__name__
    ('GridCase', 'NetCase')
    """
    return next((v1 for v1, v2 in V2_CASES.items() if v2 is kind), kind)


def turn_into_v2(case: Case) -> Case:
    """Returns the case of V2 with the sizes of a case of V1.

    >>> print(turn_into_v2(GridCase(grid=(2, 3), window=(2, 2))))
    grid=2x3 window=2x2
    """
    return V2_CASES[type(case)](**{field.name: getattr(case, field.name) for field in fields(case)})


def with_v2(cases: Mapping[type[Case], Case]) -> dict[type[Case], Case]:
    """Returns the cases of each type, and of V2 those with the same sizes.

    >>> list(with_v2({GridCase: GridCase()})) == [GridCase, GridV2Case]
    True
    """
    return {**cases, **{V2_CASES[kind]: turn_into_v2(cases[kind]) for kind in cases.keys() & V2_CASES.keys()}}
