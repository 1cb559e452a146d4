"""Runs one photograph through an implementation and through the oracle, with the same weights."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from time import perf_counter
from typing import Any

import numpy as np
import swin_weights
from PIL import Image
from swin_reference.config import SwinConfig
from swin_reference.config_files import load_config, load_fields
from swin_reference.config_v2 import SwinV2Config
from swin_reference.outside import one_sentence, read_bytes, refusal
from swin_reference.parameters import hot_parameters
from swin_reference.parameters_v2 import network_shapes
from swin_reference.sizes import pair

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.budget import Deviation
from swin_properties.budget.precision import Precision
from swin_properties.predict.logits import compare_logits, name_network

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's channel means and standard deviations, in units of full brightness."""


FORMATS = "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"
"""The formats that are read: those that Pillow decodes by itself, not by starting a program."""

LARGEST_FILE = 2**28
"""The most bytes of an image's file."""

LARGEST_SIDE = 4096
"""The most pixels of a side of the image that a network takes: the oracle's arrays have to fit in memory."""


logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it would say of a file, it raises as well


@dataclass(frozen=True)
class Weights:
    """The flat parameters of a network, its configuration, and where they come from, in words."""

    flat: Any
    config: SwinConfig
    source: str


@dataclass(frozen=True)
class Prediction:
    """The logits of the implementation and of the oracle, their deviation, and the seconds each took."""

    got: Any
    expected: Any
    deviation: Deviation
    seconds: float
    oracle_seconds: float
    weights: str


def load_weights(
    path: str | None,
    config_name: str | None,
    image_size: int | None,
    seed: int,
    known: Mapping[str, Any] | None = None,
) -> Weights:
    """Returns the weights of a checkpoint, or random ones if there is no checkpoint.

    The configuration is the one that the checkpoint shows, changed by what ``config_name`` and ``image_size``
    say; a JSON file may say a few fields.  ``known`` are fields that an exported file shows.

    Errors: ``ValueError`` for a configuration or a checkpoint that does not fit, or if nothing says how large
    the images are.
    """
    said: dict[str, Any] = {} if image_size is None else {"image_size": image_size}
    if path is None:
        config = replace(load_config(config_name or "swin_t"), **said)
        flat = swin_weights.flatten(hot_parameters(network_shapes(config), seed))
        return Weights(flat, config, f"random weights, seed {seed}")
    given = {} if config_name is None else load_fields(config_name)
    try:
        found = swin_weights.load(path, **{**(known or {}), **given, **said})
    except ValueError as error:
        raise refusal(tell_option(str(error)), "\n".join(getattr(error, "__notes__", []))) from None
    if "image_size" in found.unknown:
        raise ValueError(
            f"a photograph is resized to the image size of the network, {path} does not say that size: "
            "give it as --image-size"
        )
    notes = [*found.notes]
    if "pretrained_window_sizes" in found.unknown:
        notes.append(
            "it does not say pretrained_window_sizes, the windows of training: those that are used are "
            "taken; others go into a JSON file for --config"
        )
    return Weights(found.weights, found.config, "; ".join((f"{path}, {found.layout} layout", *notes)))


def tell_option(sentence: str) -> str:
    """Returns a sentence of `swin_weights.load` with a command's way to give the field that it asks for.

    >>> tell_option("w.pth does not say it: pass window_size=(height, width)")
    'w.pth does not say it: give a JSON file with {"window_size": [height, width]} as --config'
    """

    def tell(match: re.Match[str]) -> str:
        value = "[height, width]" if match[2] else "..."
        return f'give a JSON file with {{"{match[1]}": {value}}} as --config'

    return re.sub(r"pass (\w+)=(\(height, width\))?", tell, sentence)


def predict(implementation: Implementation, weights: Weights, image: str) -> Prediction:
    """Runs one photograph through the oracle and the implementation, with the same weights.

    Errors: ``ValueError`` for a file that is no image, or an implementation that does not offer
    ``swin_transformer``, with weights of V2 ``swin_v2_transformer``.
    """
    config = weights.config
    name = name_network(config)
    if not implementation.offers(name):
        version = "V2" if isinstance(config, SwinV2Config) else "V1"
        raise ValueError(
            f"predict calls {name}, for the weights are of Swin {version}; this implementation does not "
            "offer it: add it, or use weights of the other version"
        )
    images, params = make_inputs(weights, image, implementation.precision)
    expected, oracle_seconds = _timed(lambda: getattr(implementation.expected, name)(images, params, config))
    try:
        got, seconds = _timed(lambda: getattr(implementation, name)(images, params, config))
    except (BadAnswer, Declined) as bad:
        raise ValueError(
            f"an implementation returns logits for a photograph, this one did not: {bad}"
        ) from None
    given = images, params, config, implementation.precision, implementation.oracle
    apart = compare_logits(got, expected, *given).deviation
    return Prediction(got[0], expected[0], apart, seconds, oracle_seconds, weights.source)


def make_inputs(weights: Weights, image: str, precision: Precision) -> tuple[Any, dict[str, Any]]:
    """Returns a photograph as a network's input, and the network's parameters, both exact in a precision.

    Errors: ``ValueError`` as for `photograph`.
    """
    images = precision.rounded(photograph(image, pair(weights.config.image_size)))
    return images, round_weights(weights, precision)


def round_weights(weights: Weights, precision: Precision) -> dict[str, Any]:
    """Returns a network's parameters, nested and exact in a precision."""
    return swin_weights.unflatten({name: precision.rounded(x) for name, x in weights.flat.items()})


def photograph(path: str, size: tuple[int, int]) -> Any:
    """Returns a photograph as (1, 3, H, W): the largest centred crop, resized, normalised as for ImageNet.

    Errors: ``ValueError`` for a file that does not exist or is no image, or for a size that is too large.
    """
    height, width = size
    if max(size) > LARGEST_SIDE:
        raise ValueError(
            f"a photograph is resized to at most {LARGEST_SIDE} pixels a side, got {height}x{width}: give a "
            "smaller image_size"
        )
    picture = open_image(path)
    scale = min(picture.width / width, picture.height / height)
    left, top = (picture.width - width * scale) / 2, (picture.height - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box), np.float64) / 255
    return ((pixels - MEAN) / STD).transpose(2, 0, 1)[None]


def open_image(path: str) -> Image.Image:
    """Returns the picture in a file, in RGB: of several, the first; checksums, if any, are compared.

    Errors: ``ValueError`` for a path that names no regular file, and for a file that is damaged, has more
    pixels than Pillow takes without a warning, or is none of `FORMATS`.
    """
    content = read_bytes(path, "an image", LARGEST_FILE)
    with one_sentence(f"an image is a file that Pillow reads, {path} is not"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("error", "(?i).*(truncated|corrupt)")
        with Image.open(BytesIO(content), formats=FORMATS) as opened:
            opened.verify()
        with Image.open(BytesIO(content), formats=FORMATS) as opened:
            return opened.convert("RGB")


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = perf_counter()
    return run(), perf_counter() - start


def describe(prediction: Prediction, implementation: str) -> str:
    """Returns the prediction in words: the five largest logits of both, the times, and rho."""
    p = prediction
    sides = (("oracle", p.expected, p.oracle_seconds), (implementation, p.got, p.seconds))
    lines = [f"weights: {p.weights}"]
    for name, logits, seconds in sides:
        five = ", ".join(f"{k}: {logits[k]:.6f}" for k in np.argsort(-logits)[:5])
        lines.append(f"{name}: {seconds:.2f} s; five largest logits {five}")
    word = "within" if p.deviation.holds else "beyond"
    lines.append(
        f"rho {p.deviation.rho:.3f} (limit 1), worst element {p.deviation.rho_max:.2f} budgets (limit 8): "
        f"{word} the error budget"
    )
    return "\n".join(lines)
