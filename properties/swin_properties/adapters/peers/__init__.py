"""Peers: the public implementations of Swin, ready to be judged, each as its own code computes."""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

PEERS = {
    "timm": False,
    "torchvision": False,
    "transformers": False,
    "official": True,
    "detection": True,
    "timm-v2": False,
    "torchvision-v2": False,
    "transformers-v2": False,
    "official-v2": True,
}
"""Every peer by name, and whether it comes from a checkout, given by path; the others are packages."""


def find(words: str) -> Any:
    """The adapter of the peer that ``NAME`` or ``NAME:PATH`` names.

    Errors: ``ValueError`` in one sentence for an unknown peer, one that is not installed or of a version
    that is not supported, and a path that is missing, too much, or holds no such code.

    >>> find("tim")
    Traceback (most recent call last):
    ...
    ValueError: a peer is one of timm, torchvision, transformers, official, detection, timm-v2, \
torchvision-v2, transformers-v2, official-v2, got 'tim': try 'timm'
    """
    name, _, path = words.partition(":")
    if name not in PEERS:
        near = get_close_matches(name, PEERS, 1)
        advice = f"try {near[0]!r}" if near else "use one of these"
        raise ValueError(f"a peer is one of {', '.join(PEERS)}, got {name!r}: {advice}")
    if PEERS[name] and not path:
        raise ValueError(f"the peer {name} comes from a checkout, got no path: write peer:{name}:PATH")
    if path and not PEERS[name]:
        raise ValueError(f"the peer {name} is an installed package, got the path {path}: write peer:{name}")
    try:
        module = importlib.import_module(f"swin_properties.adapters.peers.{name.replace('-', '_')}")
    except ImportError as error:
        raise ValueError(
            f"a peer is judged with torch, {error}: pip install 'swin-oracle[peers]', or torch alone"
        ) from None
    return module.adapter_from(path) if path else module.adapter


def declared(implementation: str) -> str | None:
    """The file of a peer's known failures, for an implementation ``peer:NAME`` that has one.

    >>> declared("mine.py") is None
    True
    """
    prefix, _, words = implementation.partition(":")
    file = Path(__file__).parent / "known" / f"{words.partition(':')[0]}.toml"
    return str(file) if prefix == "peer" and file.is_file() else None
