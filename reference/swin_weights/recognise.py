"""Recognises the layout and the configuration of a checkpoint from the names and shapes of its weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count
from math import inf, isqrt, nextafter
from typing import Any

from swin_reference.config import SwinConfig, config_from, convention_named
from swin_reference.config_v2 import SwinV2Config
from swin_reference.sizes import Size, Windows, pair, stage_pairs

from swin_weights.layout_names import Names, is_v2
from swin_weights.layouts import official_name

TABLE = r"attn\.relative_position_bias_table"


def recognise_layout(names: Iterable[str]) -> str:
    """Returns the layout that has these names.

    Errors: ``ValueError`` for the names of another network.

    >>> recognise_layout(["layers.1.blocks.0.norm1.bias", "layers.1.downsample.norm.bias"])
    'timm'
    """
    names = list(names)
    first = [name for name in names if name.endswith("relative_position_bias_table")]
    if first and is_v2(names):
        raise ValueError(
            f"a checkpoint is of Swin or of Swin V2, {first[0]} is a weight of Swin V1 and others beside it "
            "are of V2: use the file that was saved of one model"
        )
    if any(name.startswith("features.") for name in names):
        return "torchvision"
    if any(re.match(r"(backbone\.)?stages\.\d", name) for name in names):
        return "mmpretrain"
    if any(re.match(r"(swin(v2)?\.)?encoder\.layers\.\d", name) for name in names):
        return "transformers"
    stages = [int(found[1]) for name in names if (found := re.match(r"layers\.(\d+)\.blocks\.", name))]
    if not stages:
        raise ValueError(
            f"a checkpoint holds the stages of a Swin, but none of its {len(names)} names belongs to one "
            f"(the first is {names[0]}): check that the file is a Swin's"
        )
    if any(re.match(r"norm\d+\.", name) for name in names):
        return "detection"
    last = max(stages)
    timm = sum(name.startswith("head.fc.") for name in names)
    official = sum(name in ("head.weight", "head.bias") for name in names)
    if last:
        timm += sum(name.startswith(f"layers.{last}.downsample.") for name in names)
        official += sum(name.startswith("layers.0.downsample.") for name in names)
    return "timm" if timm > official else "official"


def recognise_config(
    shapes: Mapping[str, tuple[int, ...]], names: Names, known: Mapping[str, Any]
) -> tuple[SwinConfig, tuple[str, ...], list[str]]:
    """Returns the configuration with these shapes, the fields that are unknown, and notes on assumptions.

    ``shapes`` have the ``names`` of the layout.  ``known`` fields are taken as given.  If the shapes
    disagree on a field, the majority decides: a single misshaped weight does not change the configuration.

    Errors: ``ValueError`` that names the field which the shapes do not show.
    """
    second = is_v2(names)
    official = ((official_name(name, names), shape) for name, shape in shapes.items())
    weights = WeightShapes({name: shape for name, shape in official if name is not None})
    values: dict[str, Any] = {"convention": known.get("convention", "canonical")}
    notes: list[str] = []
    for field, read in (FIELDS_V2 if second else FIELDS).items():
        values[field] = known[field] if field in known else read(weights, values, notes)
    unknown = tuple(field for field, value in values.items() if value is None and field not in known)
    given = {field: value for field, value in values.items() if field not in unknown}
    kind = SwinV2Config if second else SwinConfig
    return config_from(given | dict(known), "the checkpoint", kind), unknown, notes


MOST_STAGES = 16
"""The most stages that are looked for."""


class WeightShapes:
    """The shapes of a checkpoint's weights under their official names, and the depths of its stages."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Finds the depths: stages and blocks count from 0 without a gap."""
        self.shapes = shapes
        self.depths: tuple[int, ...] = ()
        while len(self.depths) <= MOST_STAGES and (depth := self._depth(len(self.depths))):
            self.depths += (depth,)
        if len(self.depths) > MOST_STAGES:
            raise ValueError(f"a Swin has at most {MOST_STAGES} stages, got more: check that it is a Swin's")

    def _depth(self, stage: int) -> int:
        """Returns the number of blocks of a stage; one weight alone is no block but a wrong name."""
        places = (re.match(rf"layers\.{stage}\.blocks\.(\d+)\.", name) for name in self.shapes)
        weights = Counter(int(place[1]) for place in places if place)
        return next(block for block in count() if weights[block] < 2)

    def has(self, name: str) -> bool:
        """Returns whether there is a weight of this name, in any block."""
        return any(own == name or own.endswith(f".{name}") for own in self.shapes)

    def most_common(self, field: str, *places: tuple[str, int, int]) -> int:
        """Returns the most common length at these places: each a pattern of names, an axis and a rank."""
        lengths = Counter(
            shape[axis]
            for pattern, axis, rank in places
            for name, shape in self.shapes.items()
            if len(shape) == rank and re.fullmatch(pattern, name)
        )
        if not lengths:
            where = " or ".join(pattern.replace(r"\d+", "*").replace("\\", "") for pattern, *_ in places)
            raise ValueError(f"{field} is read from {where}, and there is none: pass {field}=")
        return lengths.most_common(1)[0][0]


def _embed_dim(weights: WeightShapes, *_: Any) -> int:
    return weights.most_common("embed_dim", (r"layers\.0\.blocks\.\d+\.norm[12]\.(weight|bias)", 0, 1))


def _num_heads(weights: WeightShapes, values: Mapping[str, Any], *_: Any) -> tuple[int, ...]:
    """Returns the number of columns of the bias tables; a transposed table is turned first."""
    windows = stage_pairs(values["window_size"], len(weights.depths))
    heads = []
    for stage, (mh, mw) in enumerate(windows):
        rows = (2 * mh - 1) * (2 * mw - 1)
        pattern = rf"layers\.{stage}\.blocks\.\d+\.{TABLE}"
        upright = WeightShapes(
            {
                name: shape[::-1] if len(shape) == 2 and shape[1] == rows != shape[0] else shape
                for name, shape in weights.shapes.items()
                if re.fullmatch(pattern, name)
            }
        )
        heads.append(upright.most_common("num_heads", (pattern, 1, 2)))
    return tuple(heads)


def _table_rows(weights: WeightShapes) -> int:
    """Returns the rows of the first stage's bias tables: later stages may have other windows."""
    usual = weights.most_common("window_size", (rf".*\.{TABLE}", 0, 2))
    first = [s[0] for name, s in weights.shapes.items() if re.fullmatch(rf"layers\.0\..*{TABLE}", name) and s]
    return max(first, key=lambda rows: (first.count(rows), rows == usual), default=usual)


def _window_size(weights: WeightShapes, values: Mapping[str, Any], notes: list[str]) -> Windows:
    """Returns the window that the bias tables show: one, or one for each stage.

    If the convention shrinks windows, it made the smaller ones of later stages from the first one.
    """
    rows = _table_rows(weights)
    first = _read_window(rows, notes)
    windows = [first]
    for stage in range(1, len(weights.depths)):
        tables = Counter(
            shape[0]
            for name, shape in weights.shapes.items()
            if re.fullmatch(rf"layers\.{stage}\.blocks\.\d+\.{TABLE}", name)
            and len(shape) == 2
            and rows not in shape
        )
        own, blocks = tables.most_common(1)[0] if tables else (rows, 0)
        side = isqrt(own)
        is_square = side * side == own and side % 2 == 1
        most = 2 * blocks > weights.depths[stage]  # one misshapen table is named, and makes no window
        windows.append((side + 1) // 2 if is_square and most else first)
    return _keep_windows(windows, values, notes)


def _keep_windows(windows: list[int], values: Mapping[str, Any], notes: list[str]) -> Windows:
    """Returns one window if that of every stage is the first one, or was shrunk from it."""
    shrinks = convention_named(values["convention"]).window.startswith("shrink")
    if len(set(windows)) == 1 or (shrinks and max(windows) == windows[0]):
        return windows[0]
    found = tuple((side, side) for side in windows)
    if max(windows) == windows[0]:
        notes.append(
            f"the stages have the windows {tell_windows(found)}; if a network for small images shrank them, "
            "pass its convention= and image_size="
        )
    return found


def tell_windows(windows: Iterable[tuple[int, int]]) -> str:
    """Returns windows in words, one if all are equal.

    >>> tell_windows(((7, 7), (7, 7))), tell_windows(((7, 7), (14, 14)))
    ('7x7', '7x7, 14x14')
    """
    words = [f"{height}x{width}" for height, width in windows]
    return words[0] if len(set(words)) == 1 else ", ".join(words)


def _read_window(rows: int, notes: list[str]) -> int:
    """Returns the square window of a bias table with so many rows."""
    side = isqrt(rows)
    windows = [((a + 1) // 2, (rows // a + 1) // 2) for a in range(1, rows + 1, 2) if rows % (2 * a) == a]
    others = [f"{mh}x{mw}" for mh, mw in windows if mh != mw]
    if side * side != rows or side % 2 == 0:
        raise ValueError(
            f"a bias table has (2 Mh - 1)(2 Mw - 1) rows, got {rows}: its window is one of "
            f"{', '.join(others) or 'none'}, pass window_size=(height, width)"
        )
    window = (side + 1) // 2
    if any(min(sides) > 1 for sides in windows if sides != (window, window)):
        notes.append(
            f"the bias tables' {rows} rows are read as a window {window}x{window}, not {', '.join(others)}"
        )
    return window


def one_or_pair(height: int, width: int) -> Size:
    """Returns a size as configurations write it: one integer for equal sides.

    >>> one_or_pair(4, 4), one_or_pair(2, 4)
    (4, (2, 4))
    """
    return height if height == width else (height, width)


def _patch_size(weights: WeightShapes, *_: Any) -> Size:
    pattern = r"patch_embed\.proj\.weight"
    shape = weights.shapes.get("patch_embed.proj.weight", ())
    if len(shape) == 4 and shape[3] == 3 and shape[1] == shape[2] != 3:
        raise ValueError(
            f"a weight that embeds patches is (channels, colours, height, width), got {shape}, with the "
            "colours last, as MLX has it: transpose it, or pass patch_size="
        )
    return one_or_pair(
        weights.most_common("patch_size", (pattern, 2, 4)), weights.most_common("patch_size", (pattern, 3, 4))
    )


def _image_size(weights: WeightShapes, values: Mapping[str, Any], notes: list[str]) -> Any:
    """Returns the image size that a position embedding shows: a square, unless the embedding is a map."""
    shape = weights.shapes.get("absolute_pos_embed")
    if shape is None:
        return None
    ph, pw = pair(values["patch_size"])
    if len(shape) == 4:
        return one_or_pair(shape[2] * ph, shape[3] * pw)
    side = isqrt(shape[1])
    if side * side != shape[1]:
        raise ValueError(
            f"a position embedding without image_size is of a square grid, got {shape[1]} tokens: pass "
            "image_size=(height, width)"
        )
    notes.append(f"the position embedding's {shape[1]} tokens are read as a grid {side}x{side}")
    return one_or_pair(side * ph, side * pw)


def _mlp_ratio(weights: WeightShapes, values: Mapping[str, Any], *_: Any) -> float:
    """Returns the smallest ratio for which int(channels * ratio) is every stage's hidden width."""
    channels = [values["embed_dim"] * 2**stage for stage in range(len(weights.depths))]
    hidden = [
        weights.most_common(
            "mlp_ratio",
            (rf"layers\.{stage}\.blocks\.\d+\.mlp\.fc1\.bias", 0, 1),
            (rf"layers\.{stage}\.blocks\.\d+\.mlp\.fc1\.weight", 0, 2),
        )
        for stage in range(len(weights.depths))
    ]
    ratio = max(width / c for width, c in zip(hidden, channels, strict=True))
    rounded_up = all(int(c * ratio) >= width for width, c in zip(hidden, channels, strict=True))
    return ratio if rounded_up else nextafter(ratio, inf)


def _num_classes(weights: WeightShapes, *_: Any) -> int:
    if weights.has("head.bias"):
        return weights.most_common("num_classes", (r"head\.bias", 0, 1))
    return weights.most_common("num_classes", (r"head\.weight", 0, 2)) if weights.has("head.weight") else 0


def _num_heads_v2(weights: WeightShapes, *_: Any) -> tuple[int, ...]:
    return tuple(
        weights.most_common(
            "num_heads",
            (rf"layers\.{stage}\.blocks\.\d+\.attn\.logit_scale", 0, 3),
            (rf"layers\.{stage}\.blocks\.\d+\.attn\.cpb_mlp\.2\.weight", 0, 2),
        )
        for stage in range(len(weights.depths))
    )


def _window_size_v2(weights: WeightShapes, values: Mapping[str, Any], notes: list[str]) -> Windows:
    """Returns the windows that the buffers show: no weight of V2 depends on them."""
    windows = [_read_window_v2(weights, stage) for stage in range(len(weights.depths))]
    if windows[0] is None:
        raise ValueError(
            "window_size is read from relative_coords_table or relative_position_index, and there is none; "
            "no weight of Swin V2 shows it: pass window_size="
        )
    found = [windows[0] if window is None else window for window in windows]
    if len(set(found)) == 1:
        return one_or_pair(*found[0])
    if all(height == width for height, width in found):
        return _keep_windows([side for side, _ in found], values, notes)
    return tuple(found)


def _read_window_v2(weights: WeightShapes, stage: int) -> tuple[int, int] | None:
    """Returns the window that the buffers of a stage show, if there are any."""
    for name, shape in weights.shapes.items():
        place = rf"layers\.{stage}\.blocks\.\d+\.attn"
        if re.fullmatch(rf"{place}\.relative_coords_table", name) and len(shape) == 4:
            return (shape[1] + 1) // 2, (shape[2] + 1) // 2
        if re.fullmatch(rf"{place}\.relative_position_index", name) and shape:
            tokens = shape[0] if len(shape) == 2 else isqrt(shape[0])
            if isqrt(tokens) ** 2 == tokens:
                return isqrt(tokens), isqrt(tokens)
    return None


FIELDS: dict[str, Any] = {
    "depths": lambda weights, *_: weights.depths,
    "embed_dim": _embed_dim,
    "window_size": _window_size,
    "num_heads": _num_heads,
    "patch_size": _patch_size,
    "in_channels": lambda weights, *_: weights.most_common(
        "in_channels", (r"patch_embed\.proj\.weight", 1, 4)
    ),
    "image_size": _image_size,
    "mlp_ratio": _mlp_ratio,
    "qkv_bias": lambda weights, *_: weights.has("attn.qkv.bias"),
    "qk_scale": lambda *_: None,
    "patch_norm": lambda weights, *_: (
        weights.has("patch_embed.norm.weight") or weights.has("patch_embed.norm.bias")
    ),
    "absolute_position_embedding": lambda weights, *_: weights.has("absolute_pos_embed"),
    "num_classes": _num_classes,
}
"""For each field of a configuration, the function that reads it; a field comes after those that it uses."""

FIELDS_V2: dict[str, Any] = {
    **{field: read for field, read in FIELDS.items() if field != "qk_scale"},
    "window_size": _window_size_v2,
    "num_heads": _num_heads_v2,
    "qkv_bias": lambda weights, *_: weights.has("attn.q_bias") or weights.has("attn.qkv.bias"),
    "pretrained_window_sizes": lambda *_: None,
}
"""The same for Swin V2."""
