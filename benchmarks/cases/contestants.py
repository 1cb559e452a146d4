"""Loads what is timed, by import string: the oracle, swin_torch's variants and each installed peer."""

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
"""Ends the name of a peer that is timed on the GPU; swin_torch's variants name their own device."""


@cache
def find_variants() -> tuple[str, ...]:
    """Returns the import strings of the adapters that swin_torch exports and this machine can run.

    >>> find_variants()[:2]
    ('swin_torch', 'swin_torch:plain')
    """
    on_a_gpu = ("swin_torch:cuda",) if torch.cuda.is_available() else ()
    return ("swin_torch", "swin_torch:plain", "swin_torch:compiled", *on_a_gpu)


@cache
def find_peers(version: int = 1) -> tuple[str, ...]:
    """Returns the peers of a version that are installed packages, and the same on the GPU if there is one."""
    installed = [
        name
        for name, checkout in PEERS.items()
        if not checkout
        and name.endswith("-v2") == (version == 2)
        and importlib.util.find_spec(name.removesuffix("-v2"))
    ]
    devices = ("", ON_GPU) if torch.cuda.is_available() else ("",)
    return tuple(f"peer:{name}{device}" for name in installed for device in devices)


def find_contestants() -> tuple[str, ...]:
    """Returns the names of all that is timed."""
    return ("oracle", *find_variants(), *find_peers())


def offers(name: str, component: str) -> bool:
    """Returns whether a contestant has a callable, without importing a peer's package.

    >>> offers("peer:torchvision", "cyclic_shift"), offers("oracle", "mlp")
    (False, True)
    """
    if not name.startswith("peer:"):
        return hasattr(load_adapter(name), component)
    home = importlib.import_module(f"swin_properties.adapters.peers.{_strip_peer(name)}")
    return any(hasattr(kind, component) for kind in _find_own_classes(home))


@cache
def load_adapter(name: str) -> Any:
    """Returns the adapter of a contestant.

    Errors: ``ValueError`` for a peer that does not load or whose version is not supported.
    """
    if name == "oracle":
        return swin_reference
    found = load(name.removesuffix(ON_GPU))
    if name.endswith(ON_GPU):
        found = copy(found)
        found.device = "cuda"
    return found


def _strip_peer(name: str) -> str:
    return name.removeprefix("peer:").removesuffix(ON_GPU)


def _find_own_classes(home: ModuleType) -> list[type]:
    return [kind for kind in vars(home).values() if getattr(kind, "__module__", None) == home.__name__]
