"""Which classes and functions of a Swin some code has, by the names that public Swins give them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

from torch import nn

CLASSES = {
    "attention": (
        "WindowAttention",
        "WindowAttentionV2",
        "ShiftedWindowAttention",
        "ShiftedWindowAttentionV2",
        "SwinAttention",
        "Swinv2Attention",
    ),
    "block": (
        "SwinTransformerBlock",
        "SwinTransformerBlockV2",
        "SwinTransformerV2Block",
        "SwinBlock",
        "SwinLayer",
        "Swinv2Layer",
    ),
    "merging": ("PatchMerging", "PatchMergingV2", "SwinPatchMerging", "Swinv2PatchMerging"),
    "stage": (
        "BasicLayer",
        "BasicLayerV2",
        "SwinTransformerStage",
        "SwinTransformerV2Stage",
        "SwinStage",
        "Swinv2Stage",
    ),
    "embedding": ("PatchEmbed", "PatchEmbedding", "SwinEmbeddings", "Swinv2Embeddings"),
    "mlp": ("Mlp", "MLP", "SwinMLP"),
    "network": (
        "SwinTransformer",
        "SwinTransformerV2",
        "SwinForImageClassification",
        "Swinv2ForImageClassification",
    ),
    "config": ("SwinConfig", "Swinv2Config"),
}
"""For each part of a network its class's names, in Microsoft's code, timm, torchvision and transformers."""

SURE = ("attention", "block", "merging", "stage", "network")
"""The parts whose names only a Swin has."""

FUNCTIONS = ("window_partition", "window_reverse")
"""The functions that public Swins have, with the contract's own names."""

OF_OTHERS = ("torch", "torchvision", "numpy", "builtins")
"""Packages whose modules are not searched for classes: none of them is a copy's own."""


@dataclass
class Parts:
    """The classes and functions that were found, by part; ``lacking`` are the parts with no class."""

    classes: dict[str, type] = field(default_factory=dict)
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    network: Any = None
    """The network itself, where one is given: no other is made."""
    space: SimpleNamespace = field(default_factory=SimpleNamespace)
    """All classes and functions by name, as the adapter's ``swin``."""

    @property
    def is_copy(self) -> bool:
        """Whether two or more classes have names that only a Swin has."""
        return sum(part in self.classes for part in SURE) >= 2

    def lists(self) -> str:
        """Returns the names of the classes and functions that were found."""
        return ", ".join([*(kind.__name__ for kind in self.classes.values()), *self.functions])


def find_parts(module: ModuleType, network: type | None = None) -> Parts:
    """Returns the parts of a Swin that a module has, or that the modules of its classes have.

    ``network`` is the class of the network, if it was named.

    >>> import swin_torch
    >>> find_parts(swin_torch).classes["merging"].__name__
    'PatchMerging'
    """
    found = Parts()
    for name, value in _walk(module, network):
        if not hasattr(found.space, name):
            setattr(found.space, name, value)
    named = vars(found.space)
    for part, names in CLASSES.items():
        kinds = [named[name] for name in names if inspect.isclass(named.get(name))]
        own = [kind for kind in kinds if part == "config" or issubclass(kind, nn.Module)]
        if own:
            found.classes[part] = _choose(own, module, network)
    if network is not None:
        found.classes["network"] = network
        setattr(found.space, network.__name__, network)
    elif "network" not in found.classes and (other := _find_network(module)) is not None:
        found.classes["network"] = other
    for name in FUNCTIONS:
        if callable(named.get(name)):
            found.functions[name] = named[name]
    return found


def _walk(module: ModuleType, network: type | None) -> Iterator[tuple[str, Any]]:
    """Yields the names of a module, then those of the modules that define its own classes."""
    left, seen = [module], set()
    if network is not None and network.__module__ in sys.modules:
        left.append(sys.modules[network.__module__])
    while left:
        one = left.pop(0)
        if one.__name__ in seen:
            continue
        seen.add(one.__name__)
        for name, value in list(vars(one).items()):
            yield name, value
            home = sys.modules.get(getattr(value, "__module__", None) or "")
            is_module = inspect.isclass(value) and issubclass(value, nn.Module)
            is_own = home is not None and home.__name__.partition(".")[0] not in OF_OTHERS
            if is_module and is_own and home is not None:
                left.append(home)


def _choose(kinds: list[type], module: ModuleType, network: type | None) -> type:
    """Returns the class that the network's own module defines, of several with names of one part."""
    home = network.__module__ if network is not None else module.__name__
    of_v2 = network is not None and "v2" in network.__name__.lower()
    return max(kinds, key=lambda kind: (kind.__module__ == home, ("v2" in kind.__name__.lower()) == of_v2))


def _find_network(module: ModuleType) -> type | None:
    """Returns a class of another name that takes the depths and heads of the stages and a window."""
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, nn.Module):
            words: Mapping[str, Any] = inspect.signature(value.__init__).parameters
            if {"depths", "num_heads", "window_size"} <= words.keys():
                return value
    return None
