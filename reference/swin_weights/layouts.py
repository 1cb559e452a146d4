"""Layouts: renames weights from the official names to those of another layout, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from math import isqrt
from typing import Any

import numpy as np

from swin_weights.layout_names import INDEX, MERGE_NORM, QKV, REDUCTION, STAGE, Names, is_v2, names_in


def to_layout(
    flat: Mapping[str, Any],
    layout: str,
    grid: tuple[int, int] | None = None,
    version_marks: Iterable[str] = (),
) -> dict[str, Any]:
    """Returns weights with official names under the names of a layout.

    Weights are arrays or tensors, all of a network or some; a name is that in the whole network,
    ``layers.0.blocks.0...``.  The names of transformers are those of 5.x, for an image classifier.
    ``grid`` is the grid of the position embedding, which detection keeps as a map.  The names are those of
    Swin V2 if one of the weights, or of ``version_marks``, has a name that only V2 has.

    Errors: ``ValueError`` for weights that have no name in the layout.

    >>> qkv = {"layers.0.blocks.1.attn.qkv.bias": np.arange(3)}
    >>> for name, x in to_layout(qkv, "transformers").items(): print(name, x)
    swin.encoder.layers.0.blocks.1.attention.q_proj.bias [0]
    swin.encoder.layers.0.blocks.1.attention.k_proj.bias [1]
    swin.encoder.layers.0.blocks.1.attention.v_proj.bias [2]
    >>> to_layout({"layers.1.downsample.norm.bias": 0, "head.bias": 1}, "timm")
    {'layers.2.downsample.norm.bias': 0, 'head.fc.bias': 1}
    """
    return rename_weights(flat, names_in(layout, (*flat, *version_marks)), layout, grid)


def rename_weights(
    flat: Mapping[str, Any], names: Names, layout: str, grid: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Returns weights with official names under these ``names`` of a layout: `to_layout` for one variant."""
    flat = _join_biases(flat) if layout == "torchvision" else flat
    foreign = [name for name in flat if _find_template(name, names, official=True) is None]
    if foreign:
        raise ValueError(
            f"each weight has a name in the layout, {layout} has none for {', '.join(foreign)}: leave it "
            "out, or use another layout"
        )
    result: dict[str, Any] = {}
    for name, x in flat.items():
        ours, _, numbers, leaf = _find_template(name, names, official=True)  # type: ignore[misc]
        theirs = [_fill_template(template, numbers) + leaf for template in names[ours]]
        result |= zip(theirs, _split(x, len(theirs)), strict=True)
        if ours == INDEX and layout == "torchvision":
            result[theirs[0]] = x.reshape(-1)
        elif ours == "absolute_pos_embed" and layout == "detection":
            result[theirs[0]] = _as_map(x, grid)
        elif layout == "mmpretrain" and _is_unfolded(ours, leaf, flat):
            result[theirs[0]] = _exchange(x, unfolded=False)
    return result


def from_layout(flat: Mapping[str, Any], layout: str) -> dict[str, Any]:
    """Returns weights with the names of a layout under their official names: the inverse of `to_layout`.

    The names of transformers may be those of 4.x or 5.x, with or without ``swin.``.

    Errors: ``ValueError`` for names that the layout does not have, or if a query, key or value is missing.

    >>> from_layout({"features.1.0.mlp.3.bias": 0, "features.2.norm.bias": 1}, "torchvision")
    {'layers.0.blocks.0.mlp.fc2.bias': 0, 'layers.0.downsample.norm.bias': 1}
    """
    return restore_names(flat, names_in(layout, flat), layout)


def restore_names(flat: Mapping[str, Any], names: Names, layout: str) -> dict[str, Any]:
    """Returns weights with ``names`` of a layout under their official ones: `from_layout` for one variant."""
    foreign = [name for name in flat if _find_template(name, names, official=False) is None]
    if foreign:
        raise ValueError(
            f"each name is one of the layout, {layout} does not know {', '.join(foreign)}: leave it out, or "
            "use another layout"
        )
    parts: dict[str, dict[int, Any]] = {}
    for name, x in flat.items():
        ours, part, numbers, leaf = _find_template(name, names, official=False)  # type: ignore[misc]
        if ours == INDEX and len(x.shape) == 1 and x.shape[0] == isqrt(x.shape[0]) ** 2:
            x = x.reshape(isqrt(x.shape[0]), isqrt(x.shape[0]))
        elif ours == "absolute_pos_embed" and len(x.shape) == 4:
            x = x.reshape(*x.shape[:2], -1).swapaxes(1, 2)
        elif layout == "mmpretrain" and _is_unfolded(ours, leaf, flat):
            x = _exchange(x, unfolded=True)
        parts.setdefault(_fill_template(ours, numbers) + leaf, {})[part] = x
    separate = len(names[QKV]) > 1
    missing = [name for name, given in parts.items() if ".qkv." in name and separate and len(given) != 3]
    if missing:
        raise ValueError(
            f"query, key and value come together, {layout} lacks one of them for {', '.join(missing)}: "
            "use a complete checkpoint"
        )
    joined = {name: _join([given[part] for part in sorted(given)]) for name, given in parts.items()}
    return _split_biases(joined) if layout == "torchvision" and is_v2(joined) else joined


def official_name(name: str, names: Names) -> str | None:
    """Returns the official name of a layout's name; None if it has none.

    The official name of a query, a key or a value is that of all three, ``qkv``.

    >>> official_name("head.fc.weight", names_in("timm"))
    'head.weight'
    """
    found = _find_template(name, names, official=False)
    return None if found is None else _fill_template(found[0], found[2]) + found[3]


def _find_template(name: str, names: Names, official: bool) -> tuple[str, int, dict[str, int], str] | None:
    """Returns the official template of a name, which of its parts it is, its numbers, and its ".weight"."""
    for ours, theirs in names.items():
        for part, template in enumerate((ours,) if official else theirs):
            if (match := _pattern(template)[0].fullmatch(name)) is None:
                continue
            numbers = _read_numbers(template, match)
            if numbers is not None:
                return ours, part, numbers, match["leaf"] or ""
    return None


@cache
def _pattern(template: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """Returns a template as a regular expression, and the placeholders that its groups stand for."""
    places = tuple(re.findall(r"\{(.*?)\}", template))
    fixed = [re.escape(piece) for piece in re.split(r"\{.*?\}", template)]
    return re.compile(r"(0|[1-9][0-9]*)".join(fixed) + r"(?P<leaf>\.weight|\.bias)?"), places


def _read_numbers(template: str, match: re.Match[str]) -> dict[str, int] | None:
    """Returns the stage i and the block j for which a template gives the name; None if there are none."""
    numbers = {}
    for place, digits in zip(_pattern(template)[1], match.groups()[:-1], strict=True):
        factor, summand = STAGE.get(place, (1, 0))
        number, rest = divmod(int(digits) - summand, factor)
        if rest or number < 0:
            return None
        numbers["j" if place == "j" else "i"] = number
    return numbers


def _fill_template(template: str, numbers: Mapping[str, int]) -> str:
    """Returns a template with the numbers of a stage and a block in place of its placeholders."""

    def number(place: re.Match[str]) -> str:
        factor, summand = STAGE.get(place[1], (1, 0))
        return str(factor * numbers["j" if place[1] == "j" else "i"] + summand)

    return re.sub(r"\{(.*?)\}", number, template)


def _split(x: Any, parts: int) -> list[Any]:
    """Returns a weight in equal parts along its outputs."""
    if parts == 1:
        return [x]
    size = x.shape[0] // parts
    return [x[part * size : (part + 1) * size] for part in range(parts)]


def _join(parts: list[Any]) -> Any:
    """Returns the parts of a weight as one: the inverse of `_split`."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(parts)


def _join_biases(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns V2's weights with one bias of queries, keys and values: torchvision's, which clears the keys'.

    It takes the place of q_bias.
    """
    joined: dict[str, Any] = {}
    for name, x in flat.items():
        block, _, last = name.rpartition(".")
        if last == "q_bias" and f"{block}.v_bias" in flat:
            zeros = np.zeros_like(x) if isinstance(x, np.ndarray) else x.new_zeros(x.shape)
            joined[f"{block}.qkv.bias"] = _join([x, zeros, flat[f"{block}.v_bias"]])
        elif last != "v_bias" or f"{block}.q_bias" not in flat:
            joined[name] = x
    return joined


def _split_biases(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns V2's weights with q_bias and v_bias: the inverse of `_join_biases`."""
    split: dict[str, Any] = {}
    for name, x in flat.items():
        if name.endswith(".attn.qkv.bias"):
            split[name.replace("qkv.bias", "q_bias")], _, split[name.replace("qkv.bias", "v_bias")] = _split(
                x, 3
            )
        else:
            split[name] = x
    return split


def _is_unfolded(ours: str, leaf: str, flat: Iterable[str]) -> bool:
    """Tells whether a weight of mmpretrain's has the four neighbours of a merge in the order of an unfold.

    It has them among its inputs; the norm has them in V1, where it stands before the reduction.
    """
    return (ours == REDUCTION and leaf == ".weight") or (ours == MERGE_NORM and not is_v2(flat))


def _exchange(x: Any, unfolded: bool) -> Any:
    """Returns a weight of a merge with its inputs in the other order: an unfold's, or the official one.

    An unfold has, for each channel, its neighbours row by row: (C, h, w).  The official order has, column by
    column, the channels of each neighbour: (w, h, C).

    >>> _exchange(np.arange(8), unfolded=True)
    array([0, 4, 2, 6, 1, 5, 3, 7])
    """
    if not len(x.shape) or x.shape[-1] % 4:
        return x  # misshapen: its check names it
    channels = x.shape[-1] // 4
    sides = (channels, 2, 2) if unfolded else (2, 2, channels)
    return x.reshape(*x.shape[:-1], *sides).swapaxes(-1, -3).reshape(x.shape)


def _as_map(x: Any, grid: tuple[int, int] | None) -> Any:
    """Returns a position embedding (1, H W, C) as a map (1, C, H, W)."""
    if grid is None or grid[0] * grid[1] != x.shape[1]:
        raise ValueError(
            f"detection keeps a position embedding as a map of its grid, got {x.shape[1]} tokens and "
            f"grid={grid}: pass the (height, width) of the grid"
        )
    return x.swapaxes(1, 2).reshape(1, x.shape[2], *grid)
