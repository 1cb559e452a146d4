"""What a convention rejects of the sizes that a callable is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swin_reference import rules
from swin_reference.config import Convention


def refusal(name: str, args: tuple[Any, ...], convention: Convention) -> str:
    """Why a convention rejects a callable's sizes, in one sentence; empty where it takes them.

    >>> import numpy as np
    >>> from swin_reference.config import CONVENTIONS
    >>> refusal("patch_merging", (np.ones((1, 3, 4, 1)), {}), CONVENTIONS["canonical"])
    ''
    """
    if name in REFUSALS:
        try:
            REFUSALS[name](args, convention)
        except rules.Rejected as rejected:
            return str(rejected)
    return ""


def _refuse_embed(args: tuple[Any, ...], convention: Convention) -> None:
    rules.pixels_taken(args[0].shape[2:], args[2], convention)


def _refuse_merge(args: tuple[Any, ...], convention: Convention) -> None:
    rules.merged_grid(args[0].shape[1:3], convention)


def _refuse_attention(args: tuple[Any, ...], convention: Convention) -> None:
    rules.pads_before_roll(args[0].shape[1:3], args[3], convention)


def _refuse_blocks(grid: rules.Grid, window_size: Any, convention: Convention) -> None:
    window = rules.stage_window(grid, window_size, convention)
    rules.pads_before_roll(grid, window, convention)


def _refuse_stage(args: tuple[Any, ...], convention: Convention) -> None:
    x, params, _, _, window_size = args
    _refuse_blocks(x.shape[1:3], window_size, convention)
    if "downsample" in params:
        rules.merged_grid(x.shape[1:3], convention)


def _refuse_network(args: tuple[Any, ...], convention: Convention) -> None:
    images, _, config = args
    rules.check_image(images.shape[2:], config, convention)
    grid = rules.token_grid(images.shape[2:], config.patch_size, convention)
    for stage in range(len(config.depths)):
        _refuse_blocks(grid, config.window_size, convention)
        if stage < len(config.depths) - 1:
            grid = rules.merged_grid(grid, convention)


REFUSALS: dict[str, Callable[..., None]] = {
    "patch_embed": _refuse_embed,
    "patch_merging": _refuse_merge,
    "shifted_window_attention": _refuse_attention,
    "swin_block": _refuse_attention,
    "swin_stage": _refuse_stage,
    "swin_features": _refuse_network,
    "swin_transformer": _refuse_network,
}
"""For each callable whose sizes a convention may reject: what raises `Rejected` where it does."""
