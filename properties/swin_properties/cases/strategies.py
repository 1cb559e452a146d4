"""Where a law's cases come from: Hypothesis draws sizes, recipes and seeds, never the tensors themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from inspect import signature
from itertools import product
from math import prod
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from hypothesis import strategies as st

from swin_properties.budget.budget import SMALLEST_OUTPUT
from swin_properties.cases.case import Case, GridCase, NetCase, ScheduleCase
from swin_properties.cases.large import NONE_LARGE, ONE_AT_A_TIME, Large

C = TypeVar("C", bound=Case)
P = ParamSpec("P")


@dataclass(frozen=True)
class Drawn(Generic[C]):
    """Cases of one type that Hypothesis draws; and by name such in which one size is large."""

    kind: type[C]
    strategy: st.SearchStrategy[C]
    large: Mapping[str, st.SearchStrategy[C]] = field(default_factory=dict, hash=False)

    def map(self, change: Callable[[C], C]) -> Drawn[C]:
        """Returns the same cases, each changed."""
        large = {name: strategy.map(change) for name, strategy in self.large.items()}
        return Drawn(self.kind, self.strategy.map(change), large)


@dataclass(frozen=True)
class Listed(Generic[C]):
    """Cases of one type that a function lists, given the largest window and the largest count of windows."""

    kind: type[C]
    every: Callable[[int, int], Sequence[C]]


Cases = Drawn[Any] | Listed[Any]
"""What a law is asked on."""

Seeds = st.integers(0, 99)
"""Integers below 100, as every integer drawn here: among larger ones Hypothesis mixes constants from whatever
source is loaded, so the cases would depend on the code around them.  `test_draws` checks it."""


def drawn(
    kind: type[C],
) -> Callable[[Callable[Concatenate[st.DrawFn, P], C]], Callable[P, Drawn[C]]]:
    """Turns a function that draws one case of type ``kind`` into one that returns `Drawn` cases.

    >>> @drawn(GridCase)
    ... def squares(draw, largest):
    ...     side = draw(st.integers(1, largest))
    ...     return GridCase(grid=(side, side))
    >>> squares(largest=3).kind.__name__
    'GridCase'
    """

    def enter(draw_case: Callable[Concatenate[st.DrawFn, P], C]) -> Callable[P, Drawn[C]]:
        strategy = st.composite(draw_case)

        @wraps(draw_case)
        def cases(*args: P.args, **kwargs: P.kwargs) -> Drawn[C]:
            make: Callable[..., st.SearchStrategy[C]] = partial(strategy, *args, **kwargs)
            named = ONE_AT_A_TIME if "large" in signature(draw_case).parameters else {}
            return Drawn(kind, make(), {name: make(large=size) for name, size in named.items()})

        return cases

    return enter


@drawn(GridCase)
def grids(
    draw: st.DrawFn,
    recipes: tuple[str, ...] = ("generic",),
    whole: bool = False,
    shifted: bool | None = None,
    enough: bool = False,
    largest_window: int = 5,
    channels: int = 1,
    heads: int = 1,
    large: Large = NONE_LARGE,
) -> GridCase:
    """Draws a grid; the simplest sizes come first, so that a counterexample shrinks to few and small windows.

    ``whole``: only whole windows.  ``shifted``: False for no shift.  ``enough``: raises the batch until the
    elements B H W C are as many as a budget needs.  ``channels``, ``heads``: the fewest of each.  ``large``:
    the sizes that are not drawn; a grid is rounded up to whole windows if it has to be.
    """
    is_large = large != NONE_LARGE  # then nothing else is so small that the large size could not be seen
    least = 2 if is_large and largest_window > 1 else 1
    most = 1 if large.windows else 2 if large.window else 3
    fewest = 2 if is_large and most == 3 else 1
    counts = (
        draw(st.integers(fewest, most)),
        draw(st.integers(fewest, most)),
    )  # drawn first, hence shrunk first
    window = large.window or (
        draw(st.integers(least, largest_window)),
        draw(st.integers(least, largest_window)),
    )
    missing = (0, 0)
    if large.grid:
        counts = -(-large.grid[0] // window[0]), -(-large.grid[1] // window[1])
    elif not (whole or large.windows):
        missing = draw(st.integers(0, window[0] - 1)), draw(st.integers(0, window[1] - 1))
    grid = counts[0] * window[0] - missing[0], counts[1] * window[1] - missing[1]
    if large.grid and not whole:
        grid = large.grid
    shift = (0, 0)
    if shifted is not False and is_large and not large.windows:
        shift = draw(st.sampled_from((window[0] // 2, 0))), draw(st.sampled_from((window[1] // 2, 0)))
    elif shifted is not False and not is_large:
        shift = draw(st.integers(0, window[0] - 1)), draw(st.integers(0, window[1] - 1))
    count = large.heads or draw(st.integers(heads, 3))
    head_dim = large.head_dim or draw(st.integers(-(-channels // count), 4))
    batch = large.windows or draw(st.integers(1, 2))
    recipe = draw(st.sampled_from(recipes))
    if enough and not large.windows:
        batch += -(-needed(recipe) // (prod(grid) * count * head_dim)) - 1
    return GridCase(
        batch=batch,
        recipe=recipe,
        seed=draw(Seeds),
        grid=grid,
        window=window,
        shift=shift,
        heads=count,
        head_dim=head_dim,
        qkv_bias=draw(st.sampled_from((1, 0))),
    )


@drawn(GridCase)
def padded_grids(draw: st.DrawFn) -> GridCase:
    """Draws a grid that is padded and shifted along both axes, of one to three windows an axis."""
    window = draw(st.integers(2, 5)), draw(st.integers(2, 5))
    counts = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    missing = tuple(draw(st.integers(1, m - 1)) for m in window)
    height, width = (n * m - k for n, m, k in zip(counts, window, missing, strict=True))
    heads, head_dim = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    return GridCase(
        batch=-(-needed("generic") // (height * width * heads * head_dim)),
        seed=draw(Seeds),
        grid=(height, width),
        window=window,
        shift=(draw(st.integers(1, window[0] - 1)), draw(st.integers(1, window[1] - 1))),
        heads=heads,
        head_dim=head_dim,
        qkv_bias=draw(st.sampled_from((1, 0))),
    )


@drawn(NetCase)
def spanned_stages(draw: st.DrawFn) -> NetCase:
    """Draws a stage of several blocks whose window spans one axis of the grid, and not the other."""
    window = draw(st.integers(2, 4)), draw(st.integers(2, 4))
    across = draw(st.integers(0, 1))
    longer = window[1 - across] + draw(st.integers(1, window[1 - across]))
    grid = (window[0], longer) if across == 0 else (longer, window[1])
    heads = draw(st.sampled_from((1, 2)))
    embed_dim = heads * draw(st.integers(4 // heads, 4))
    return NetCase(
        batch=-(-needed("generic") // (prod(grid) * embed_dim)),
        seed=draw(Seeds),
        image=grid,
        window=window,
        depths=(draw(st.integers(2, 3)),),
        heads=(heads,),
        embed_dim=embed_dim,
        qkv_bias=draw(st.sampled_from((1, 0))),
    )


@drawn(NetCase)
def networks(
    draw: st.DrawFn,
    recipes: tuple[str, ...] = ("generic",),
    deepest: int = 3,
    maps: bool = False,
    fewest: int = 1,
    enough: bool = True,
    rolls: bool = False,
    longest: int = 10,
    large: Large = NONE_LARGE,
) -> NetCase:
    """Draws a network of ``fewest`` to ``deepest`` stages, small enough to run in milliseconds.

    ``enough``: raises the batch until the logits, or with ``maps`` the map of every stage, have as many
    elements as a budget needs.  ``longest``: the longest side of a grid.  ``rolls``: only networks in which
    rolling the image rolls every map: no shift, no padding, no position embedding.

    Networks of a single block have a law of their own, ``swin_transformer/one-block``: an implementation that
    fails on them would otherwise break every law of networks, and hide its other faults.

    ``large``: the sizes of the first stage that are not drawn; the network then has two blocks.
    """
    if large == NONE_LARGE:
        depths = tuple(draw(st.lists(st.integers(1, 1 if rolls else 3), min_size=fewest, max_size=deepest)))
        if depths == (1,):
            depths = (1, 1) if rolls else (2,)
    else:
        depths = (1, 1) if rolls or fewest > 1 else (2,)
    heads = tuple(large.heads or draw(st.sampled_from((1, 2, 4))) for _ in depths)
    embed_dim = max(heads) * (large.head_dim or draw(st.integers(-(-4 // max(heads)), 4)))
    least = 1 if large == NONE_LARGE else 2
    window = large.window or (draw(st.integers(least, 4)), draw(st.integers(least, 4)))
    patch = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    classes = draw(st.sampled_from((500, 0)))
    if enough and not classes and not maps:
        longest = min(longest, 3)  # few outputs an image: many images, and small ones
    missing = (0, 0)
    if rolls:
        whole = tuple(m << len(depths) - 1 for m in window)
        if large == NONE_LARGE:
            grid = whole[0] * draw(st.integers(1, 3)), whole[1] * draw(st.integers(1, 3))
        else:
            height, width = large.grid or (1, 1)
            grid = -(-height // whole[0]) * whole[0], -(-width // whole[1]) * whole[1]
    elif large == NONE_LARGE:
        grid = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    else:  # more than a window, so that blocks shift
        grid = large.grid or ((window[0], window[1]) if large.windows else (window[0] + 1, window[1]))
    if not rolls:
        missing = draw(st.integers(0, patch[0] - 1)), draw(st.integers(0, patch[1] - 1))
    image = grid[0] * patch[0] - missing[0], grid[1] * patch[1] - missing[1]
    smallest = smallest_map(grid, embed_dim, len(depths)) if maps else classes or embed_dim << len(depths) - 1
    recipe = draw(st.sampled_from(recipes))
    return NetCase(
        batch=large.windows or draw(st.integers(0, 1)) + (-(-needed(recipe) // smallest) if enough else 1),
        recipe=recipe,
        seed=draw(Seeds),
        image=image,
        patch=patch,
        window=window,
        depths=depths,
        heads=heads,
        embed_dim=embed_dim,
        qkv_bias=draw(st.sampled_from((1, 0))),
        patch_norm=draw(st.sampled_from((1, 0))),
        position_embedding=0 if rolls else draw(st.sampled_from((0, 1))),
        classes=classes,
    )


@drawn(ScheduleCase)
def schedules(draw: st.DrawFn) -> ScheduleCase:
    """Draws the depths of up to four stages, one block or 2^n + 1, so that every rate is exact."""
    depths = draw(st.lists(st.integers(1, 6), max_size=3))
    last = next(last for last in range(1, 64) if (sum(depths) + last - 1).bit_count() <= 1)
    return ScheduleCase(eighths=draw(st.integers(0, 7)), depths=(*depths, last))


def needed(recipe: str) -> int:
    """Returns how many elements an output must have for a steady budget; more for `peaked`, whose few near
    ties carry most of the error.

    >>> needed("generic"), needed("peaked")
    (1000, 4000)
    """
    return SMALLEST_OUTPUT * (4 if recipe == "peaked" else 1)


def smallest_map(grid: tuple[int, int], channels: int, stages: int) -> int:
    """Returns how many elements the smallest map of all stages has for one image.

    From stage to stage the sides are halved, rounded up, and the channels doubled.

    >>> smallest_map((5, 1), 4, 2)
    20
    """
    maps = [(-(-grid[0] >> k), -(-grid[1] >> k), channels << k) for k in range(stages)]
    return min(height * width * depth for height, width, depth in maps)


def exhaustive(largest_window: int, largest_count: int) -> list[GridCase]:
    """Returns every window, every shift of it, and every grid of whole windows up to these, smallest first.

    >>> len(exhaustive(5, 3))
    2025
    """
    axis = [
        (m, s, count)
        for m in range(1, largest_window + 1)
        for s in range(m)
        for count in range(1, largest_count + 1)
    ]
    cases = [
        GridCase(grid=(mh * ch, mw * cw), window=(mh, mw), shift=(sh, sw), head_dim=2)
        for (mh, sh, ch), (mw, sw, cw) in product(axis, axis)
    ]
    return sorted(cases, key=lambda case: (prod(case.grid), case.window, case.shift))


SmallGrids = Listed(GridCase, exhaustive)
