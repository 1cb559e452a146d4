"""The network of Swin V2: that of Swin, with the stages of V2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from swin_reference.config_v2 import NAMED_V2, SwinV2Config

from swin_torch.geometry.conventions import find_nominal_grid
from swin_torch.geometry.sizes import Size
from swin_torch.model.layers_v2 import SwinV2Stage
from swin_torch.model.network import SwinTransformer


class SwinV2Transformer(SwinTransformer):
    """The classifier of Swin V2; all is as in `SwinTransformer`, but for the stages.

    >>> import torch
    >>> config = SwinV2Config(embed_dim=4, depths=(1, 1), num_heads=(1, 2), window_size=2, num_classes=3)
    >>> SwinV2Transformer(config)(torch.zeros(1, 3, 17, 30)).shape
    torch.Size([1, 3])
    """

    config: SwinV2Config

    def __init__(
        self,
        config: SwinV2Config,
        drop_path_rate: float = 0.0,
        ways: str = "fast",
        keeping: str | None = None,
    ) -> None:
        """Initialises the parameters as the paper trains them: each block begins as the identity."""
        super().__init__(config, drop_path_rate, ways, keeping)

    def _make_stage(
        self, stage: int, window_size: Size, rates: Sequence[float], ways: str, keeping: str | None
    ) -> SwinV2Stage:
        config, channels = self.config, self.config.channels[stage]
        return SwinV2Stage(
            channels,
            config.depths[stage],
            config.num_heads[stage],
            window_size,
            config.hidden(channels),
            merge=stage < len(config.depths) - 1,
            qkv_bias=config.qkv_bias,
            pretrained_window_size=config.pretrained_window(stage),
            drop_path_rates=rates,
            convention=self.convention,
            ways=ways,
            keeping=keeping,
            decisive=self._find_nominal_grid(stage),
        )

    def _find_nominal_grid(self, stage: int) -> tuple[int, int] | None:
        return find_nominal_grid(self.config, stage, self.convention)


def swin_v2_t(
    drop_path_rate: float = 0.0, ways: str = "fast", keeping: str | None = None, **overrides: Any
) -> SwinV2Transformer:
    """SwinV2-T, 28 M parameters, windows of 8; ``overrides`` are fields of SwinV2Config.

    >>> sum(parameter.numel() for parameter in swin_v2_t().parameters())
    28347154
    """
    return _make("swin_v2_t", drop_path_rate, ways, keeping, overrides)


def swin_v2_s(
    drop_path_rate: float = 0.0, ways: str = "fast", keeping: str | None = None, **overrides: Any
) -> SwinV2Transformer:
    """SwinV2-S, 50 M parameters, windows of 8; ``overrides`` are fields of SwinV2Config.

    >>> len(swin_v2_s(embed_dim=12).layers[2].blocks)
    18
    """
    return _make("swin_v2_s", drop_path_rate, ways, keeping, overrides)


def swin_v2_b(
    drop_path_rate: float = 0.0, ways: str = "fast", keeping: str | None = None, **overrides: Any
) -> SwinV2Transformer:
    """SwinV2-B, 88 M parameters, windows of 8; ``overrides`` are fields of SwinV2Config.

    >>> swin_v2_b(depths=(1, 1, 1, 1), num_classes=10).head
    Linear(in_features=1024, out_features=10, bias=True)
    """
    return _make("swin_v2_b", drop_path_rate, ways, keeping, overrides)


def swin_v2_l(
    drop_path_rate: float = 0.0, ways: str = "fast", keeping: str | None = None, **overrides: Any
) -> SwinV2Transformer:
    """SwinV2-L, 197 M parameters, images of 192, windows of 12; ``overrides`` are fields of SwinV2Config.

    >>> swin_v2_l(depths=(1,), num_heads=(6,)).head
    Linear(in_features=192, out_features=1000, bias=True)
    """
    return _make("swin_v2_l", drop_path_rate, ways, keeping, overrides)


def _make(
    name: str, drop_path_rate: float, ways: str, keeping: str | None, overrides: dict[str, Any]
) -> SwinV2Transformer:
    return SwinV2Transformer(replace(NAMED_V2[name], **overrides), drop_path_rate, ways, keeping)
