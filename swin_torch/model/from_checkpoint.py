"""Builds a network from a file of weights in any layout, and for another window if wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from swin_reference.config_v2 import SwinV2Config
from swin_weights import Checkpoint, load
from torch import Tensor

from swin_torch.geometry.bias_resizing import resize_relative_position_bias
from swin_torch.geometry.sizes import Size, pair
from swin_torch.model.layers import WindowAttention
from swin_torch.model.network import SwinTransformer
from swin_torch.model.network_v2 import SwinV2Transformer

TABLE = ".relative_position_bias_table"


def from_checkpoint(
    source: str | Path | Checkpoint,
    window_size: Size | None = None,
    drop_path_rate: float = 0.0,
    ways: str = "fast",
    keeping: str | None = None,
    **known: Any,
) -> SwinTransformer:
    """Returns a network with the weights and the configuration of a file or directory.

    Checkpoints of microsoft, timm, torchvision, transformers and mmpretrain are recognised; ``known`` are
    fields of SwinConfig that a file does not hold (`swin_weights.load`).  With another ``window_size``
    than the file's, the bias tables are resized to it; those of Swin V2 are computed for it, from the offsets
    as they were in the windows of the file.  Parameters have torch's default precision.

    Errors: ``ValueError`` in one sentence for a file that does not read or fit, each fault named.

    >>> from tempfile import mkdtemp; path = Path(mkdtemp()) / "tiny.pth"
    >>> from swin_reference.config import SwinConfig
    >>> config = SwinConfig(embed_dim=4, depths=(1,), num_heads=(2,), window_size=4, num_classes=3)
    >>> torch.save({"model": SwinTransformer(config).state_dict()}, path)
    >>> from_checkpoint(path, window_size=7).layers[0].blocks[0].attn.relative_position_bias_table.shape
    torch.Size([169, 2])
    """
    found = source if isinstance(source, Checkpoint) else load(source, **known)
    if isinstance(source, Checkpoint) and known:
        raise ValueError(
            f"a loaded checkpoint has its configuration, got {', '.join(known)} as well: pass them to load"
        )
    if isinstance(found.config, SwinV2Config):
        return _build_v2(found, found.config, window_size, drop_path_rate, ways, keeping)
    config = found.config if window_size is None else replace(found.config, window_size=pair(window_size))
    network = SwinTransformer(config, drop_path_rate, ways, keeping)
    with torch.device("meta"):  # its windows: a convention may have fitted them to the grids of the stages
        before = SwinTransformer(found.config)

    def tensor(name: str, x: Any) -> Tensor:
        given = torch.from_numpy(np.array(x))  # a copy: the memory of some readers must not be written
        if not name.endswith(TABLE):
            return given
        old, new = (_find_window(made, name) for made in (before, network))
        return resize_relative_position_bias(given, old, new)

    network.load_state_dict({name: tensor(name, x) for name, x in found.weights.items()})
    return network


def _build_v2(
    found: Checkpoint,
    config: SwinV2Config,
    window_size: Size | None,
    drop_path_rate: float,
    ways: str,
    keeping: str | None,
) -> SwinV2Transformer:
    """Returns a network of Swin V2, whose weights depend on no window but that of their training."""
    if window_size is not None and {pair(window_size)} != set(config.windows):
        with torch.device("meta"):
            stages: Any = SwinV2Transformer(config).layers
        trained = []
        for number, stage in enumerate(stages):
            side = config.pretrained_window(number) or max(stage.window_size)
            if not config.pretrained_window(number) and min(stage.window_size) != side:
                raise ValueError(
                    f"a pretrained window is square, got {stage.window_size} in stage {number}: "
                    "leave window_size out"
                )
            trained.append(side)
        config = replace(config, window_size=pair(window_size), pretrained_window_sizes=tuple(trained))
    network = SwinV2Transformer(config, drop_path_rate, ways, keeping)
    network.load_state_dict({name: torch.from_numpy(np.array(x)) for name, x in found.weights.items()})
    return network


def _find_window(network: SwinTransformer, name: str) -> Size:
    """Returns the window of the attention that a bias table belongs to."""
    return cast("WindowAttention", network.get_submodule(name.removesuffix(TABLE))).window_size
