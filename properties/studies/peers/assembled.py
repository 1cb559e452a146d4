"""Stages and networks of a library's own parts, for one whose network fixes sizes or gives no maps."""

from __future__ import annotations

from typing import Any

import torch
from swin_properties import TorchAdapter
from swin_properties.adapters.peers.base import two


def give_maps(adapter: Any, images: Any, params: Any, config: Any) -> Any:
    """(B, 3, H, W) -> the map (B, H', W', C') of every stage: ``swin_features`` by an adapter's own parts."""
    x, maps = adapter.patch_embed(images, params["patch_embed"], config.patch_size), []
    for layer, depth, heads in zip(params["layers"], config.depths, config.num_heads, strict=True):
        x = adapter.swin_stage(x, {"blocks": layer["blocks"]}, depth, heads, config.window_size)
        maps.append(x)
        x = adapter.patch_merging(x, layer["downsample"]) if "downsample" in layer else x
    return maps


class Assembled(TorchAdapter):
    """A stage is the library's blocks, every second one shifted by half a window; a network is its stages.

    Nothing is computed here: `patch_embed`, `swin_block` and `patch_merging` are the library's.
    """

    swin_block: Any = None
    patch_embed: Any = None
    patch_merging: Any = None

    def swin_stage(self, x: Any, params: Any, depth: int, num_heads: int, window_size: Any) -> Any:
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        half = tuple(length // 2 for length in two(window_size))
        for number, block in enumerate(params["blocks"]):
            x = self.swin_block(x, block, num_heads, window_size, half if number % 2 else (0, 0))
        return self.patch_merging(x, params["downsample"]) if "downsample" in params else x

    swin_features = give_maps


def join_biases(flat: dict[str, Any]) -> dict[str, Any]:
    """Returns the weights of V2 with one ``qkv.bias``: those of queries and values, and 0 for the keys."""
    out = {}
    for name, value in flat.items():
        if name.endswith("q_bias"):
            stem = name.removesuffix("q_bias")
            parts = value, torch.zeros_like(value), flat[f"{stem}v_bias"]
            out[f"{stem}qkv.bias"] = torch.cat(parts)
        elif not name.endswith("v_bias"):
            out[name] = value
    return out


def by_channel(flat: dict[str, Any]) -> dict[str, Any]:
    """Returns a merge's weights in the order of an unfold, channel by channel, in place of token by token.

    In V2 the norm comes behind the reduction, and has no such order.
    """

    def reorder(x: Any) -> Any:
        parts = x.unflatten(-1, (2, 2, -1))  # columns of the 2 x 2 tokens, rows, channels
        return parts.transpose(-3, -2).movedim(-1, -3).flatten(-3)

    reduced = flat["reduction.weight"].shape[-1]
    return {name: reorder(x) if x.shape[-1] == reduced else x for name, x in flat.items()}


def rename(**words: str) -> Any:
    """Returns a function that replaces words in the names of weights, in this order.

    >>> rename(fc1="linear1")({"mlp.fc1.bias": 0})
    {'mlp.linear1.bias': 0}
    """

    def renamed(flat: dict[str, Any]) -> dict[str, Any]:
        out = {}
        for name, value in flat.items():
            for official, own in words.items():
                name = name.replace(official, own)
            out[name] = value
        return out

    return renamed
