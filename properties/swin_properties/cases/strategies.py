"""What Hypothesis draws: configurations, recipes and seeds, never the tensors themselves."""

from __future__ import annotations

from itertools import product
from math import prod

from hypothesis import strategies as st

from swin_properties.budget.budget import SMALLEST_OUTPUT
from swin_properties.cases.case import GridCase, NetCase

Seeds = st.integers(0, 99)
"""Below 100, as every other integer drawn here: among larger ones Hypothesis mixes constants that it reads in
whatever source is loaded, and cases would depend on whom they are asked.  `test_draws` holds it."""


@st.composite
def grids(
    draw: st.DrawFn,
    recipes: tuple[str, ...] = ("generic",),
    whole: bool = False,
    shifted: bool | None = None,
    enough: bool = False,
    largest_window: int = 5,
    channels: int = 1,
    heads: int = 1,
) -> GridCase:
    """Cases of a grid; simplest first, so that a counterexample shrinks to few and small windows.

    ``whole``: only whole windows.  ``shifted``: True for a shift on some axis, False for none.
    ``enough``: the batch is raised until B H W C is what a budget needs.  ``channels``, ``heads``: at least.
    """
    counts = draw(st.integers(1, 3)), draw(st.integers(1, 3))  # first: fewest windows, then small ones
    window = draw(st.integers(1, largest_window)), draw(st.integers(1, largest_window))
    missing = (0, 0) if whole else (draw(st.integers(0, window[0] - 1)), draw(st.integers(0, window[1] - 1)))
    grid = counts[0] * window[0] - missing[0], counts[1] * window[1] - missing[1]
    shift = (0, 0)
    if shifted is not False:
        shift = draw(st.integers(0, window[0] - 1)), draw(st.integers(0, window[1] - 1))
    count = draw(st.integers(heads, 3))
    head_dim = draw(st.integers(-(-channels // count), 4))
    batch = draw(st.integers(1, 2))
    recipe = draw(st.sampled_from(recipes))
    if enough:
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


@st.composite
def networks(
    draw: st.DrawFn,
    recipes: tuple[str, ...] = ("generic",),
    deepest: int = 3,
    maps: bool = False,
    fewest: int = 1,
    enough: bool = True,
    rolls: bool = False,
    longest: int = 10,
) -> NetCase:
    """Cases of a network of ``fewest`` to ``deepest`` stages, small enough to run in milliseconds.

    ``enough``: the batch is raised until the logits, or with ``maps`` every stage's map, have what a
    budget needs.  ``longest``: a grid's side, at most.  ``rolls``: nothing is shifted, padded or bound
    to a place: every block is the first of its stage, every stage's grid is whole windows, and there
    is no position embedding.

    A network of one block alone is left to a law of its own: where it divides by the blocks after the first,
    it would break every law, and show nothing else.
    """
    depths = tuple(draw(st.lists(st.integers(1, 1 if rolls else 3), min_size=fewest, max_size=deepest)))
    if depths == (1,):
        depths = (1, 1) if rolls else (2,)
    heads = tuple(draw(st.sampled_from((1, 2, 4))) for _ in depths)
    embed_dim = max(heads) * draw(st.integers(-(-4 // max(heads)), 4))
    window = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    patch = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    classes = draw(st.sampled_from((500, 0)))
    if enough and not classes and not maps:
        longest = min(longest, 3)  # few outputs an image: many images, and small ones
    missing = (0, 0)
    if rolls:
        whole = tuple(m << len(depths) - 1 for m in window)
        grid = whole[0] * draw(st.integers(1, 3)), whole[1] * draw(st.integers(1, 3))
    else:
        grid = draw(st.integers(1, longest)), draw(st.integers(1, longest))
        missing = draw(st.integers(0, patch[0] - 1)), draw(st.integers(0, patch[1] - 1))
    image = grid[0] * patch[0] - missing[0], grid[1] * patch[1] - missing[1]
    smallest = smallest_map(grid, embed_dim, len(depths)) if maps else classes or embed_dim << len(depths) - 1
    recipe = draw(st.sampled_from(recipes))
    return NetCase(
        batch=draw(st.integers(0, 1)) + (-(-needed(recipe) // smallest) if enough else 1),
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


def needed(recipe: str) -> int:
    """Elements of an output that a steady budget needs; under `peaked` a few near ties carry most of it.

    >>> needed("generic"), needed("peaked")
    (1000, 4000)
    """
    return SMALLEST_OUTPUT * (4 if recipe == "peaked" else 1)


def smallest_map(grid: tuple[int, int], channels: int, stages: int) -> int:
    """Elements a sample of the smallest of all stages' maps: sides halve, rounded up, channels double.

    >>> smallest_map((5, 1), 4, 2)
    20
    """
    maps = [(-(-grid[0] >> k), -(-grid[1] >> k), channels << k) for k in range(stages)]
    return min(height * width * depth for height, width, depth in maps)


def exhaustive(largest_window: int, largest_count: int) -> list[GridCase]:
    """Every window, every shift of it, and every grid of whole windows up to these, smallest first.

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
