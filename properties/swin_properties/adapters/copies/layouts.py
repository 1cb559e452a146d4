"""The names of weights in the layouts of public Swins, as functions for `TorchAdapter.loaded`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from swin_weights import to_layout

from swin_properties.adapters.peers.base import OFFICIAL
from swin_properties.adapters.peers.timm import Timm
from swin_properties.adapters.peers.torchvision import Torchvision
from swin_properties.adapters.peers.transformers import Transformers
from swin_properties.adapters.peers.transformers_v2 import TransformersV2

PLACES: dict[str, Mapping[str, str]] = {
    "official": OFFICIAL,
    "detection": OFFICIAL,
    "timm": Timm.places,
    "torchvision": Torchvision.places,
    "transformers": Transformers.places,
    "transformers-v2": TransformersV2.places,
}
"""For each layout where it has the parts of a network."""


def names_in_layout(
    layout: str, part: str = "network", prefix: str = ""
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Returns a ``names`` for `TorchAdapter.loaded`: it gives the weights of a part the names of a layout.

    ``part`` is network, embedding, stage, block, attention, mlp or merging; ``prefix`` stands before all
    names in your module.  Weights of V2 are recognised by their names.

    Errors: ``ValueError`` for another layout or part; later, for weights without a name in the layout.

    >>> names_in_layout("torchvision", "block", "body.")({"mlp.fc1.bias": 1, "norm1.bias": 2})
    {'body.mlp.0.bias': 1, 'body.norm1.bias': 2}
    >>> list(names_in_layout("transformers-v2", "attention")({"logit_scale": 1}))
    ['self.logit_scale']
    """
    if layout not in PLACES:
        raise ValueError(f"a layout is one of {', '.join(PLACES)}, got {layout!r}: use one of these")
    places = PLACES[layout]
    if part not in places:
        raise ValueError(f"a part in {layout} is one of {', '.join(places)}, got {part!r}: use one of these")

    def rename(flat: dict[str, Any]) -> dict[str, Any]:
        marks = ("swinv2",) if layout.endswith("-v2") else ()
        whole = {OFFICIAL[part] + name: x for name, x in flat.items()}
        renamed = to_layout(whole, layout.removesuffix("-v2"), None, marks)
        return {prefix + name.removeprefix(places[part]): x for name, x in renamed.items()}

    return rename
