"""What the adapter of a copy is made of: modules, weights by their official names, results as grids.

`swin-oracle adapter PATH` writes an adapter that imports what it needs from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from swin_weights import flatten
from swin_weights.layout_names import Names, names_in
from swin_weights.layouts import rename_weights
from torch import Tensor, nn

from swin_properties.adapters.copies.layouts import PLACES
from swin_properties.adapters.on_tensors import explain_names
from swin_properties.adapters.peers.base import (
    OFFICIAL,
    NoSingleTokens,
    Peer,
    bias_of_softmax,
    dropping,
    only,
    side,
    table_of_bias,
    two,
    visible,
)

__all__ = [
    "CopyAdapter",
    "NoSingleTokens",
    "as_grid",
    "as_logits",
    "as_tokens",
    "as_windows",
    "bias_of_softmax",
    "dropping",
    "find_index",
    "halved",
    "nn",
    "only",
    "ratio",
    "side",
    "sides",
    "table_of_bias",
    "two",
    "visible",
]


class CopyAdapter(Peer):
    """An adapter over classes with the names of a public Swin; its subclass has the callables.

    The layout of the weights is read from the names of each module's own parameters.
    """

    recognised: tuple[str, ...] = ()
    """What the report says first: what the code was taken for, and how each callable is called."""

    style_convention = ""
    """The convention of the code that this is a copy of: it is judged by that if it follows none."""

    def __init__(self, swin: Any, name: str, precision: str = "float32", device: str = "cpu") -> None:
        """``swin`` has the classes and functions of the copy as attributes."""
        super().__init__(swin, name, precision, device)
        self.convention = None  # type: ignore[assignment]  # identified
        self.known_layouts: dict[str, tuple[str, Mapping[str, str], Names]] = {}

    def with_weights(self, part: str, module: Any, params: Mapping[str, Any], grid: Any = None) -> Any:
        """The module for a part of a network, computing with ``params``, by official names.

        Errors: ``ValueError`` naming the weights that have no counterpart, on either side.
        """
        flat = {OFFICIAL[part] + name: x for name, x in flatten(params).items()}
        own = dict(module.named_parameters())
        key = f"{part} {' '.join(own)} {' '.join(flat)}"
        if key not in self.known_layouts:
            if part == "network" and "head" not in params:
                headed = next((name for name in own if name.startswith(("head.", "classifier."))), None)
                only(headed is None, "networks with a head")
            self.known_layouts[key] = find_layout(part, own, flat, grid)
        layout, places, names = self.known_layouts[key]
        renamed = rename_weights(flat, names, layout, grid)
        held = self.holding(module, {name.removeprefix(places[part]): x for name, x in renamed.items()})
        return recompute(held)

    def one_block(self, stage_class: Any, shift_size: int, **sizes: Any) -> Any:
        """A stage of one block with this shift: where the stage makes the mask, it is told the shift."""
        stage = stage_class(**sizes)
        stage.shift_size = stage.blocks[0].shift_size = shift_size
        return stage

    def moved(self, network: nn.Module) -> nn.Module:
        """A network that is given, on the device and in the precision, in evaluation mode."""
        return network.to(self.device, self.precisions[self.precision]).eval()

    def without_map_norms(self, network_class: Any, **sizes: Any) -> Any:
        """Returns a network that gives the maps of its stages: the norms of the maps are taken out."""
        network = network_class(**sizes)
        for name in list(dict(network.named_children())):
            if re.fullmatch(r"norm\d", name):
                setattr(network, name, nn.Identity())
        return network

    def list_maps(self, network: Any, block_class: Any, images: Tensor, config: Any) -> list[Tensor]:
        """The map (B, H', W', C') that the last block of each stage gives, before what follows it."""
        last = {
            name.rpartition(".")[0]: module
            for name, module in network.named_modules()
            if isinstance(module, block_class)
        }
        maps: list[Tensor] = []
        hooks = [
            block.register_forward_hook(lambda _, __, gave: maps.append(list_tensors(gave)[0]))
            for block in last.values()
        ]
        try:
            network(images)
        finally:
            for hook in hooks:
                hook.remove()
        return [
            map_
            if map_.ndim == 4
            else map_.view(len(map_), *find_sides(map_.shape[1], stage, images, config), map_.shape[2])
            for stage, map_ in enumerate(maps)
        ]


def find_layout(
    part: str, own: Mapping[str, Any], flat: Mapping[str, Any], grid: Any
) -> tuple[str, Mapping[str, str], Names]:
    """Returns the layout of a module's weights, where it has each part, and its names.

    Errors: ``ValueError`` naming the weights without a counterpart, for the layout that has the fewest.
    """
    closest: list[tuple[int, str]] = []
    for known, places in PLACES.items():
        layout = known.removesuffix("-v2")
        if part not in places:
            continue
        marks = (*(places[part] + name for name in own), *flat)
        try:
            names = names_in(layout, marks)
            renamed = rename_weights(flat, names, layout, grid)
        except ValueError as error:
            closest.append((len(own) + len(flat), str(error)))
            continue
        given = {name.removeprefix(places[part]) for name in renamed}
        missing, extra = sorted(own.keys() - given), sorted(given - own.keys())
        extra = [name for name in extra if not name.endswith(("_index", "coords_table", "attn_mask"))]
        if not missing and not extra:
            return layout, places, names
        closest.append((len(missing) + len(extra), explain_names(missing, extra)))
    raise ValueError(f"its weights have names of their own: {min(closest)[1]}")


def recompute(module: Any) -> Any:
    """Returns a module after its classes have computed, in ``eval``, what they compute from the weights."""
    if any(type(one).train is not nn.Module.train for one in module.modules()):
        module.train()
        module.eval()
    return module


def list_tensors(result: Any) -> list[Tensor]:
    """Returns the tensors in what a module gives: itself, or those of a tuple, a list or a mapping."""
    if isinstance(result, Tensor):
        return [result]
    parts = result.values() if isinstance(result, Mapping) else result
    if not isinstance(parts, Iterable):
        return []
    return [x for part in parts for x in list_tensors(part)]


def as_grid(result: Any, shape: Iterable[int]) -> Any:
    """Returns what a module gives as a grid (B, H, W, C) of this shape, where it has as many tokens.

    >>> import torch
    >>> as_grid((torch.ones(1, 6, 2), torch.ones(3, 1, 2, 2)), (1, 2, 3, 2)).shape
    torch.Size([1, 2, 3, 2])
    """
    shape = tuple(int(side) for side in shape)
    tensors = [x for x in list_tensors(result) if x.is_floating_point()]
    if not tensors:
        return result
    in_a_row = (shape[0], shape[1] * shape[2], shape[3]) if shape[0] >= 0 else ()
    fits = [x for x in tensors if tuple(x.shape) in (shape, in_a_row)]  # not an attention of as many numbers
    found = (fits or tensors[:1])[-1]
    return found.view(shape) if tuple(found.shape) == in_a_row else found


def as_tokens(result: Any) -> Any:
    """Returns the first tensor that a module gives."""
    return (list_tensors(result) or [result])[0]


def as_windows(result: Any, shape: Iterable[int]) -> Any:
    """Returns windows with this shape, if they come with other axes: tokens in a row, or images apart."""
    shape = tuple(shape)
    found = as_tokens(result)
    return found if found.ndim == len(shape) else found.reshape(shape)


def as_logits(result: Any) -> Any:
    """Returns the logits (B, classes) in what a network gives.

    >>> import torch
    >>> as_logits((torch.ones(1, 2, 3), torch.ones(1, 5))).shape
    torch.Size([1, 5])
    """
    found = list_tensors(getattr(result, "logits", result))
    return next((x for x in found if x.ndim == 2), found[0] if found else result)


def halved(x: Tensor) -> tuple[int, int, int, int]:
    """Returns the shape of a grid after a merge: the sides rounded up, the channels doubled."""
    batch, height, width, channels = x.shape
    return batch, -(-height // 2), -(-width // 2), 2 * channels


def sides(images: Tensor, patch_size: Any, tokens: int | None = None) -> tuple[int, int]:
    """Returns how many patches an image has along each side: rounded up, or down if that gives ``tokens``."""
    (height, width), (ph, pw) = images.shape[2:], two(patch_size)
    down = height // ph, width // pw
    return down if tokens == down[0] * down[1] else (-(-height // ph), -(-width // pw))


def find_sides(tokens: int, stage: int, images: Tensor, config: Any) -> tuple[int, int]:
    """Returns the sides of the map of a stage that has so many tokens."""
    for up in (True, False):
        height, width = images.shape[2:]
        steps = [two(config.patch_size)] + [(2, 2)] * stage
        for ph, pw in steps:
            height, width = (-(-height // ph), -(-width // pw)) if up else (height // ph, width // pw)
        if height * width == tokens:
            return height, width
    raise ValueError(
        f"the map of stage {stage} has a token for each patch, merged {stage} times, it has {tokens} tokens: "
        "look at the patch size and at what the stage gives"
    )


def find_index(module: nn.Module, window_size: Any) -> Any:
    """Returns the relative position index (N, N) that a module keeps.

    Errors: ``ValueError`` for a module that keeps none.
    """
    kept = {**dict(module.named_buffers()), **dict(module.named_parameters())}
    index = next((x for name, x in kept.items() if name.split(".")[-1] == "relative_position_index"), None)
    if index is None:
        raise ValueError(f"a {type(module).__name__} keeps no relative_position_index")
    height, width = two(window_size)
    return index.view((height * width,) * 2) if index.ndim == 1 else index


def ratio(params: Mapping[str, Any]) -> float:
    """Returns an MLP's hidden width in units of its input's, an integer where it is one."""
    hidden, channels = params["fc1"]["weight"].shape
    whole, rest = divmod(int(hidden), int(channels))
    return float(hidden) / float(channels) if rest else whole
