"""``swin-oracle predict``: compares an implementation with the oracle on one photograph."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from swin_properties.adapters.process import ProcessGone
from swin_properties.commands.words import (
    Work,
    add_device,
    add_dtype,
    add_implementation,
    add_photograph,
    add_process,
    name_implementation,
    start_implementation,
)
from swin_properties.judging.implementation import load_implementation
from swin_properties.predict import photo
from swin_properties.reports.terminal import name_device

DESCRIPTION = """Runs one photograph through an implementation and through the oracle with the same weights.
Prints rho, the five largest logits of both, and the times. Exit code: 0 the logits agree within the error
budget; 1 they do not; 2 nothing could be judged."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "classify one photograph by an implementation and by the oracle, and compare the logits"
    predict = commands.add_parser("predict", help=words, description=DESCRIPTION)
    predict.set_defaults(prepare=prepare)
    add_implementation(predict, "it must offer swin_transformer", program=True)
    add_photograph(predict)
    add_dtype(predict)
    add_device(predict)
    add_process(predict)


def prepare(args: argparse.Namespace) -> Work:
    """Runs the implementation and the oracle; the work prints how far apart they are."""
    implementation = load_implementation(start_implementation(args), args.dtype, device=args.device)
    weights = photo.load_weights(args.checkpoint, args.config, args.image_size, args.seed)
    try:
        prediction = photo.predict(implementation, weights, args.image)
    except ProcessGone as gone:
        raise ValueError(
            f"an implementation classifies the photograph, {name_implementation(args)}: {gone}"
        ) from None

    def work(console: Console) -> int:
        text = photo.describe(prediction, f"{name_implementation(args)}{name_device(implementation.device)}")
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        return 0 if prediction.deviation.holds else 1

    return work
