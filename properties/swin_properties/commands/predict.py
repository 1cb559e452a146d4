"""``swin-oracle predict``: compares an implementation with the oracle on one photograph."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from swin_properties.adapters.process import ProcessGone
from swin_properties.commands.words import (
    Work,
    add_dtype,
    add_implementation,
    add_process,
    start_implementation,
)
from swin_properties.judging.implementation import load_implementation
from swin_properties.predict import photo

DESCRIPTION = """Runs one photograph through an implementation and through the oracle with the same weights.
Prints rho, the five largest logits of both, and the times. Exit code: 0 the logits agree within the error
budget; 1 they do not; 2 nothing could be judged."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "classify one photograph by an implementation and by the oracle, and compare the logits"
    predict = commands.add_parser("predict", help=words, description=DESCRIPTION)
    predict.set_defaults(prepare=prepare)
    add_implementation(predict, "it must offer swin_transformer")
    predict.add_argument(
        "--config",
        help="the network: a name such as swin_t, or a JSON file (default: the checkpoint's, else swin_t)",
    )
    image = "the photograph: JPEG, PNG, WebP, TIFF, GIF, BMP or PPM"
    predict.add_argument("--image", required=True, metavar="FILE", help=image)
    predict.add_argument(
        "--checkpoint", metavar="PATH", help="the weights, a file or a folder (default: random weights)"
    )
    predict.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="the image's side, if the checkpoint does not say it"
    )
    add_dtype(predict)
    add_process(predict)
    predict.add_argument("--seed", type=int, default=0, help="the seed of the random weights (default 0)")


def prepare(args: argparse.Namespace) -> Work:
    """Runs the implementation and the oracle; the work prints how far apart they are."""
    implementation = load_implementation(start_implementation(args), args.dtype)
    weights = photo.load_weights(args.checkpoint, args.config, args.image_size, args.seed)
    try:
        prediction = photo.predict(implementation, weights, args.image)
    except ProcessGone as gone:
        raise ValueError(
            f"an implementation classifies the photograph, {args.implementation}: {gone}"
        ) from None

    def work(console: Console) -> int:
        text = photo.describe(prediction, args.implementation)
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        return 0 if prediction.deviation.holds else 1

    return work
