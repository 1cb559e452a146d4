"""Who is timed: the oracle, swin_torch's variants and each installed peer, by import string."""

from __future__ import annotations

import importlib
import importlib.util
from copy import copy
from functools import cache
from types import ModuleType
from typing import Any

import swin_reference
import torch
from swin_properties.adapters.load import load
from swin_properties.adapters.peers import PEERS

ON_GPU = "@cuda"
"""What follows a peer's name where it is timed on the GPU; swin_torch's variants know their device."""


@cache
def variants() -> tuple[str, ...]:
    """The adapters that swin_torch exports and this machine can run, by import string.

    >>> variants()[:2]
    ('swin_torch', 'swin_torch:plain')
    """
    on_a_gpu = ("swin_torch:cuda",) if torch.cuda.is_available() else ()
    return ("swin_torch", "swin_torch:plain", "swin_torch:compiled", *on_a_gpu)


@cache
def peers() -> tuple[str, ...]:
    """The peers that are installed packages, on the GPU too where there is one."""
    installed = [name for name, checkout in PEERS.items() if not checkout and importlib.util.find_spec(name)]
    devices = ("", ON_GPU) if torch.cuda.is_available() else ("",)
    return tuple(f"peer:{name}{device}" for name in installed for device in devices)


def contestants() -> tuple[str, ...]:
    """All of them."""
    return ("oracle", *variants(), *peers())


def offers(name: str, component: str) -> bool:
    """Whether a contestant has a callable, found without importing a peer's package.

    >>> offers("peer:torchvision", "cyclic_shift"), offers("oracle", "mlp")
    (False, True)
    """
    if not name.startswith("peer:"):
        return hasattr(adapter(name), component)
    home = importlib.import_module(f"swin_properties.adapters.peers.{_peer(name)}")
    return any(hasattr(kind, component) for kind in _own_classes(home))


@cache
def adapter(name: str) -> Any:
    """The adapter by name.

    Errors: ``ValueError`` in one sentence for a peer in a version that is not supported, or broken.
    """
    if name == "oracle":
        return swin_reference
    found = load(name.removesuffix(ON_GPU))
    if name.endswith(ON_GPU):
        found = copy(found)
        found.device = "cuda"
    return found


def _peer(name: str) -> str:
    return name.removeprefix("peer:").removesuffix(ON_GPU)


def _own_classes(home: ModuleType) -> list[type]:
    return [kind for kind in vars(home).values() if getattr(kind, "__module__", None) == home.__name__]
