"""Laws of state: a call depends on its arguments alone, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.arguments import walk_arrays
from swin_properties.adapters.contract import CONTRACT, Asked
from swin_properties.adapters.layouts import lay_out
from swin_properties.cases.case import Case, GridCase, NetCase
from swin_properties.cases.case_v2 import GridV2Case, NetV2Case
from swin_properties.cases.strategies import Cases, grids, networks
from swin_properties.laws.law import Tier, law
from swin_properties.laws.versions import draw_in_v2, name_in_v2

Grids, Networks = grids(largest_window=4), networks(deepest=2, enough=False)
EnoughGrids, EnoughNetworks = grids(enough=True, largest_window=4, channels=4), networks(deepest=2, longest=4)
CASES: dict[type[Case], tuple[Cases, Cases]] = {
    GridCase: (Grids, EnoughGrids),
    NetCase: (Networks, EnoughNetworks),
    GridV2Case: (draw_in_v2(Grids), draw_in_v2(EnoughGrids)),
    NetV2Case: (draw_in_v2(Networks), draw_in_v2(EnoughNetworks)),
}
"""For each type of case: small ones for exact laws, and ones large enough for a budget."""


def each(
    *names: str, tier: Tier = "exact", part: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds one law for each name, and for V2's; {} in the sentence is the callable that the name begins with.

    ``part``: what of the callable the laws need.
    """

    def enter(ask: Callable[..., Any]) -> Callable[..., Any]:
        for name in dict.fromkeys((*names, *map(name_in_v2, names))):
            callable_name = name.partition("/")[0]
            small, enough = CASES[CONTRACT[callable_name].kind]
            cases = small if tier == "exact" else enough
            body = partial(ask, name=callable_name)
            body.__doc__ = (ask.__doc__ or "").replace("{}", callable_name)
            law(name, [callable_name + part], cases, tier, compares_with="itself")(body)
        return ask

    return enter


@each(
    "window_attention/keeps-inputs",
    "shifted_window_attention/keeps-inputs",
    "layer_norm/keeps-inputs",
    "mlp/keeps-inputs",
    "patch_embed/keeps-inputs",
    "patch_merging/keeps-inputs",
    "swin_block/keeps-inputs",
    "swin_stage/keeps-inputs",
    "swin_transformer/keeps-inputs",
)
def keeps_inputs(swin: Asked, case: Any, name: str) -> Any:
    """{} writes to none of its arguments, and its result shares no memory with them."""
    args = CONTRACT[name].arguments(case)
    given, result = swin.raw(name, *args)
    pairs = list(zip(walk_arrays(given), walk_arrays(args), strict=True))
    shared = swin.shares_memory(given, result)
    return [*pairs, (np.array(shared), np.zeros(len(shared), bool))]


@each(
    "window_attention/same-twice",
    "shifted_window_attention/same-twice",
    "swin_block/same-twice",
    "swin_stage/same-twice",
    "swin_transformer/same-twice",
)
def same_twice(swin: Asked, case: Any, name: str) -> Any:
    """{} gives the same, bitwise, when it is called again after other inputs, and its first result does not
    change.
    """
    x, *rest = CONTRACT[name].arguments(case)
    _, first = swin.raw(name, x, *rest)
    kept = np.array(first)
    getattr(swin, name)(-x, *rest)
    after = np.array(first)
    return [(after, kept), (getattr(swin, name)(x, *rest), kept)]


@each(
    "window_attention/dtype",
    "shifted_window_attention/dtype",
    "layer_norm/dtype",
    "mlp/dtype",
    "swin_block/dtype",
    "swin_stage/dtype",
    "swin_transformer/dtype",
)
def dtype(swin: Asked, case: Any, name: str) -> Any:
    """{} returns the data type that it is given."""
    given, result = swin.raw(name, *CONTRACT[name].arguments(case))
    return np.array(np.asarray(result).dtype.itemsize), np.array(given[0].dtype.itemsize)


def other_order(value: Any) -> Any:
    """Returns nested arguments with every array in another order in memory: its last axis is the slowest."""
    if not isinstance(value, np.ndarray):
        return _each_array(other_order, value)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(value, -1, 0)), 0, -1)


@each(
    "window_attention/memory-order",
    "shifted_window_attention/memory-order",
    "patch_embed/memory-order",
    "swin_block/memory-order",
    "swin_transformer/memory-order",
    tier="budget",
)
def memory_order(swin: Asked, case: Any, name: str) -> Any:
    """{} does not depend on the order in which its tokens and parameters lie in memory."""
    args = CONTRACT[name].arguments(case)
    return getattr(swin, name)(*map(other_order, args)), getattr(swin, name)(*args)


def inside_larger(value: Any) -> Any:
    """Returns nested arguments with every array behind other numbers, in a flat array of twice the size."""
    return (
        lay_out(value, "offset view") if isinstance(value, np.ndarray) else _each_array(inside_larger, value)
    )


def _each_array(change: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: change(child) for key, child in value.items()}
    return [change(child) for child in value] if isinstance(value, list) else value


@each(
    "window_attention/slices",
    "layer_norm/slices",
    "mlp/slices",
    "swin_block/slices",
    tier="budget",
)
def slices(swin: Asked, case: Any, name: str) -> Any:
    """{} does not depend on where its arguments lie: behind other numbers in a larger array, or alone."""
    args, call = CONTRACT[name].arguments(case), getattr(swin, name)
    return call(*map(inside_larger, args)), call(*args)


def other_sizes(case: Any, name: str) -> Iterator[Any]:
    """Yields tokens of other sizes: sides swapped, larger, smaller than a window, and twice the channels."""
    field = "image" if isinstance(case, NetCase) else "grid"
    height, width = getattr(case, field)
    for size in ((width, height), (height + 5, width + 7), (1, 1)):
        yield CONTRACT[name].arguments(replace(case, **{field: size}))[0]
    x = CONTRACT[name].arguments(case)[0]
    yield np.concatenate([x, x], axis=1 if name.endswith("_transformer") else -1)


@each(
    "shifted_window_attention/other-sizes",
    "swin_block/other-sizes",
    "swin_stage/other-sizes",
)
@each("swin_transformer/other-sizes", part=".config.image_size")
def unmoved_by_other_sizes(swin: Asked, case: Any, name: str) -> Any:
    """{} gives the same, bitwise, after calls at other sizes and after calls that it refuses."""
    call, (x, *rest) = getattr(swin, name), CONTRACT[name].arguments(case)
    results = [call(x, *rest)]
    for other in other_sizes(case, name):
        # The call may be refused; the law asks only what it leaves behind.
        with suppress(BadAnswer, Declined, ValueError):
            call(other, *rest)
        results.append(call(x, *rest))
    return [(result, results[-1]) for result in results[:-1]]
