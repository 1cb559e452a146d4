"""Which part of a block is wrong: the others are switched off by their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.within import within_budget
from swin_properties.cases.case import Case
from swin_properties.cases.recipes import of_cosines, scaled

Change = Callable[[Any], Any]
"""Returns parameters with something switched off."""

MOST = 6
"""The broken cases that are asked with a part switched off."""


def silence(params: Any, *leaves: str) -> Any:
    """Returns parameters, at any nesting level, in which the weights and biases of some layers are zeros.

    >>> silence({"mlp": {"fc1": {"weight": 2.0}, "fc2": {"weight": 3.0}}}, "fc2")
    {'mlp': {'fc1': {'weight': 2.0}, 'fc2': {'weight': 0.0}}}
    """
    if isinstance(params, list):
        return [silence(child, *leaves) for child in params]
    if not isinstance(params, Mapping):
        return params
    return {
        name: _make_zeros(child) if name in leaves else silence(child, *leaves)
        for name, child in params.items()
    }


def _make_zeros(child: Any) -> Any:
    return {key: 0 * x for key, x in child.items()} if isinstance(child, Mapping) else 0 * child


def level(params: Any) -> Any:
    """Returns parameters, at any nesting level, whose attentions have neither queries nor a position bias."""
    if isinstance(params, list):
        return [level(child) for child in params]
    if not isinstance(params, Mapping):
        return params
    changed = {name: level(child) for name, child in params.items()}
    if "logit_scale" in changed:  # of V2
        return silence_table(of_cosines("uniform", changed))
    if "qkv" in changed:
        changed["qkv"] = {name: scaled(x, 0.0, 1.0) for name, x in changed["qkv"].items()}
        changed["relative_position_bias_table"] = 0 * changed["relative_position_bias_table"]
    return changed


def silence_attention(params: Any) -> Any:
    """Returns parameters of blocks whose attention adds nothing; a patch embedding keeps its projection."""
    if isinstance(params, list):
        return [silence_attention(child) for child in params]
    if not isinstance(params, Mapping):
        return params
    if "qkv" in params:
        return silence(params, "proj")
    if _is_block_of_v2(params):
        return silence(params, "norm1")
    return {name: silence_attention(child) for name, child in params.items()}


def silence_mlp(params: Any) -> Any:
    """Returns parameters of blocks whose MLP adds nothing."""
    if isinstance(params, list):
        return [silence_mlp(child) for child in params]
    if not isinstance(params, Mapping):
        return params
    if "fc2" in params:
        return silence(params, "fc2")
    if _is_block_of_v2(params):
        return silence(params, "norm2")
    return {name: silence_mlp(child) for name, child in params.items()}


def _is_block_of_v2(params: Mapping[str, Any]) -> bool:
    """Tells whether parameters are those of a block whose branches end with their norms."""
    return "norm1" in params and "logit_scale" in params["attn"]


def silence_table(params: Any) -> Any:
    """Returns parameters without a position bias; in V2 it is then the same for all offsets."""
    return silence(params, "relative_position_bias_table", "2")


def is_right(name: str, implementation: Implementation, cases: Iterable[Case], change: Change) -> bool:
    """Tells whether a callable is the oracle's on cases whose parameters are changed."""
    for case in cases:
        args = list(CONTRACT[name].arguments(case.in_precision(implementation.precision.name)))
        args[1] = change(args[1])

        def call(swin: Any, args: Any = args) -> Any:
            return _pair(getattr(swin, name)(*args), getattr(swin.expected, name)(*args))

        try:
            if not within_budget(call, implementation, implementation.oracle, implementation.precision).holds:
                return False
        except BadAnswer:
            return False
        except Declined:
            continue
    return True


def _pair(got: Any, expected: Any) -> list[tuple[Any, Any]]:
    return list(zip(got, expected, strict=True)) if isinstance(got, list) else [(got, expected)]


def find_part(name: str, implementation: Implementation, cases: list[Case]) -> str:
    """Returns in words which part of a callable is wrong, found by switching the others off; else nothing.

    ``cases`` are such on which the callable is not the oracle's.
    """
    right = partial(is_right, name, implementation, cases[:MOST])
    if name.endswith("window_attention"):
        return _find_part_of_attention(right, name.startswith("shifted"))
    if not name.startswith("swin_") or name.endswith("patch_merging"):
        return ""
    without_attention, without_mlp = right(silence_attention), right(silence_mlp)
    whole = "a block" if name.endswith("_block") else "each block"
    if without_attention and without_mlp:
        return f"with the attention of {whole} switched off it is right, and with the MLP switched off too"
    if without_attention:
        inner = _find_part_of_attention(lambda change: right(lambda p: change(silence_mlp(p))), True)
        return (
            f"with the attention of {whole} switched off it is right, so the fault is in the attention branch"
            + (f"; {inner}" if inner else "")
        )
    if without_mlp:
        return (
            f"with the MLP of {whole} switched off it is right, so the fault is in the MLP branch or its norm"
        )
    if name.endswith("_block"):
        return ""
    if not right(lambda params: silence_mlp(silence_attention(params))):
        return (
            "with all blocks switched off by weights of 0 it is still wrong, so the fault is outside the "
            "blocks, or a block adds something even then"
        )
    return "with all blocks switched off it is right, so the fault is in the blocks"


def _find_part_of_attention(right: Callable[[Change], bool], windows: bool) -> str:
    if right(silence_table):
        return "without the position bias it is right: the fault is in the position bias"
    if right(level):
        return (
            "where all keys weigh the same it is right, without the position bias it is not: the fault is in "
            "the logits (queries, keys, their scale) or in the softmax"
        )
    what = "the windows, the shift, the padding, the mask, " if windows else ""
    return (
        f"it is wrong even where all keys weigh the same: the fault is in {what}the values or the projection"
    )
