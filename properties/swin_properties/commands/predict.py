"""``swin-oracle predict``: rho, the five largest logits of each side, and the times."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from swin_properties.commands.words import Work, add_dtype
from swin_properties.judging.implementation import load_implementation
from swin_properties.predict import photo


def add(commands: Any) -> None:
    """The command's words and options."""
    predict = commands.add_parser("predict", help="one photograph through both sides")
    predict.set_defaults(prepare=prepare)
    predict.add_argument("implementation", help="as for check; it must offer swin_transformer")
    predict.add_argument("--config", help="a name or a JSON file (default: the checkpoint's, else swin_t)")
    predict.add_argument("--image", required=True, help="a photograph, any format that Pillow reads")
    predict.add_argument(
        "--checkpoint", help="weights of any layout, a file or a directory; without it, random ones"
    )
    predict.add_argument("--image-size", type=int, help="pixels a side, where the checkpoint does not say it")
    add_dtype(predict)
    predict.add_argument("--seed", type=int, default=0, help="of the random weights (default 0)")


def prepare(args: argparse.Namespace) -> Work:
    """Runs both sides; the work prints how far apart they are."""
    implementation = load_implementation(args.implementation, args.dtype)
    weights = photo.weights(args.checkpoint, args.config, args.image_size, args.seed)
    prediction = photo.predict(implementation, weights, args.image)

    def work(console: Console) -> int:
        text = photo.described(prediction, args.implementation)
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        return 0 if prediction.deviation.holds else 1

    return work
