"""A call as words and arrays of a message, and back: `docs/protocol.md` says how each argument is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from inspect import Parameter
from typing import Any

import numpy as np
from swin_reference.config import SwinConfig
from swin_reference.config_v2 import SwinV2Config
from swin_reference.sizes import pair
from swin_weights import flatten, unflatten

from swin_properties.adapters.contract import CONTRACT, V2_NAMES, list_parameters
from swin_properties.adapters.layouts import find_layout, lay_out

Arrays = dict[str, Any]
Words = dict[str, str]
PAIRS = ("image_size", "patch_size", "window_size")


@cache
def parameters(name: str) -> tuple[Parameter, ...]:
    """Returns the parameters of a callable, in order."""
    return tuple(list_parameters(name))


def list_keywords() -> list[str]:
    """Returns every optional argument of the contract, as ``callable.keyword``.

    >>> [word for word in list_keywords() if word.startswith("window_attention")]
    ['window_attention.mask', 'window_attention.qk_scale']
    """
    return [f"{name}.{p.name}" for name in CONTRACT for p in parameters(name) if p.default is not p.empty]


def write_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Words, Arrays]:
    """Returns the words and arrays of a call, defaults included.

    >>> write_call("window_partition", (np.ones(1), 7), {})[0]
    {'positional': '2', 'window_size': '7,7'}
    """
    words, arrays = {"positional": str(len(args))}, {}
    if kwargs:
        words["keywords"] = " ".join(kwargs)
    given = dict(zip((p.name for p in parameters(name)), args, strict=False)) | dict(kwargs)
    for p in parameters(name):
        value = given.get(p.name, p.default)
        if value is None or value is p.empty:
            continue
        if isinstance(value, np.ndarray):
            arrays[p.name] = value
        elif isinstance(value, Mapping):
            arrays |= {f"{p.name}.{leaf}": x for leaf, x in flatten(value).items()}
        elif isinstance(value, SwinConfig):
            words |= write_config(value)
        elif p.name.endswith("_size"):
            words[p.name] = _write_pair(value)
        elif p.name == "depths":
            words[p.name] = ",".join(map(str, value))
        elif isinstance(value, (tuple, list)):
            arrays |= _list_nested(p.name, value)
        else:
            words[p.name] = repr(value)
    for label, x in arrays.items():
        if (layout := find_layout(x)) != "contiguous":
            words[f"layout.{label}"] = layout
    return words, arrays


def _list_nested(label: str, value: Any) -> Arrays:
    """Returns the arrays of nested lists by their places: the factors of drop path of stages and blocks."""
    if isinstance(value, np.ndarray):
        return {label: value}
    found: Arrays = {}
    for number, child in enumerate(value):
        found |= _list_nested(f"{label}.{number}", child)
    return found


def _make_pairs(nested: Any) -> Any:
    """Returns nested lists with tuples in place of the innermost, which hold arrays."""
    if not isinstance(nested, list):
        return nested
    flat = all(isinstance(child, np.ndarray) for child in nested)
    return tuple(nested) if flat else [_make_pairs(child) for child in nested]


def _write_pair(size: Any) -> str:
    return ",".join(map(str, pair(size)))


def write_config(config: SwinConfig) -> Words:
    """Returns the words of a configuration; what is None or empty is absent.

    The windows of the stages, where they differ, are separated by spaces.

    >>> write_config(SwinConfig())["config.depths"], write_config(SwinConfig())["config.window_size"]
    ('2,2,6,2', '7,7')
    """
    words = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if value is None or value == ():
            continue
        if field.name == "window_size" and len(set(config.windows)) > 1:
            word = " ".join(map(_write_pair, config.windows))
        elif field.name == "window_size":
            word = _write_pair(config.windows[0])
        elif field.name in PAIRS:
            word = _write_pair(value)
        elif isinstance(value, bool):
            word = str(int(value))
        elif isinstance(value, tuple):
            word = ",".join(map(str, value))
        else:
            word = value if isinstance(value, str) else repr(value)
        words[f"config.{field.name}"] = word
    return words


def read_config(words: Mapping[str, str], kind: type[SwinConfig] = SwinConfig) -> SwinConfig:
    """Returns the configuration of a kind that words say.

    Errors: ``ValueError`` for words that do not parse.

    >>> read_config(write_config(SwinConfig(window_size=(4, 2)))).window_size
    (4, 2)
    """
    values: dict[str, Any] = {}
    for field in fields(kind):
        if (word := words.get(f"config.{field.name}")) is None:
            continue
        written = str(field.type)
        if " " in word and field.name == "window_size":
            values[field.name] = tuple(tuple(map(int, pair.split(","))) for pair in word.split())
        elif field.name in PAIRS or written.startswith("tuple"):
            values[field.name] = tuple(map(int, word.split(",")))
        elif written == "str":
            values[field.name] = word
        else:
            number = float(word) if "float" in written else int(word)
            values[field.name] = number == 1 if written == "bool" else number
    return kind(**values)


def read_call(
    name: str, words: Mapping[str, str], arrays: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any], Arrays]:
    """Returns the arguments of a call, positional and by keyword, and their arrays by name.

    The arrays are copies, in the layout that the call asks for.  A square size is an integer.

    Errors: ``ValueError`` for words that do not parse.

    >>> words, arrays = write_call("window_partition", (np.ones(1), 7), {})
    >>> read_call("window_partition", words, arrays)[:2]
    ([array([1.]), 7], {})
    """
    made = {label: lay_out(x, words.get(f"layout.{label}", "contiguous")) for label, x in arrays.items()}
    values: dict[str, Any] = {}
    for p in parameters(name):
        inside = {label[len(p.name) + 1 :]: x for label, x in made.items() if label.startswith(f"{p.name}.")}
        if p.name in made:
            values[p.name] = made[p.name]
        elif p.name == "config":
            values[p.name] = read_config(words, SwinV2Config if name in V2_NAMES.values() else SwinConfig)
        elif inside or p.name == "params":
            nested = unflatten(inside)
            values[p.name] = _make_pairs(nested) if p.name == "kept" else nested
        elif (word := words.get(p.name)) is not None:
            values[p.name] = _read_scalar(p.name, word)
    optional = [p.name for p in parameters(name) if p.default is not p.empty]
    positional = int(words.get("positional", len(parameters(name)) - len(optional)))
    keywords = words.get("keywords", "").split()
    if "positional" not in words:  # a vector: it says what is given, not how
        keywords = [key for key in optional if key in values]
    args = [values.get(p.name) for p in parameters(name)[:positional]]
    return args, {key: values.get(key) for key in keywords}, made


def _read_scalar(name: str, word: str) -> Any:
    if name.endswith("_size"):
        height, width = map(int, word.split(","))
        return height if height == width else (height, width)
    if name == "depths":
        return tuple(map(int, word.split(",")))
    try:
        return int(word)
    except ValueError:
        return float(word)
