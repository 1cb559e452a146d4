"""A network in steps, from the image to the logits: each is computed alone, from what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from swin_reference.config import SwinConfig
from swin_reference.config_v2 import SwinV2Config
from swin_reference.conventions import Convention
from swin_reference.embedding import add_position_embedding
from swin_reference.network import classify
from swin_reference.rules import stage_grids, stage_shift, stage_window

from swin_properties.adapters.versions import V2AsV1

Kind = Literal["embedding", "block", "stage", "merge", "head"]


@dataclass(frozen=True)
class Place:
    """A step of a network: where it stands, counted from 0.

    ``number`` counts the blocks of the whole network; of a stage it is that of its last block.

    >>> Place("block", 2, 3, 7).name, Place("block", 2, 3, 7).words
    ('layers.2.blocks.3', 'block 7')
    """

    kind: Kind
    stage: int = 0
    block: int = 0
    number: int = 0

    @property
    def name(self) -> str:
        """Returns the name that the official checkpoint has for it."""
        names = {
            "embedding": "patch_embed",
            "block": f"layers.{self.stage}.blocks.{self.block}",
            "stage": f"layers.{self.stage}",
            "merge": f"layers.{self.stage}.downsample",
            "head": "head",
        }
        return names[self.kind]

    @property
    def words(self) -> str:
        """Returns what a sentence calls it."""
        numbers = {"block": f" {self.number}", "stage": f" {self.stage}", "merge": f" {self.stage}"}
        return self.kind + numbers.get(self.kind, "")


def list_places(config: SwinConfig) -> list[Place]:
    """Returns the steps of a network in order: embedding, blocks, merges, head.

    >>> [place.words for place in list_places(SwinConfig(depths=(2, 1), num_heads=(1, 2)))]
    ['embedding', 'block 0', 'block 1', 'merge 0', 'block 2', 'head']
    """
    places, number = [Place("embedding")], 0
    for stage, depth in enumerate(config.depths):
        places += [Place("block", stage, block, number + block) for block in range(depth)]
        number += depth
        if stage < len(config.depths) - 1:
            places.append(Place("merge", stage, 0, number - 1))
    return [*places, Place("head", len(config.depths) - 1, 0, number - 1)]


def list_stages(config: SwinConfig) -> list[Place]:
    """Returns the stages of a network: what can be told apart where only the stages' maps are known."""
    return [
        Place("stage", stage, 0, sum(config.depths[: stage + 1]) - 1) for stage in range(len(config.depths))
    ]


def find_params(params: Mapping[str, Any], place: Place) -> Any:
    """Returns the parameters of a step, out of those of the network."""
    if place.kind == "embedding":
        return {name: params[name] for name in ("patch_embed", "absolute_pos_embed") if name in params}
    if place.kind == "head":
        return {name: params[name] for name in ("norm", "head") if name in params}
    stage = params["layers"][place.stage]
    if place.kind == "block":
        return stage["blocks"][place.block]
    if place.kind == "merge":
        return stage["downsample"]
    before = (
        find_params(params, Place("embedding")) if place.stage == 0 else params["layers"][place.stage - 1]
    )
    return {"before": before.get("downsample", before), "blocks": stage["blocks"]}


class Steps:
    """The steps of a network of one configuration, computed by a Swin's callables.

    ``swin`` is the oracle under a convention, or an implementation that is asked step by step.  Maps are
    (B, H, W, C), images (B, colours, H, W), logits (B, classes).

    Errors: `Rejected` for sizes that the convention rejects.

    >>> import numpy as np, swin_reference
    >>> config = SwinConfig(8, embed_dim=4, depths=(1,), num_heads=(2,), window_size=2, num_classes=3)
    >>> params = swin_reference.hot_parameters(swin_reference.parameter_shapes(config))
    >>> steps = Steps(swin_reference, config, swin_reference.CONVENTIONS["canonical"])
    >>> images = np.ones((1, 3, 8, 8))
    >>> [y.shape for y in steps.walk(images, params)]
    [(1, 2, 2, 4), (1, 2, 2, 4), (1, 3)]
    >>> logits = swin_reference.swin_transformer(images, params, config)
    >>> bool((steps.walk(images, params)[-1] == logits).all())
    True
    """

    def __init__(self, swin: Any, config: SwinConfig, convention: Convention) -> None:
        self.is_v2 = isinstance(config, SwinV2Config)
        self.swin = V2AsV1(swin) if self.is_v2 else swin
        self.config = config
        self.grids = stage_grids(config, convention)
        stages = zip(self.grids, config.windows, strict=True)
        self.windows = [stage_window(grid, window, convention) for grid, window in stages]
        shifts = zip(self.grids, self.windows, strict=True)
        self.shifts = [stage_shift(grid, window, convention) for grid, window in shifts]

    def step(self, place: Place, x: Any, params: Any) -> Any:
        """Computes one step from what it is given, with its own parameters (`find_params`)."""
        swin, stage = self.swin, place.stage
        if place.kind == "embedding":
            x = swin.patch_embed(x, params["patch_embed"], self.config.patch_size)
            if self.config.absolute_position_embedding:
                return add_position_embedding(x, params["absolute_pos_embed"], self.grids[0])
            return x
        if place.kind == "block":
            sizes = self.config.num_heads[stage], self.windows[stage], self.find_shift(place)
            return swin.swin_block(x, params, *sizes, **self.find_scale(place))
        if place.kind == "merge":
            return swin.patch_merging(x, params)
        if place.kind == "head":
            return classify(x, params, self.config)
        before = Place("merge", stage - 1) if stage else Place("embedding")
        x = self.step(before, x, params["before"])
        depth, heads = self.config.depths[stage], self.config.num_heads[stage]
        blocks = {"blocks": params["blocks"]}
        window = self.config.windows[stage]
        return swin.swin_stage(x, blocks, depth, heads, window, **self.find_scale(place))

    def walk(self, images: Any, params: Any) -> list[Any]:
        """Computes all steps, each from the last one's result, and returns the result of each."""
        found, x = [], images
        for place in list_places(self.config):
            x = self.step(place, x, find_params(params, place))
            found.append(x)
        return found

    def find_shift(self, place: Place) -> tuple[int, int]:
        """Returns the shift of a block: every second one of a stage is shifted."""
        return self.shifts[place.stage] if place.block % 2 else (0, 0)

    def find_scale(self, place: Place) -> dict[str, Any]:
        """Returns what scales the logits of a stage: ``qk_scale``, or in V2 the pretrained window."""
        if isinstance(self.config, SwinV2Config):
            trained = self.config.pretrained_window(place.stage)
            return {} if trained is None else {"pretrained_window_size": trained}
        return {} if self.config.qk_scale is None else {"qk_scale": self.config.qk_scale}

    # The parts of a block, each from what it is given; ``params`` are those of the block.

    def norm1(self, _: Place, x: Any, params: Any) -> Any:
        """Returns the norm of the attention branch: before the attention, in V2 behind it."""
        return self.swin.layer_norm(x, params["norm1"])

    def attention(self, place: Place, normed: Any, params: Any) -> Any:
        """Returns the attention inside the shifted windows of a grid."""
        sizes = self.config.num_heads[place.stage], self.windows[place.stage], self.find_shift(place)
        return self.swin.shifted_window_attention(normed, params["attn"], *sizes, **self.find_scale(place))

    def attended(self, place: Place, x: Any, normed: Any, params: Any) -> Any:
        """Returns the block's input plus its attention."""
        return x + self.attention(place, normed, params)

    def inside(self, place: Place, windows: Any, mask: Any, params: Any) -> Any:
        """Returns the attention inside windows that are given, (B nW, N, C), under a mask that is given."""
        sizes = self.config.num_heads[place.stage], self.windows[place.stage]
        return self.swin.window_attention(windows, params["attn"], *sizes, mask, **self.find_scale(place))

    def norm2(self, _: Place, x: Any, params: Any) -> Any:
        """Returns the norm of the MLP branch: before the MLP, in V2 behind it."""
        return self.swin.layer_norm(x, params["norm2"])

    def mlp(self, _: Place, normed: Any, params: Any) -> Any:
        """Returns the MLP's result."""
        return self.swin.mlp(normed, params["mlp"])

    def fed(self, place: Place, x: Any, normed: Any, params: Any) -> Any:
        """Returns the MLP's input before its norm, plus the MLP's result."""
        return x + self.mlp(place, normed, params)

    def mlp_of_sum(self, _: Place, x: Any, normed: Any, params: Any) -> Any:
        """Returns the MLP's result in V2, from the block's input and its normed attention."""
        return self.swin.mlp(x + normed, params["mlp"])
