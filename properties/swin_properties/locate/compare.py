"""Compares what an implementation computed on its way through a network with the oracle, step by step.

The maps are named by the official names of the steps: ``layers.2.blocks.3.in`` is what block 3 of stage 2 was
given, ``.out`` what it gave; `PARTS` lists what may be known of a block's parts.  What made them does not
matter: hooks, an adapter's callables, or further outputs of a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from swin_properties.budget.budget import UNEQUAL, Deviation, budget, deviation
from swin_properties.budget.precision import Precision
from swin_properties.budget.within import compare_pairs, perturb, within_budget
from swin_properties.locate.steps import Place, Steps, find_params, list_places, list_stages

Maps = Mapping[str, Any]
"""What an implementation computed, by name: arrays of float64 that are exact in its precision."""

PARTS = (
    ("norm1", "norm1", "norm1.out", ("in",)),
    ("attention", "attended", "norm2.in", ("in", "norm1.out")),
    ("attention", "attention", "attention.out", ("norm1.out",)),
    ("norm2", "norm2", "norm2.out", ("norm2.in",)),
    ("norm2", "norm2", "norm2.out", ("sum",)),
    ("MLP", "fed", "out", ("norm2.in", "norm2.out")),
    ("MLP", "mlp", "mlp.out", ("norm2.out",)),
)
"""The parts of a block: each with its name, the method of `Steps`, the map that it made, what it was given.

A row is asked where its maps are known.  ``norm2.in`` is the sum behind the attention as the
implementation made it, ``sum`` one that was made for it where its parts were asked alone.
"""

PARTS_V2 = (
    ("attention", "attention", "norm1.in", ("in",)),
    ("norm1", "norm1", "norm1.out", ("norm1.in",)),
    ("MLP", "mlp_of_sum", "norm2.in", ("in", "norm1.out")),
    ("norm2", "norm2", "norm2.out", ("norm2.in",)),
)
"""The same of a block of V2, whose norms are given what its branches made."""


@dataclass(frozen=True)
class Found:
    """What was found at one step: how far it is from the oracle's, from the image on and alone.

    ``whole`` compares with the oracle's own run on the image: errors accumulate.  ``alone`` compares with the
    oracle's step on the very input that the implementation's had.  ``handed``: that input is not what the
    step before gave, by so much.  ``parts`` are asked of a block beyond its budget.  ``inside``
    is its attention in the windows that it was given, which tells it from their order, roll and mask.
    """

    place: Place
    whole: Deviation | None
    alone: Deviation | None
    handed: Deviation | None = None
    parts: tuple[tuple[str, Deviation], ...] = ()
    inside: Deviation | None = None

    @property
    def beyond(self) -> bool:
        """Tells whether the step is beyond its budget, or was given what the step before did not give."""
        return not all(one.holds for one in (self.alone, self.handed) if one is not None)

    @property
    def wrong_parts(self) -> tuple[str, ...]:
        """Returns the parts beyond their budgets."""
        return tuple(dict.fromkeys(name for name, one in self.parts if not one.holds))


@dataclass(frozen=True)
class Location:
    """What was found at every step, and how far the logits of an undisturbed run are from the oracle's.

    ``stages`` holds the same for whole stages, where the implementation gave their maps.
    """

    steps: tuple[Found, ...]
    stages: tuple[Found, ...] = ()
    logits: Deviation | None = None

    @property
    def beyond(self) -> tuple[Found, ...]:
        """Returns the steps beyond their budgets; a stage only where no step in it is."""
        steps = [one for one in self.steps if one.beyond]
        inside = {one.place.stage for one in steps if one.place.kind == "block"}
        inside |= {one.place.stage + 1 for one in steps if one.place.kind == "merge"}
        inside |= {0 for one in steps if one.place.kind == "embedding"}
        return (*steps, *(one for one in self.stages if one.beyond and one.place.stage not in inside))

    @property
    def exit_code(self) -> int:
        """Returns 1 where a step, or else the logits, are beyond their budget, else 0."""
        return int(bool(self.beyond) or (self.logits is not None and not self.logits.holds))


def compare(
    maps: Maps, images: Any, params: Mapping[str, Any], steps: Steps, exact: Steps, precision: Precision
) -> Location:
    """Compares every step whose maps are known with the oracle's.

    ``steps`` are the oracle's, whose perturbed runs make the budgets; ``exact`` give what is right.  Images
    and parameters are exact in the precision.

    Errors: ``ValueError`` where no step's maps are known.

    >>> import swin_reference
    >>> from swin_properties.budget.precision import PRECISIONS
    >>> config = swin_reference.SwinConfig(16, embed_dim=8, depths=(2,), num_heads=(2,), window_size=2)
    >>> params = swin_reference.hot_parameters(swin_reference.parameter_shapes(config))
    >>> steps = Steps(swin_reference, config, swin_reference.CONVENTIONS["canonical"])
    >>> images = np.ones((1, 3, 16, 16))
    >>> y = [np.float64(np.float32(x)) for x in steps.walk(images, params)]
    >>> maps = {"layers.0.blocks.0.in": y[0], "layers.0.blocks.0.out": y[1],
    ...         "layers.0.blocks.1.in": y[1], "layers.0.blocks.1.out": y[2] + 1e-3}
    >>> found = compare(complete(maps, steps), images, params, steps, steps, PRECISIONS["float32"])
    >>> [one.place.words for one in found.beyond]
    ['block 1']
    """
    config = steps.config
    places, stages = list_places(config), list_stages(config)
    if not any(f"{place.name}.out" in maps for place in (*places, *stages)):
        raise ValueError("locate compares maps, this implementation gave none: offer swin_features")

    def walk(swin: Any) -> list[tuple[Any, Any]]:
        return list(zip(swin.walk(images, params), swin.expected.walk(images, params), strict=True))

    residuals = dict(zip([place.name for place in places], perturb(walk, steps, precision), strict=True))
    results = dict(zip([place.name for place in places], exact.walk(images, params), strict=True))

    def from_image(name: str, got: Any) -> Deviation | None:
        if got is None:
            return None
        if np.shape(got) != results[name].shape:
            return UNEQUAL
        return compare_pairs([(got, results[name])], [residuals[name]], precision).pairs[0].deviation

    def alone(method: str, got: Any, *args: Any) -> Deviation:
        def call(swin: Any) -> tuple[Any, Any]:
            return getattr(swin, method)(*args), getattr(swin.expected, method)(*args)

        known = SimpleNamespace(**{method: lambda *_: got}, expected=exact)
        return within_budget(call, known, steps, precision).pairs[0].deviation

    def find(place: Place, last: str) -> Found:
        """``last`` is the name of the map that the step gives, in the oracle's run from the image on."""
        given = images if place.kind == "embedding" else maps.get(f"{place.name}.in")
        got = maps.get(f"{place.name}.out")
        whole, own = from_image(last, got), find_params(params, place)
        if given is None or got is None:
            return Found(place, whole, None)
        apart = alone("step", got, place, given, own)
        handed = _compare_handed(given, maps.get(f"{_find_previous(place)}.out"), precision)
        if apart.holds or place.kind != "block":
            return Found(place, whole, apart, handed)
        table = PARTS_V2 if steps.is_v2 else PARTS
        block = {key: maps.get(f"{place.name}.{key}") for _, _, made, gave in table for key in (made, *gave)}
        parts = tuple(
            (part, alone(method, block[made], place, *(block[key] for key in gave), own))
            for part, method, made, gave in table
            if block[made] is not None and all(block[key] is not None for key in gave)
        )
        windows, tokens = find_windows(maps, place), prod(steps.windows[place.stage])
        fits = windows is not None and windows[0].shape[1] == tokens
        inside = alone("inside", windows[0], place, *windows[1:], own) if windows and fits else None
        return Found(place, whole, apart, handed, parts, inside)

    last_blocks = {place.stage: place.name for place in places if place.kind == "block"}
    found = [find(place, place.name) for place in places]
    logits = maps.get("logits")
    return Location(
        tuple(one for one in found if one.alone is not None or one.whole is not None),
        tuple(find(place, last_blocks[place.stage]) for place in stages if f"{place.name}.out" in maps),
        from_image("head", logits),
    )


def complete(maps: Maps, steps: Steps) -> dict[str, Any]:
    """Returns the maps of blocks on their grids, and what they tell of embedding, merges and head.

    A map may be (B, H, W, C), (B, H W, C) or (B, C, H, W).  A merge is given what the last block of a stage
    gives, and gives what the next block is given.

    Errors: ``ValueError`` for a map of another shape, or a block that has none.
    """
    found = dict(maps)
    places = list_places(steps.config)
    for place in places:
        if place.kind == "block":
            for key in ("in", "out", "norm1.in", "norm1.out", "norm2.in", "norm2.out"):
                name = f"{place.name}.{key}"
                if name in found:
                    found[name] = _put_on_grid(found[name], name, steps.grids[place.stage])
                elif key in ("in", "out"):
                    raise ValueError(f"locate compares every block, {place.name} did not run: run it once")
    for before, place in pairwise(places):
        if place.kind != "block" and f"{before.name}.out" in found:
            found[f"{place.name}.in"] = found[f"{before.name}.out"]
        if before.kind != "block" and f"{place.name}.in" in found:
            found[f"{before.name}.out"] = found[f"{place.name}.in"]
    return found


def _put_on_grid(x: Any, name: str, grid: tuple[int, int]) -> Any:
    if x.ndim == 3 and x.shape[1] == grid[0] * grid[1]:
        return x.reshape(len(x), *grid, x.shape[2])
    if x.ndim == 4 and x.shape[1:3] == grid:
        return x
    if x.ndim == 4 and x.shape[2:] == grid:
        return x.transpose(0, 2, 3, 1)
    raise ValueError(
        f"a block's map has the tokens of a grid {grid[0]}x{grid[1]}, {name} has the shape {x.shape}: check "
        "the image size and the convention"
    )


def find_windows(maps: Maps, place: Place) -> tuple[Any, Any, Any] | None:
    """Returns what a block's attention gave, was given and was masked by, if it works on windows.

    Shapes: (B nW, N, C) twice, and a mask (nW, N, N).
    """
    gave, given, mask = (maps.get(f"{place.name}.attn.{key}") for key in ("out", "in", "mask"))
    if gave is None or given is None or mask is None or given.ndim != 3 or mask.ndim != 3:
        return None
    tokens = given.shape[1]
    fits = mask.shape[1:] == (tokens, tokens) and len(given) % len(mask) == 0
    return (gave, given, mask) if fits else None


def _find_previous(place: Place) -> str:
    """Returns the name of the block before a block of the same stage, else what no map has."""
    if place.kind != "block" or place.block == 0:
        return ""
    return Place("block", place.stage, place.block - 1).name


def _compare_handed(given: Any, gave: Any, precision: Precision) -> Deviation | None:
    """Compares what a step was given with what the one before gave: they are equal, or rounded once."""
    if gave is None or np.array_equal(given, gave):
        return None
    if given.shape != gave.shape:
        return UNEQUAL
    return deviation(given, gave, budget([np.zeros(gave.shape)], gave, precision))
