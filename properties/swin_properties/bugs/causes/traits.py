"""The trait of a fault: the property of cases that parts those on which a law is broken from the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import prod
from typing import Any

from swin_properties.adapters.contract import list_parameters
from swin_properties.cases.case import Case, GridCase, NetCase, ScheduleCase
from swin_properties.cases.case_v2 import find_v1
from swin_properties.cases.measured import measure

Sample = Sequence[tuple[Case, bool]]
"""Cases, each with whether the law is broken on it."""

FEWEST = 3
"""How many cases of each kind a property has to part before it is told."""


@dataclass(frozen=True)
class Property:
    """A property of cases, in words that follow "cases with", and the words of a case that it looks at."""

    words: str
    has: Callable[[Any], bool]
    looks_at: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Trait:
    """What parts broken cases from the others, and how many there are of each.

    ``exact``: the law is broken on all cases with the properties, and holds on all others.  Else it is broken
    on ``broken`` of the ``within`` cases with them, and holds on all others.
    """

    properties: tuple[Property, ...]
    broken: int
    within: int
    others: int

    @property
    def exact(self) -> bool:
        """Returns whether every case with the properties is broken."""
        return self.broken == self.within

    def __str__(self) -> str:
        few = "all" if self.exact else f"{self.broken} of"
        words = " and ".join(one.words for one in self.properties)
        where = f"with {words}, and holds on all {self.others} others" if words else "that were tried"
        return f"broken on {few} {self.within} cases {where}"


def _spans(case: GridCase | NetCase) -> tuple[bool, bool]:
    """Returns for each axis whether a window is as large as the grid, or larger."""
    height, width = (side <= m for side, m in zip(case.grid, case.window, strict=True))
    return height, width


def _make(words: str, has: Callable[[Any], bool], looks_at: str) -> Property:
    return Property(words, has, frozenset(looks_at.split()))


GRID = [
    _make("a shift", lambda case: any(case.shift), "shift"),
    _make("no shift", lambda case: not any(case.shift), "shift"),
    _make("a shift along the rows", lambda case: case.shift[0] > 0, "shift"),
    _make("a shift along the columns", lambda case: case.shift[1] > 0, "shift"),
    _make("a shift along both axes", lambda case: min(case.shift) > 0, "shift"),
    _make("a shift along one axis only", lambda case: (case.shift[0] > 0) != (case.shift[1] > 0), "shift"),
    _make(
        "a shift that is not exactly half the window",
        lambda case: any(2 * s % m for s, m in zip(case.shift, case.window, strict=True)),
        "shift window",
    ),
    _make(
        "a shift along an axis whose window side is odd",
        lambda case: any(s and m % 2 for s, m in zip(case.shift, case.window, strict=True)),
        "shift window",
    ),
    _make("shifts that differ", lambda case: case.shift[0] != case.shift[1], "shift"),
    _make(
        "a shift by other than half the window, rounded down, along an axis that shifts",
        lambda case: any(s and s != m // 2 for s, m in zip(case.shift, case.window, strict=True)),
        "shift window",
    ),
    _make(
        "a shift that moves tokens",
        lambda case: any(s % side for s, side in zip(case.shift, case.grid, strict=True)),
        "shift grid",
    ),
    _make(
        "a shift that two rolls do not undo",
        lambda case: any(2 * s % side for s, side in zip(case.shift, case.grid, strict=True)),
        "shift grid",
    ),
    _make("a padded grid", lambda case: case.padded != case.grid, "grid window"),
    _make("a grid of whole windows", lambda case: case.padded == case.grid, "grid window"),
    _make("a grid padded at the bottom", lambda case: case.padded[0] != case.grid[0], "grid window"),
    _make("a grid padded at the right", lambda case: case.padded[1] != case.grid[1], "grid window"),
    _make(
        "a shift along a padded axis",
        lambda case: any(
            s and p > side for s, p, side in zip(case.shift, case.padded, case.grid, strict=True)
        ),
        "shift grid window",
    ),
    _make("a height different from the width", lambda case: case.grid[0] != case.grid[1], "grid"),
    _make("a window that is not square", lambda case: case.window[0] != case.window[1], "window"),
    _make("a square window", lambda case: case.window[0] == case.window[1], "window"),
    _make("a window of more than one token", lambda case: prod(case.window) > 1, "window"),
    _make("a window of several rows", lambda case: case.window[0] > 1, "window"),
    _make("a window of several columns", lambda case: case.window[1] > 1, "window"),
    _make("a window of several rows and columns", lambda case: min(case.window) > 1, "window"),
    _make(
        "a window with an odd side", lambda case: case.window[0] % 2 == 1 or case.window[1] % 2 == 1, "window"
    ),
    _make("several tokens in the grid", lambda case: prod(case.grid) > 1, "grid"),
    _make("several rows of tokens", lambda case: case.grid[0] > 1, "grid"),
    _make("several columns of tokens", lambda case: case.grid[1] > 1, "grid"),
    _make("several windows", lambda case: case.padded != case.window, "grid window"),
    _make("several windows along the rows", lambda case: case.padded[0] > case.window[0], "grid window"),
    _make("several windows along the columns", lambda case: case.padded[1] > case.window[1], "grid window"),
    _make(
        "several windows along both axes",
        lambda case: case.padded[0] > case.window[0] and case.padded[1] > case.window[1],
        "grid window",
    ),
    _make(
        "unlike numbers of windows along the two axes",
        lambda case: case.padded[0] // case.window[0] != case.padded[1] // case.window[1],
        "grid window",
    ),
    _make(
        "a window larger than the grid along an axis",
        lambda case: _is_larger(case.window, case.grid),
        "grid window",
    ),
    _make(
        "a window as large as the grid along an axis, or larger",
        lambda case: any(_spans(case)),
        "grid window",
    ),
    _make("an odd height or width", lambda case: case.grid[0] % 2 == 1 or case.grid[1] % 2 == 1, "grid"),
    _make("an odd height", lambda case: case.grid[0] % 2 == 1, "grid"),
    _make("an odd width", lambda case: case.grid[1] % 2 == 1, "grid"),
    _make("an even height and width", lambda case: case.grid[0] % 2 == 0 and case.grid[1] % 2 == 0, "grid"),
    _make("several heads", lambda case: case.heads > 1, "heads"),
    _make("one head", lambda case: case.heads == 1, "heads"),
    _make("several channels a head", lambda case: case.head_dim > 1, "channels"),
    _make("several channels", lambda case: case.channels > 1, "channels"),
    _make(
        "a number of heads other than the channels of a head",
        lambda case: case.heads != case.head_dim,
        "channels heads",
    ),
    _make("several images", lambda case: case.batch > 1, "batch"),
    _make("a qkv bias", lambda case: case.qkv_bias == 1, "qkv_bias"),
    _make("no qkv bias", lambda case: case.qkv_bias == 0, "qkv_bias"),
    _make(
        "a number of tokens in a window that 32 does not divide",
        lambda case: prod(case.window) % 32 > 0,
        "window",
    ),
    _make(
        "a shift other than half the window, rounded down",
        lambda case: case.shift != (case.window[0] // 2, case.window[1] // 2),
        "shift window",
    ),
    _make(
        "a window side above 1 other than the grid's",
        lambda case: any(side != m > 1 for side, m in zip(case.grid, case.window, strict=True)),
        "grid window",
    ),
    _make("a window other than the grid", lambda case: case.window != case.grid, "grid window"),
]
"""Properties of grids, the plainest first: the first of several that part the cases alike is told."""

NET = [
    _make("several blocks in a stage", lambda case: max(case.depths) > 1, "depths"),
    _make("several stages", lambda case: len(case.depths) > 1, "depths"),
    _make("a shift in some block", lambda case: _shifts(case), "network"),
    _make("several blocks in the first stage", lambda case: case.depths[0] > 1, "depths"),
    _make("a window of more than one token", lambda case: prod(case.window) > 1, "window"),
    _make(
        "a first grid larger than the window along both axes",
        lambda case: not any(_spans(case)),
        "image patch window",
    ),
    _make(
        "a window that spans the first grid along an axis",
        lambda case: any(_spans(case)),
        "image patch window",
    ),
    _make(
        "a window that spans the first grid along one axis only",
        lambda case: sum(_spans(case)) == 1,
        "image patch window",
    ),
    _make(
        "a window with an odd side above 1",
        lambda case: any(m % 2 and m > 1 for m in case.window),
        "window",
    ),
    _make("a last map of several tokens", lambda case: prod(case.stage_grids[-1]) > 1, "image patch depths"),
    _make("several rows and columns of tokens", lambda case: min(case.grid) > 1, "image patch"),
    _make("a height different from the width", lambda case: case.image[0] != case.image[1], "image"),
    _make(
        "an image that is no whole number of patches",
        lambda case: _cut(case.image, case.patch),
        "image patch",
    ),
    _make("a patch that is not square", lambda case: case.patch[0] != case.patch[1], "patch"),
    _make("a patch of several pixels", lambda case: prod(case.patch) > 1, "patch"),
    _make("a window that is not square", lambda case: case.window[0] != case.window[1], "window"),
    _make("a grid that is padded in some stage", lambda case: _pads(case), "network"),
    _make("a window larger than a stage's grid", lambda case: _outgrows(case), "network"),
    _make("a merge of an odd side", lambda case: _merges_odd(case), "network"),
    _make("a position embedding", lambda case: case.position_embedding == 1, "position_embedding"),
    _make("no position embedding", lambda case: case.position_embedding == 0, "position_embedding"),
    _make("a norm after the patch embedding", lambda case: case.patch_norm == 1, "patch_norm"),
    _make("no norm after the patch embedding", lambda case: case.patch_norm == 0, "patch_norm"),
    _make("a head", lambda case: case.classes > 0, "classes"),
    _make("no head", lambda case: case.classes == 0, "classes"),
    _make("several heads in a stage", lambda case: max(case.heads) > 1, "heads"),
    _make("several images", lambda case: case.batch > 1, "batch"),
    _make("a qkv bias", lambda case: case.qkv_bias == 1, "qkv_bias"),
    _make("no qkv bias", lambda case: case.qkv_bias == 0, "qkv_bias"),
]
"""Properties of networks."""

SCHEDULE = [
    _make("several stages", lambda case: len(case.depths) > 1, "depths"),
    _make("several blocks", lambda case: sum(case.depths) > 1, "depths"),
    _make("a rate above 0", lambda case: case.eighths > 0, "eighths"),
]
"""Properties of drop path's schedules."""

PROPERTIES: dict[type[Case], list[Property]] = {GridCase: GRID, NetCase: NET, ScheduleCase: SCHEDULE}

RECIPES = {
    "generic": "generic numbers",
    "flat": "tokens that are nearly constant, as LayerNorm's eps shows",
    "impulse": "tokens of zeros",
    "uniform": "weights without queries and bias",
    "peaked": "logits that are far apart",
    "big": "large numbers",
    "gentle": "gentle logits",
    "full": "numbers that use all bits",
    "opposed": "cosines of 1 and -1",
}
"""The recipes in words that follow "cases with"."""

OTHER_RECIPES = {"uniform": "weights with queries and a bias", "big": "numbers that are not large"}
"""The words of all recipes but one."""

SIZES: list[tuple[str, Callable[[Any], int], str]] = [
    ("a window side above {}", lambda case: max(measure(case).window), "window"),
    ("more than {} tokens in a window", lambda case: prod(measure(case).window), "window"),
    ("more than {} heads", lambda case: measure(case).heads, "heads"),
    ("more than {} channels a head", lambda case: measure(case).head_dim, "channels heads"),
    ("more than {} channels", lambda case: measure(case).channels, "channels"),
    ("a side of the grid above {}", lambda case: max(measure(case).grid), "grid"),
    ("more than {} windows in all", lambda case: measure(case).windows, "grid window"),
    ("more than {} images", lambda case: case.batch, "batch"),
]
"""Sizes from which on a fault may show, in words, and the words of a case that they look at."""


def list_unseen(component: str) -> frozenset[str]:
    """Returns the words of a case that a callable is not given, so that they cannot matter.

    >>> sorted(list_unseen("mlp"))
    ['heads', 'qkv_bias', 'shift', 'window']
    """
    given = {parameter.name for parameter in list_parameters(component)}
    unseen = set()
    if "shift_size" not in given:
        unseen.add("shift")
    if not given & {"window_size", "patch_size"}:
        unseen.add("window")
    if "num_heads" not in given:
        unseen |= {"qkv_bias"} if "table" in given else {"heads", "qkv_bias"}
    if not given & {"x", "images", "windows", "height"}:
        unseen |= {"grid", "batch", "channels"}
    return frozenset(unseen)


def _is_larger(window: tuple[int, int], grid: tuple[int, int]) -> bool:
    return window[0] > grid[0] or window[1] > grid[1]


def _cut(image: tuple[int, int], patch: tuple[int, int]) -> bool:
    return image[0] % patch[0] > 0 or image[1] % patch[1] > 0


def _pads(case: NetCase) -> bool:
    return any(_cut(grid, case.window) for grid in case.stage_grids)


def _outgrows(case: NetCase) -> bool:
    return any(_is_larger(case.window, grid) for grid in case.stage_grids)


def _merges_odd(case: NetCase) -> bool:
    return any(_cut(grid, (2, 2)) for grid in case.stage_grids[:-1])


def _shifts(case: NetCase) -> bool:
    """Tells whether a stage has a second block whose window is smaller than the grid on both axes."""
    (mh, mw), stages = case.window, zip(case.stage_grids, case.depths, strict=True)
    return max(mh, mw) > 1 and any(
        depth > 1 and height > mh and width > mw for (height, width), depth in stages
    )


def list_properties(cases: Sequence[Case], component: str = "") -> Iterator[Property]:
    """Yields the properties that cases of one type may have, the plainest first.

    With ``component`` only those of what that callable is given.
    """
    kind = find_v1(type(cases[0]))
    unseen = list_unseen(component) if component and kind is GridCase else frozenset()
    yield from (one for one in PROPERTIES[kind] if not one.looks_at & unseen)
    for recipe in dict.fromkeys(case.recipe for case in cases):
        yield Property(RECIPES[recipe], partial(_has_recipe, recipe))
        if recipe in OTHER_RECIPES:
            yield Property(OTHER_RECIPES[recipe], partial(_has_other_recipe, recipe))
    for words, size, looks_at in SIZES if kind in (GridCase, NetCase) else []:
        if not set(looks_at.split()) & unseen:
            for step in sorted({size(case) for case in cases})[:-1]:
                yield Property(words.format(step), partial(_exceeds, size, step))


def _has_recipe(recipe: str, case: Case) -> bool:
    return case.recipe == recipe


def _has_other_recipe(recipe: str, case: Case) -> bool:
    return case.recipe != recipe


def find_property(words: str, kind: type[Case]) -> Property:
    """Returns a property of cases of a type by its words.

    Errors: ``LookupError`` for words that are no property's.

    >>> find_property("a shift", GridCase).has(GridCase(window=(2, 1), shift=(1, 0)))
    True
    """
    recipes = [Property(text, partial(_has_recipe, recipe)) for recipe, text in RECIPES.items()]
    others = [Property(text, partial(_has_other_recipe, recipe)) for recipe, text in OTHER_RECIPES.items()]
    for one in (*PROPERTIES[find_v1(kind)], *recipes, *others):
        if one.words == words:
            return one
    raise LookupError(
        f"the words are those of a property of a {kind.__name__}, got {words!r}: see PROPERTIES"
    )


def _exceeds(size: Callable[[Any], int], step: int, case: Case) -> bool:
    return size(case) > step


def find_trait(sample: Sample, component: str = "") -> Trait | None:
    """Returns the plainest property, or two or three, that all broken cases of a sample have and few others.

    ``component`` is the callable that was asked.  None where no case is broken.  Where nothing parts them
    exactly, it is the property with the fewest cases that have it and hold.

    >>> sides = [(GridCase(grid=(h, w)), h != w) for h in (1, 2, 3) for w in (1, 2, 3)]
    >>> print(find_trait(sides))
    broken on all 6 cases with a height different from the width, and holds on all 3 others
    """
    broken = [case for case, is_broken in sample if is_broken]
    holding = [case for case, is_broken in sample if not is_broken]
    if not broken:
        return None
    whole = Trait((), len(broken), len(sample), 0)
    if not holding:
        return whole
    properties = list_properties([case for case, _ in sample], component)
    shared = [one for one in properties if all(map(one.has, broken))]
    left = {one: frozenset(i for i, case in enumerate(holding) if one.has(case)) for one in shared}
    single = [one for one in shared if len(left[one]) < len(holding)]
    if not single:
        return whole
    # Several are told only where they part the cases exactly.
    exact = (chosen for number in (1, 2, 3) if (chosen := _choose_exact(number, left, single)))
    chosen = next(exact, (min(single, key=lambda one: len(left[one])),))
    kept = _intersect(left, chosen)
    others = len(holding) - len(kept)
    if min(others, len(broken)) < FEWEST:
        return whole
    return Trait(chosen, len(broken), len(broken) + len(kept), others)


def _choose_exact(
    number: int, left: Mapping[Property, frozenset[int]], single: Sequence[Property]
) -> tuple[Property, ...]:
    """Returns the plainest properties, so many together, that no case has which holds; else none.

    ``left`` are the cases that have each and hold.  Each of several has to exclude more than one case that
    the others leave: else it is there by chance.
    """
    places = {one: place for place, one in enumerate(single)}
    found = [
        chosen
        for chosen in combinations(single, number)
        if not _intersect(left, chosen)
        and (
            number == 1
            or all(len(_intersect(left, others)) > 1 for others in combinations(chosen, number - 1))
        )
    ]
    return min(found, key=lambda chosen: sum(places[one] for one in chosen), default=())


def _intersect(left: Mapping[Property, frozenset[int]], chosen: Sequence[Property]) -> frozenset[int]:
    return frozenset.intersection(*(left[one] for one in chosen))
