"""The way from the official names of the weights to another layout's, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from math import isqrt
from typing import Any

import numpy as np

from swin_weights.layout_names import INDEX, QKV, STAGE, Names, names_in


def to_layout(flat: Mapping[str, Any], layout: str, grid: tuple[int, int] | None = None) -> dict[str, Any]:
    """The same weights under a layout's names, from the official ones; arrays or tensors, never copied.

    Names of a part of a network will do, as long as they are the whole network's: ``layers.0.blocks.0...``.
    Transformers are written as 5.x names them, for an image classifier.  ``grid`` is that of a position
    embedding, which detection keeps as a map.

    Errors: ``ValueError`` naming what the layout has no place for.

    >>> qkv = {"layers.0.blocks.1.attn.qkv.bias": np.arange(3)}
    >>> for name, x in to_layout(qkv, "transformers").items(): print(name, x)
    swin.encoder.layers.0.blocks.1.attention.q_proj.bias [0]
    swin.encoder.layers.0.blocks.1.attention.k_proj.bias [1]
    swin.encoder.layers.0.blocks.1.attention.v_proj.bias [2]
    >>> to_layout({"layers.1.downsample.norm.bias": 0, "head.bias": 1}, "timm")
    {'layers.2.downsample.norm.bias': 0, 'head.fc.bias': 1}
    """
    return renamed(flat, names_in(layout, flat), layout, grid)


def renamed(
    flat: Mapping[str, Any], names: Names, layout: str, grid: tuple[int, int] | None = None
) -> dict[str, Any]:
    """`to_layout` in one variant of a layout: under exactly these ``names``."""
    foreign = [name for name in flat if _found(name, names, official=True) is None]
    if foreign:
        raise ValueError(
            f"each weight has a name in the layout, {layout} has none for {', '.join(foreign)}: leave it "
            "out, or use another layout"
        )
    result: dict[str, Any] = {}
    for name, x in flat.items():
        ours, _, numbers, leaf = _found(name, names, official=True)  # type: ignore[misc]
        theirs = [_filled(template, numbers) + leaf for template in names[ours]]
        result |= zip(theirs, _apart(x, len(theirs)), strict=True)
        if ours == INDEX and layout == "torchvision":
            result[theirs[0]] = x.reshape(-1)
        elif ours == "absolute_pos_embed" and layout == "detection":
            result[theirs[0]] = _as_map(x, grid)
    return result


def from_layout(flat: Mapping[str, Any], layout: str) -> dict[str, Any]:
    """The inverse of `to_layout`: the official names.  Transformers 4.x and 5.x, with ``swin.`` or without.

    Errors: ``ValueError`` naming what the layout does not know, or a query, key or value that is missing.

    >>> from_layout({"features.1.0.mlp.3.bias": 0, "features.2.norm.bias": 1}, "torchvision")
    {'layers.0.blocks.0.mlp.fc2.bias': 0, 'layers.0.downsample.norm.bias': 1}
    """
    names = names_in(layout, flat)
    foreign = [name for name in flat if _found(name, names, official=False) is None]
    if foreign:
        raise ValueError(
            f"each name is one of the layout, {layout} does not know {', '.join(foreign)}: leave it out, or "
            "read it in another layout"
        )
    parts: dict[str, dict[int, Any]] = {}
    for name, x in flat.items():
        ours, part, numbers, leaf = _found(name, names, official=False)  # type: ignore[misc]
        if ours == INDEX and len(x.shape) == 1 and x.shape[0] == isqrt(x.shape[0]) ** 2:
            x = x.reshape(isqrt(x.shape[0]), isqrt(x.shape[0]))
        elif ours == "absolute_pos_embed" and len(x.shape) == 4:
            x = x.reshape(*x.shape[:2], -1).swapaxes(1, 2)
        parts.setdefault(_filled(ours, numbers) + leaf, {})[part] = x
    missing = [name for name, given in parts.items() if ".qkv." in name and len(given) != len(names[QKV])]
    if missing:
        raise ValueError(
            f"query, key and value come together, {layout} lacks one of them for {', '.join(missing)}: "
            "the checkpoint is incomplete"
        )
    return {name: _together([given[part] for part in sorted(given)]) for name, given in parts.items()}


def official_name(name: str, names: Names) -> str | None:
    """A layout's name under its official one, a query's, key's or value's as that of all three.

    >>> official_name("head.fc.weight", names_in("timm"))
    'head.weight'
    """
    found = _found(name, names, official=False)
    return None if found is None else _filled(found[0], found[2]) + found[3]


def _found(name: str, names: Names, official: bool) -> tuple[str, int, dict[str, int], str] | None:
    """The official template that a name fits, which part of it, its numbers, and its ``.weight``."""
    for ours, theirs in names.items():
        for part, template in enumerate((ours,) if official else theirs):
            numbers = _numbers(template, name)
            if numbers is not None:
                leaf = re.search(r"\.(weight|bias)$", name)
                return ours, part, numbers, leaf[0] if leaf else ""
    return None


@cache
def _pattern(template: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """A template as a regular expression, and what its groups number."""
    places = tuple(re.findall(r"\{(.*?)\}", template))
    fixed = [re.escape(piece) for piece in re.split(r"\{.*?\}", template)]
    return re.compile(r"(0|[1-9][0-9]*)".join(fixed) + r"(?:\.weight|\.bias)?"), places


def _numbers(template: str, name: str) -> dict[str, int] | None:
    """The stage i and the block j for which a template gives the name; None if there are none."""
    pattern, places = _pattern(template)
    match = pattern.fullmatch(name)
    if match is None:
        return None
    numbers = {}
    for place, digits in zip(places, match.groups(), strict=True):
        factor, summand = STAGE.get(place, (1, 0))
        number, rest = divmod(int(digits) - summand, factor)
        if rest or number < 0:
            return None
        numbers["j" if place == "j" else "i"] = number
    return numbers


def _filled(template: str, numbers: Mapping[str, int]) -> str:
    """A template with the numbers of a stage and a block in their places."""

    def number(place: re.Match[str]) -> str:
        factor, summand = STAGE.get(place[1], (1, 0))
        return str(factor * numbers["j" if place[1] == "j" else "i"] + summand)

    return re.sub(r"\{(.*?)\}", number, template)


def _apart(x: Any, parts: int) -> list[Any]:
    """A weight in equal parts along its outputs."""
    if parts == 1:
        return [x]
    size = x.shape[0] // parts
    return [x[part * size : (part + 1) * size] for part in range(parts)]


def _together(parts: list[Any]) -> Any:
    """The inverse of `_apart`."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(parts)


def _as_map(x: Any, grid: tuple[int, int] | None) -> Any:
    """A position embedding (1, H W, C) as (1, C, H, W)."""
    if grid is None or grid[0] * grid[1] != x.shape[1]:
        raise ValueError(
            f"detection keeps a position embedding as a map of its grid, got {x.shape[1]} tokens and "
            f"grid={grid}: give the (height, width) they come from"
        )
    return x.swapaxes(1, 2).reshape(1, x.shape[2], *grid)
