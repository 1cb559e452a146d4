"""What peers share: an adapter over a library's own modules, given weights with the official names."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import cache
from typing import Any

import numpy as np
import torch
from swin_reference.config_v2 import SwinV2Config
from swin_weights import flatten, to_layout
from torch import Tensor, nn

from swin_properties.adapters.answers import Declined
from swin_properties.adapters.arguments import label_arguments
from swin_properties.adapters.contract import V2_NAMES
from swin_properties.adapters.torch import PRECISIONS, TorchAdapter

OFFICIAL = {
    "network": "",
    "embedding": "patch_embed.",
    "stage": "layers.0.",
    "block": "layers.0.blocks.0.",
    "attention": "layers.0.blocks.0.attn.",
    "mlp": "layers.0.blocks.0.mlp.",
    "merging": "layers.0.downsample.",
}
"""Where a part of a network is in the official layout: what stands before the names of its weights."""


class Peer(TorchAdapter):
    """An adapter whose callables are a peer's own modules.

    ``swin`` is the module with the peer's classes; ``convention`` and ``layout`` name what it decides and
    how it names weights; ``places`` is where its layout has each part, as `OFFICIAL` for the official one;
    ``version_marks`` are names of weights that show the version of Swin where those of a part do not.
    A model is made once for the same arguments, and then given other weights, as a user of the library
    would; `fresh` forgets the models, so that each case starts with new ones.
    """

    convention = ""
    layout = ""
    places: Mapping[str, str] = {}
    version_marks: tuple[str, ...] = ()
    ways_to_modules: tuple[str, ...] = ("made", "with_weights", "holding")

    def __init__(self, swin: Any, name: str, precision: str = "float32", device: str = "cpu") -> None:
        """``name`` is the peer's, with its version where it has one."""
        super().__init__(precision, device)
        self.swin = swin
        self.name = name
        self.models: dict[str, Any] = {}

    def fresh(self) -> None:
        """Forgets every model: the next calls make new ones."""
        self.models.clear()

    def prepare(self, name: str, *args: Any, **kwargs: Any) -> Callable[[], Any]:
        """A callable ready to be timed, on models that no other call gives other weights."""
        own = copy(self)
        own.models = {}
        return TorchAdapter.prepare(own, name, *args, **kwargs)

    def made(self, kind: Callable[..., Any], **sizes: Any) -> Any:
        """The model of a kind and of sizes, in evaluation mode; the same one until `fresh`."""
        key = f"{kind.__name__} {self.precision} {self.device} {sizes!r}"
        if key not in self.models:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what a library says to itself is not its user's fault
                model = kind(**sizes).to(self.device, PRECISIONS[self.precision])
            model.eval()  # detection's gives nothing back
            self.models[key] = model
        return self.models[key]

    def with_weights(self, part: str, module: Any, params: Mapping[str, Any], grid: Any = None) -> Any:
        """The peer's module for a part of a network, computing with ``params``, by official names."""
        ours, theirs = OFFICIAL[part], self.places[part]
        flat = {ours + name: x for name, x in flatten(params).items()}
        whole = to_layout(flat, self.layout, grid, self.version_marks)
        return self.holding(module, {name.removeprefix(theirs): x for name, x in whole.items()})


class NoSingleTokens:
    """For a peer that gives NaN in a window one token long on an axis.

    Only its bias table is asked there, and shows it; elsewhere it would hide everything else.
    """

    def declines(self, name: str, *args: Any) -> str | None:
        """Why a call is not asked: a window is one token high or wide."""
        given = dict(label_arguments(name, args))
        windows = [two(given["window_size"])] if "window_size" in given else []
        if "config" in given:
            windows = list(given["config"].windows)
        if name in V2_NAMES.values() and any(1 in window for window in windows):
            return "windows of two tokens or more along each axis only"
        return None


def withdraw_v1(kind: type[Peer]) -> type[Peer]:
    """Returns the adapter of a peer's V2, which takes from that of its V1 what both versions have alike."""
    for name in V2_NAMES:
        setattr(kind, name, None)
    return kind


def bias_of_softmax(attention: Any) -> Tensor:
    """(heads, N, N): the logits that an attention of V2 gives its softmax for tokens of zeros, its bias."""
    given: list[Tensor] = []
    hook = attention.softmax.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    weight = attention.proj.weight
    tokens = len(attention.relative_position_index)
    try:
        attention(torch.zeros(1, tokens, attention.dim, dtype=weight.dtype, device=weight.device))
    finally:
        hook.remove()
    return given[0][0]


def table_of_bias(bias: Tensor, index: Tensor) -> Tensor:
    """(heads, N, N), and the row for each pair -> the table of which they were looked up, (rows, heads)."""
    _, first = np.unique(index.cpu().numpy(), return_index=True)
    return bias.flatten(1).T[torch.from_numpy(first).to(bias.device)]


class Kept(nn.Module):
    """Stands in for a block's drop path: each branch, in order, is multiplied by the next given factors."""

    def __init__(self, kept: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.left = list(kept)

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) -> same."""
        factors = self.left.pop(0)
        return branch * factors.view(-1, *[1] * (branch.ndim - 1))


@contextmanager
def dropping(block: Any, names: tuple[str, ...], kept: tuple[Tensor, ...] | None) -> Iterator[None]:
    """Meanwhile the block's drop path modules, by name, drop what ``kept`` says; as they are if None."""
    own = {name: getattr(block, name) for name in names}
    standing = {} if kept is None else dict.fromkeys(own, Kept(kept))
    try:
        for name, module in standing.items():
            setattr(block, name, module)
        yield
    finally:
        for name, module in own.items():
            setattr(block, name, module)


def only(holds: bool, what: str) -> None:
    """Says that a peer takes ``what`` only, unless the arguments are such."""
    if not holds:
        raise Declined(f"{what} only")


def embeds_whole_patches(config: Any) -> None:
    """An image is padded to whole patches at run time; a position embedding is made for those it had."""
    sides = zip(two(config.image_size), two(config.patch_size), strict=True)
    whole = not any(length % patch for length, patch in sides)
    only(whole or not config.absolute_position_embedding, "position embeddings of whole patches")


def two(size: Any) -> tuple[int, int]:
    """A size as (height, width); a window for each stage is not offered."""
    only(not isinstance(size, tuple) or not isinstance(size[0], tuple), "one window for all stages")
    return size if isinstance(size, tuple) else (size, size)


def side(size: Any, what: str) -> int:
    """The one side of a square size; other sizes are not offered."""
    height, width = two(size)
    only(height == width, f"square {what}")
    return height


def ratio(params: Mapping[str, Any]) -> float:
    """An MLP's hidden width in units of its input's."""
    hidden, channels = params["fc1"]["weight"].shape
    return float(hidden) / float(channels)


def trained_windows(config: Any) -> dict[str, Any]:
    """What a network of V2 is told of the windows in which its weights were trained; nothing for V1."""
    if not isinstance(config, SwinV2Config):
        return {}
    return {"pretrained_window_sizes": config.pretrained_window_sizes or (0,) * len(config.depths)}


def visible(mask: Tensor | None, windows: int, tokens: int) -> Any:
    """A block's mask (nW, N, N); None is a mask that hides nothing."""
    return torch.zeros(windows, tokens, tokens) if mask is None else mask


def package(name: str, versions: tuple[str, str], module: str) -> tuple[Any, str]:
    """The module with an installed peer's classes, and the peer's name and version.

    Errors: ``ValueError`` in one sentence where it is not installed, in another version, or not loadable.
    """
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            f"a peer is installed, {name} is not: pip install 'swin-oracle[peers]', or {name} alone"
        ) from None
    first, end = versions
    if not _numbers(first) <= _numbers(version) < _numbers(end):
        raise ValueError(
            f"{name} is judged from version {first} to below {end}, got {version}: install one of these"
        )
    try:
        vision_operators()
        return importlib.import_module(module), f"{name} {version}"
    except Exception as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        raise ValueError(
            f"a peer is importable, {name} {version} raised {type(error).__name__}: {reason}: install it anew"
        ) from None


def _numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that compare.

    >>> _numbers("1.0.31+cpu")
    (1, 0, 31)
    """
    parts = version.partition("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())


@cache
def vision_operators() -> Any:
    """Declares the two operators that importing torchvision asks for, where its compiled ones do not load.

    Neither is part of Swin; timm and transformers import torchvision too.  Without a torchvision, nothing
    is done.  What is returned keeps the declaration alive.
    """
    try:
        import torchvision  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        return None
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
        print(
            "swin-oracle: torchvision's compiled operators do not load with this torch; the peers need none "
            "of them, so nms and qnms are declared without code",
            file=sys.stderr,
        )
        return library
    return None
