"""The network: features of every stage, and the classifier, with the official checkpoint's names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from swin_reference.config import NAMED, SwinConfig
from torch import Tensor, nn
from torch.nn.init import trunc_normal_, zeros_

from swin_torch.geometry.conventions import (
    Sides,
    check_image,
    find_grids,
    fit_window,
    take_convention,
    takes_one_size,
    write_sides,
)
from swin_torch.geometry.exported import list_equal_pairs, require
from swin_torch.geometry.sizes import Size, pair
from swin_torch.model.layers import Kept, Stage, SwinStage
from swin_torch.model.patches import PatchEmbed


class SwinTransformer(nn.Module):
    """The classifier: stages, LayerNorm, mean over the last stage's tokens, linear head.

    Images may have any size that the convention takes; with an absolute position embedding, one size.
    Official checkpoints load by ``load_state_dict``, with their computed buffers or without.  Drop path rates
    grow linearly from 0 to ``drop_path_rate`` over all blocks.

    ``ways`` is "fast", or "plain" for a network in plain operations.  ``keeping`` is what training keeps for
    backward: "most", the default on a CPU, is the fastest; "little", the default on a GPU, keeps less and
    computes norms, projections and GELU again; "halves" keeps the least and computes each block twice.

    Errors: ``ValueError`` unless 0 <= drop_path_rate < 1, and for other ``ways`` or ``keeping``.

    >>> config = SwinConfig(embed_dim=4, depths=(1, 1), num_heads=(1, 2), window_size=2, num_classes=3)
    >>> SwinTransformer(config)(torch.zeros(1, 3, 17, 30)).shape
    torch.Size([1, 3])
    """

    absolute_pos_embed: Tensor | None

    def __init__(
        self,
        config: SwinConfig,
        drop_path_rate: float = 0.0,
        ways: str = "fast",
        keeping: str | None = None,
    ) -> None:
        """Initialises the parameters as the paper trains them."""
        super().__init__()
        self.config = config
        self.convention = take_convention(config.convention)
        self.patch_embed = PatchEmbed(
            config.embed_dim, config.patch_size, config.in_channels, config.patch_norm, self.convention
        )
        built_for = find_grids(pair(config.image_size), config, self.convention)
        self.grid = height, width = built_for[0]
        self.register_parameter(
            "absolute_pos_embed",
            nn.Parameter(trunc_normal_(torch.empty(1, height * width, config.embed_dim), std=0.02))
            if config.absolute_position_embedding
            else None,
        )
        rates = drop_path_rates(drop_path_rate, config.depths)
        self.layers = nn.ModuleList(
            self._make_stage(stage, self._find_window(stage, built_for[stage]), rates[stage], ways, keeping)
            for stage in range(len(config.depths))
        )
        self.norm = nn.LayerNorm(config.channels[-1])
        classes = config.num_classes
        self.head = nn.Linear(config.channels[-1], classes) if classes else nn.Identity()
        self.apply(_initialise)

    def forward(self, images: Tensor, kept: Sequence[Sequence[Kept]] | None = None) -> Tensor:
        """(B, colours, H, W) -> logits (B, classes); with 0 classes, the mean token (B, C).

        ``kept`` has one entry a stage, of one entry a block: it replaces the random factors of drop path.
        """
        x = self._embed(images)
        for number, stage in enumerate(self.layers):  # called, so that its hooks run
            x = stage(x) if kept is None else stage(x, kept[number])
        return self.head(self.norm(x).mean((1, 2)))

    def features(self, images: Tensor, kept: Sequence[Sequence[Kept]] | None = None) -> list[Tensor]:
        """(B, colours, H, W) -> the map (B, H', W', C') of every stage, before its merge and not normed.

        ``kept`` is that of `forward`.

        Errors: ``ValueError`` for a grid that an absolute position embedding was not made for, or an image
        that the convention rejects.
        """
        x = self._embed(images)
        maps = []
        for number, stage in enumerate(cast("Iterable[Stage]", self.layers)):
            maps.append(stage.apply_blocks(x, None if kept is None else kept[number]))
            x = stage.downsample(maps[-1])
        return maps

    def _embed(self, images: Tensor) -> Tensor:
        image = images.shape[2:]
        check_image(image, self.config, self.convention)
        of_one_size = takes_one_size(self.convention)
        shrink = self.convention.window.startswith("shrink") and self._find_nominal_grid(0) is None
        if shrink and not of_one_size:
            self._check_windows(image)
        x = self.patch_embed(images)
        if shrink or of_one_size:
            x = require(x, list_equal_pairs(image, pair(self.config.image_size)))
        if self.absolute_pos_embed is None:
            return x
        if tuple(x.shape[1:3]) != self.grid:
            raise ValueError(
                f"an absolute position embedding fits the grid it was made for, got {tuple(x.shape[1:3])}, "
                f"not {self.grid}: feed images of image_size={self.config.image_size}"
            )
        return x + self.absolute_pos_embed.unflatten(1, self.grid)

    def _check_windows(self, image: Sides) -> None:
        """Checks that the windows that an image asks for are those that the network was built with."""
        grids = find_grids(image, self.config, self.convention)
        for number, stage in enumerate(cast("Iterable[Stage]", self.layers)):
            asked = self._find_window(number, grids[number])
            if asked != stage.window_size:
                raise ValueError(
                    f"windows are fitted to grids when a network is built, got an image of "
                    f"{write_sides(image)}, whose window in stage {number} is {write_sides(asked)} under "
                    f"{self.convention.name}, and one built with {write_sides(stage.window_size)}: build it "
                    "with that image_size"
                )

    def _make_stage(
        self, stage: int, window_size: Size, rates: Sequence[float], ways: str, keeping: str | None
    ) -> Stage:
        config, channels = self.config, self.config.channels[stage]
        return SwinStage(
            channels,
            config.depths[stage],
            config.num_heads[stage],
            window_size,
            config.hidden(channels),
            merge=stage < len(config.depths) - 1,
            qkv_bias=config.qkv_bias,
            qk_scale=config.qk_scale,
            drop_path_rates=rates,
            convention=self.convention,
            ways=ways,
            keeping=keeping,
        )

    def _find_window(self, stage: int, grid: tuple[int, int]) -> tuple[int, int]:
        """Returns the window of a stage built for a grid: where windows shrink, so do their bias tables."""
        if not self.convention.window.startswith("shrink"):
            return self.config.windows[stage]
        decisive = self._find_nominal_grid(stage) or grid
        return fit_window(decisive, self.config.windows[stage], self.convention)

    def _find_nominal_grid(self, stage: int) -> tuple[int, int] | None:
        """Returns the grid that decides the window and shift of a stage; None for that of each image."""
        return None


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Returns the drop rate of every block, by stage: linear from 0 to ``rate`` over *all* blocks.

    Errors: ``ValueError`` unless 0 <= rate < 1.

    >>> drop_path_rates(0.75, (2, 2))
    [[0.0, 0.25], [0.5, 0.75]]
    """
    if not 0 <= rate < 1:
        raise ValueError(f"0 <= drop_path_rate < 1 must hold, got {rate}: use a rate below 1")
    steps = max(sum(depths) - 1, 1)  # one block alone has rate 0
    starts = [sum(depths[:stage]) for stage in range(len(depths))]
    return [
        [rate * (start + block) / steps for block in range(depth)]
        for start, depth in zip(starts, depths, strict=True)
    ]


def swin_t(
    drop_path_rate: float = 0.0, ways: str = "fast", keeping: str | None = None, **overrides: Any
) -> SwinTransformer:
    """Swin-T, 28 M parameters; ``overrides`` are fields of SwinConfig, the rest as in `SwinTransformer`.

    >>> sum(parameter.numel() for parameter in swin_t().parameters())
    28288354
    """
    return SwinTransformer(replace(NAMED["swin_t"], **overrides), drop_path_rate, ways, keeping)


def swin_s(
    drop_path_rate: float = 0.0, ways: str = "fast", keeping: str | None = None, **overrides: Any
) -> SwinTransformer:
    """Swin-S, 50 M parameters; ``overrides`` are fields of SwinConfig, the rest as in `SwinTransformer`.

    >>> len(swin_s(embed_dim=12).layers[2].blocks)
    18
    """
    return SwinTransformer(replace(NAMED["swin_s"], **overrides), drop_path_rate, ways, keeping)


def swin_b(
    drop_path_rate: float = 0.0, ways: str = "fast", keeping: str | None = None, **overrides: Any
) -> SwinTransformer:
    """Swin-B, 88 M parameters; ``overrides`` are fields of SwinConfig, the rest as in `SwinTransformer`.

    >>> swin_b(depths=(1, 1, 1, 1), num_classes=10).head
    Linear(in_features=1024, out_features=10, bias=True)
    """
    return SwinTransformer(replace(NAMED["swin_b"], **overrides), drop_path_rate, ways, keeping)


def swin_l(
    drop_path_rate: float = 0.0, ways: str = "fast", keeping: str | None = None, **overrides: Any
) -> SwinTransformer:
    """Swin-L, 197 M parameters; ``overrides`` are fields of SwinConfig, the rest as in `SwinTransformer`.

    >>> swin_l(depths=(1,), num_heads=(6,)).head
    Linear(in_features=192, out_features=1000, bias=True)
    """
    return SwinTransformer(replace(NAMED["swin_l"], **overrides), drop_path_rate, ways, keeping)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            zeros_(module.bias)
