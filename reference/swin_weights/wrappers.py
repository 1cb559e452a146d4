"""Finds the Swin in what a file holds: below dicts, behind prefixes, beside the weights of other networks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from swin_reference.outside import one_sentence, shorten

from swin_weights.others import refuse_network, refuse_parts
from swin_weights.reading import MOST_NAMES
from swin_weights.reading.pickles import Inert, as_array

TRANSPARENT = (
    "module",
    "_orig_mod",
    "_checkpoint_wrapped_module",
    "_fsdp_wrapped_module",
    "_fpw_module",
    "_forward_module",
)
"""The parts of names that parallel training, compilation and checkpointing put in, at any place."""

PATTERNS = {
    "layers": r"layers[._]\d+\.blocks\.\d+\.(?:norm1|norm2|attn)\.",
    "transformers": r"(?:swin(?:v2)?\.)?encoder\.layers\.\d+\.blocks\.\d+\."
    r"(?:layernorm_before|layernorm_after|attention)\.",
    "mmpretrain": r"(?:backbone\.)?stages\.\d+\.blocks\.\d+\.attn\.w_msa\.",
    "torchvision": r"(?:features\.)?\d+\.\d+\.(?:norm1|norm2|attn)\.",
}
"""For each family of layouts, the names of weights that only the blocks of a Swin have, behind any prefix."""

PARTS = {
    "layers": r"patch_embed|absolute_pos_embed|layers[._]\d+|layers|norm\d*|head",
    "transformers": r"(?:swin(?:v2)?\.)?(?:embeddings|encoder|layernorm)|hidden_states_norms|classifier",
    "mmpretrain": r"(?:backbone\.)?(?:patch_embed|absolute_pos_embed|stages|norm\d*)|head\.fc",
    "torchvision": r"features|\d+|norm|head",
}
"""For each family, what the names of all weights of a Swin begin with."""

MARKS = ("relative_position_bias_table", "logit_scale")
"""The last parts of names that only the attention of a Swin has, of V1 or V2."""

FEWEST = 5
"""The fewest weights of norms and attention that a Swin has; fewer are strays."""

DEEPEST = 8
"""The most dicts around each other."""

LONGEST_SIDE = 2**24
"""The most numbers along one side of a weight."""

MOST_GROUPS = 8
"""The most groups of weights that a note lists."""


@dataclass(frozen=True)
class Found:
    """The weights of a Swin under the names of its layout, and where they stand in the file.

    ``prefix`` stands before all names in the file; ``named_in`` has the whole name in the file for each of
    ``weights``.  ``left_out`` are the arrays that are no part of the Swin, by their names in the file.
    """

    weights: dict[str, Any]
    prefix: str
    named_in: dict[str, str]
    left_out: dict[str, Any]
    notes: tuple[str, ...]

    def place(self, name: str) -> str:
        """Returns the name in the file of a weight, there or missing, by its name in the layout."""
        return self.named_in.get(name, self.prefix + name)


def find_swin(held: Any, source: str, part: str = "") -> Found:
    """Returns the Swin in dicts of arrays; ``part`` is the beginning of its names, where there are several.

    The keys of dicts are read as parts of the names inside.

    Errors: ``ValueError`` if there are no arrays, no Swin, a network that is no Swin of these layouts, or
    several Swins with different weights and no ``part``.

    >>> name = "layers.0.blocks.0.norm1.bias"
    >>> found = find_swin({"model": {f"module.{name}": np.zeros(1)}, "head.bias": np.zeros(1)}, "x.pth")
    >>> found.weights, found.notes
    ({'layers.0.blocks.0.norm1.bias': array([0.])}, ('left out: 1 weight outside model: head.*',))
    """
    if not isinstance(held, Mapping):
        raise ValueError(
            f"a checkpoint maps names to arrays, {source} holds no dict: save the model's state_dict"
        )
    arrays, others = _list_leaves(held)
    if not arrays:
        what = f"something else under {shorten(next(iter(others)), 60)}" if others else "something else"
        raise ValueError(f"a checkpoint maps names to arrays, {source} holds {what}: check the file")
    if len(arrays) > MOST_NAMES:
        raise ValueError(f"a checkpoint has at most {MOST_NAMES} weights, {source} has {len(arrays)}")
    swins = _find_swins(arrays)
    if not swins:
        refuse_network(_list_shapes(arrays))
        refuse_parts([*arrays, *others])
        raise ValueError(
            f"a checkpoint holds the stages of a Swin, but none of its {len(arrays)} names belongs to one "
            f"(the first is {next(iter(arrays))}): check that the file is a Swin's"
        )
    prefix, family = _choose(swins, arrays, source, part)
    inside = _name_inside(family, prefix, arrays)
    refuse_network(_list_shapes({name: x for name, x in arrays.items() if inside(name) is not None}))
    refuse_parts(name for name in (*arrays, *others) if inside(name) is not None)
    weights, named_in, left_out = {}, {}, {}
    outside: list[str] = []
    for name, (written, x) in arrays.items():
        if (ours := inside(name)) is None:
            left_out[written] = x
            outside.append(name)
        else:
            named_in[ours] = written
            weights[ours] = _as_weight(written, x)
    strange = [written for name, written in others.items() if inside(name) is not None]
    if strange:
        raise ValueError(
            f"a checkpoint maps names to arrays, {source} holds something else under {', '.join(strange)}: "
            "save the model's state_dict alone"
        )
    notes = (_tell_left_out(outside, prefix),) if outside else ()
    return Found(weights, _written_prefix(prefix, weights, named_in), named_in, left_out, notes)


def _list_leaves(held: Any) -> tuple[dict[str, tuple[str, Any]], dict[str, str]]:
    """Returns the arrays in dicts, and the names of what else they hold.

    Each array has its name without `TRANSPARENT`, and its whole name.

    Errors: ``ValueError`` for two arrays that have one name.
    """
    arrays: dict[str, tuple[str, Any]] = {}
    others: dict[str, str] = {}
    for written, x in _walk(held, "", {id(held)}, DEEPEST):
        name = _without_wrappers(written)
        if isinstance(x, Inert):
            with suppress(ValueError):  # another object of NumPy's is no array
                x = x.as_array()
        if not hasattr(x, "shape") or not hasattr(x, "dtype"):
            others[name] = written
        elif name in arrays:
            raise ValueError(
                f"a weight has one name, but {arrays[name][0]} and {written} are the same once wrappers are "
                "removed: keep one of them"
            )
        else:
            arrays[name] = written, x
    return arrays, others


def _walk(held: Any, name: str, seen: set[int], levels: int) -> Iterator[tuple[str, Any]]:
    """Yields the name of each leaf, its keys joined by dots, and the leaf; each dict is visited once."""
    if not isinstance(held, Mapping):
        yield name, held
        return
    for key, child in held.items():
        word = str(key) if isinstance(key, (str, int)) else f"(a key that is a {type(key).__name__})"
        inside = f"{name}.{word}" if name else word
        if isinstance(child, Mapping):
            if id(child) in seen or not levels:
                continue
            seen.add(id(child))
        yield from _walk(child, inside, seen, levels - 1)


def _list_shapes(arrays: Mapping[str, tuple[str, Any]]) -> dict[str, tuple[int, ...]]:
    return {written: tuple(x.shape) for written, x in arrays.values()}


def _find_swins(names: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the prefix and the family of each Swin whose blocks have these names."""
    counts: Counter[tuple[str, str]] = Counter()
    marked = set()
    for name in names:
        for family, pattern in PATTERNS.items():
            if match := re.search(rf"(?:^|\.)({pattern})", name):
                place = name[: match.start(1)], family
                counts[place] += 1
                if name.endswith(MARKS):
                    marked.add(place)
                break
    most = max(counts.values(), default=0)
    return [
        place
        for place, count in counts.items()
        if count >= min(FEWEST, most) and (place in marked or not marked)
    ]


def _choose(
    swins: list[tuple[str, str]], arrays: Mapping[str, Any], source: str, part: str
) -> tuple[str, str]:
    """Returns the Swin that ``part`` names (``.``: that without a prefix), or the only one."""
    given = "" if part in ("", ".") else f"{_without_wrappers(part)}."
    exact = [swin for swin in swins if part and swin[0] == given]
    wanted = exact or [swin for swin in swins if part != "." and swin[0].startswith(given)]
    names = [prefix.rstrip(".") or "." for prefix, _ in wanted or swins]
    if not wanted:
        raise ValueError(f"{source} has a Swin under {', '.join(names)}, got {part}: give one of these")
    first = wanted[0]
    if any(not _are_equal(first, other, arrays) for other in wanted[1:]):
        raise ValueError(
            f"one Swin is loaded, got {len(wanted)} with different weights, {', '.join(names)}: name one "
            f"after a colon, as in {source}:{names[0]}"
        )
    return first


def _without_wrappers(name: str) -> str:
    return ".".join(piece for piece in name.split(".") if piece not in TRANSPARENT)


def _are_equal(first: tuple[str, str], other: tuple[str, str], arrays: Mapping[str, Any]) -> bool:
    """Tells whether two Swins have the same weights under the same names."""
    both = [
        {ours: x for name, (_, x) in arrays.items() if (ours := inside(name)) is not None}
        for inside in (_name_inside(family, prefix, arrays) for prefix, family in (first, other))
    ]
    return both[0].keys() == both[1].keys() and all(
        np.array_equal(as_array(x), as_array(both[1][name])) for name, x in both[0].items()
    )


def _name_inside(family: str, prefix: str, names: Iterable[str]) -> Callable[[str], str | None]:
    """Returns the function from one of ``names`` to that in the layout; None for what is outside the Swin."""
    part = re.compile(rf"(?:{PARTS[family]})(?:\.|$)")
    bare = family == "transformers" and any(name.startswith(f"{prefix}encoder.") for name in names)

    def inside(name: str) -> str | None:
        if not name.startswith(prefix):
            return None
        rest = name[len(prefix) :]
        if part.match(rest) is None or rest.endswith("mask_token"):
            return None
        if family == "layers":  # timm's feature extractors write layers_0
            return re.sub(r"^layers_(?=\d)", "layers.", rest)
        if bare:  # a backbone that transformers 5 saves keeps swin. before one norm
            return re.sub(r"^swin(v2)?\.(?=layernorm)", "", rest)
        return f"features.{rest}" if family == "torchvision" and rest[0].isdigit() else rest

    return inside


def _written_prefix(prefix: str, weights: Mapping[str, Any], named_in: Mapping[str, str]) -> str:
    """Returns the prefix as the file writes it, with wrappers, if all weights have the same."""
    written = {named_in[ours].removesuffix(ours) for ours in weights}
    (only, *more) = written
    return prefix if more else only


def _tell_left_out(left_out: list[str], prefix: str) -> str:
    """Returns the note on the weights that are no part of the Swin, in groups."""
    groups = sorted({_find_group(name, prefix) for name in left_out})
    more = f" and {len(groups) - MOST_GROUPS} more" if len(groups) > MOST_GROUPS else ""
    listed = ", ".join(shorten(group, 60) for group in groups[:MOST_GROUPS])
    count = "1 weight" if len(left_out) == 1 else f"{len(left_out)} weights"
    return f"left out: {count} outside {prefix.removesuffix('.') or 'the Swin'}: {listed}{more}"


def _find_group(name: str, prefix: str) -> str:
    """Returns a name up to where it leaves the prefix."""
    pieces = name.split(".")
    both = zip(pieces, prefix.split("."), strict=False)
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], both)))
    return ".".join(pieces[: shared + 1]) + (".*" if shared + 1 < len(pieces) else "")


def _as_weight(name: str, x: Any) -> Any:
    """Returns a weight as an array; an error begins with its name in the file."""
    with one_sentence(name):
        array = np.asarray(as_array(x))
        if array.size == 0 or max(array.shape, default=1) > LONGEST_SIDE:
            raise ValueError(f"no weight of a Swin has the shape {array.shape}")
    return array
