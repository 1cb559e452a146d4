"""What an exported file computes, one network or one block, as an implementation offers it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from swin_reference.config import SwinConfig
from swin_reference.config_v2 import SwinV2Config
from swin_weights import flatten, unflatten

from swin_properties.adapters.answers import Declined
from swin_properties.adapters.digests import digest
from swin_properties.adapters.scope import BATCHES
from swin_properties.cases.case import write_value

Run = Callable[[Any], Any]
"""From images to logits."""


class Exported:
    """What an exported file computes, as `Implementation` takes it.

    ``own_weights`` are those that came with the file, nested, where no others can be written into it; else
    None.  ``notes`` say what was read, ``faults`` what is wrong in the file whatever it computes.
    """

    def __init__(
        self,
        precision: str,
        scope: Mapping[str, Any],
        batch: int | None,
        run: Run,
        write: Callable[[Mapping[str, Any]], Run] | None,
        weights: Mapping[str, Any],
        notes: list[str],
        faults: list[str],
        quantised: bool = False,
    ) -> None:
        """``batch`` is None where the file says that it may be any.

        ``write`` returns what the file computes with other weights.
        """
        self.precision = precision
        self.batch = batch
        self.run, self.write = run, write
        self.weights = dict(weights)
        self.own_weights = None if write else unflatten(self.weights)
        self.notes, self.faults, self.quantised = notes, faults, quantised
        self.scope = dict(scope) | {"no_qk_scale": True} | ({"own_weights": True} if write is None else {})
        self._written: tuple[Any, Run] | None = None

    def fresh(self) -> None:
        """Forgets the weights that were written last."""
        self._written = None

    def compute(self, x: Any, params: Any) -> Any:
        """Runs the file on images or tokens, in the batches that it takes, with these weights."""
        run = self._load(flatten(params))
        x = np.ascontiguousarray(x, self.precision if self.half_input else np.float32)
        return np.concatenate([self._run(run, part) for part in self._split(x)]).astype(np.float32)

    absent: tuple[str, ...] = ()
    """The callables of the contract that the file does not compute: an exporter computed them before."""

    mask_value = ""
    """What hides a token, ``-100`` or ``-inf``, where the file shows it."""

    half_input = False
    """Whether the file takes images in half precision."""

    watch: Callable[[Any], dict[str, Any]] | None = None
    """From images to the maps of the blocks and the logits, where the file can be given further outputs."""

    own: Mapping[str, Any] = {}
    """The weights that were recovered from the file, not read from a checkpoint."""

    tells_weights = False
    """Whether `record` returns them: where no checkpoint was given."""

    def record(self, images: Any, _: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the maps of the blocks on images, as `locate` compares them, and tells the file's weights.

        ``weight.`` and a name is a weight that was recovered from the file, ``digest.`` its digest.

        Errors: ``ValueError`` in one sentence where the maps are not found.
        """
        assert self.watch is not None
        maps = self.watch(images)
        if self.tells_weights:
            maps |= {f"weight.{name}": x for name, x in self.own.items()}
        return maps | {f"digest.{name}": digest(x) for name, x in self.own.items()}

    def _load(self, params: Mapping[str, Any]) -> Run:
        if self.write is None:
            same = params.keys() == self.weights.keys()
            if not same or not all(np.array_equal(params[name], x) for name, x in self.weights.items()):
                raise Declined("other weights cannot be written into the file")
            return self.run
        if self._written is None or not all(
            np.array_equal(x, self._written[0][name]) for name, x in params.items()
        ):
            self._written = {name: np.array(x) for name, x in params.items()}, self.write(params)
        return self._written[1]

    def _split(self, images: Any) -> list[Any]:
        if self.batch is not None:
            return np.array_split(images, range(self.batch, len(images), self.batch))
        if len(images) > sum(BATCHES):
            return np.array_split(images, np.cumsum(BATCHES))
        return [images]

    def _run(self, run: Run, images: Any) -> Any:
        """Runs one batch; one that is too small for the file is filled with its own images again."""
        count = len(images)
        if self.batch is not None and count < self.batch:
            images = np.resize(images, (self.batch, *images.shape[1:]))
        return run(images)[:count]


class ExportedNetwork(Exported):
    """The network of an exported file."""

    def swin_transformer(self, images: Any, params: Any, config: SwinConfig) -> Any:
        """Classifies images, (B, 3, H, W) -> (B, classes)."""
        return self.compute(images, params)


class ExportedNetworkV2(Exported):
    """The network of an exported file, a Swin V2."""

    def swin_v2_transformer(self, images: Any, params: Any, config: SwinV2Config) -> Any:
        """Classifies images, (B, 3, H, W) -> (B, classes)."""
        return self.compute(images, params)


class ExportedBlock(Exported):
    """The one block of an exported file."""

    def __init__(self, shape: tuple[int | None, ...], *args: Any) -> None:
        """``shape`` is the shape that the file takes, (B, H, W, C) or (B, H * W, C)."""
        super().__init__(*args)
        self.rank = len(shape)

    def swin_block(self, x: Any, params: Any, num_heads: int, window_size: Any, shift_size: Any) -> Any:
        """Computes the block of tokens (B, H, W, C), as the file is."""
        shape = np.shape(x)
        given = np.reshape(x, (shape[0], -1, shape[-1])) if self.rank == 3 else x
        return self.compute(given, params).reshape(shape)


def find_mask_value(stored: Iterable[Any]) -> str:
    """Returns what hides a token, ``-100`` or ``-inf``, where arrays of a file have one; else nothing.

    >>> find_mask_value([np.array([0.0, -100.0])]), find_mask_value([np.array([1.0, -100.0])])
    ('-100', '')
    """
    lowest = {
        float(x.min()) for x in stored if x.dtype.kind == "f" and x.size and set(np.unique(x)[1:]) <= {0}
    }
    found = [word for word, value in (("-100", -100.0), ("-inf", -np.inf)) if value in lowest]
    return found[0] if len(found) == 1 else ""


def write_words(sizes: Mapping[str, Any]) -> str:
    """Returns sizes as the words of a case, as a scope has them.

    >>> write_words({"window": (2, 2), "heads": 3})
    'window=2x2,heads=3'
    """
    return ",".join(f"{word}={write_value(value)}" for word, value in sizes.items())
