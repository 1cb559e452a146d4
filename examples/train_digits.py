"""Trains a small Swin on handwritten digits, saves it, and compares the saved network with the oracle.

python examples/train_digits.py
python examples/train_digits.py --seed 1 --output digits.npz

Exit codes: 0 accurate, and the oracle agrees; 1 one of these is not so; 2 bad input.
"""

import argparse
import math
import os
import sys
from pathlib import Path

import swin_reference
import torch
from rich.console import Console
from rich.progress import Progress, track
from swin_properties.budget.precision import PRECISIONS
from swin_properties.predict.logits import compare_logits
from swin_reference.config import SwinConfig
from swin_weights import load, save
from torch.nn.functional import cross_entropy, pad

from swin_torch import SwinTransformer

ACCURACY = 0.97
"""The test accuracy must be larger."""

CONFIG = SwinConfig(
    image_size=8,
    patch_size=2,
    in_channels=1,
    embed_dim=48,
    depths=(2, 2),
    num_heads=(3, 6),
    window_size=2,
    mlp_ratio=2.0,
    absolute_position_embedding=True,
    num_classes=10,
)
"""4x4 tokens in four windows, the second block's shifted by one; then 2x2 tokens in one window."""

BATCH, RATE, DECAY = 32, 3e-3, 0.05
JUDGED_AT_ONCE = 150
"""Images behind one rho: 1500 logits, enough for a steady budget."""


class BadInput(Exception):
    """The user's input does not work; the message says why in one sentence."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        """Raises the message, without argparse's usage."""
        raise BadInput(f"{message}: see --help")


def main(argv=None):
    """Trains, saves and judges; returns the exit code."""
    try:
        return work(parse(argv))
    except BadInput as bad:
        print(f"train_digits: {bad}", file=sys.stderr)
        return 2


def parse(argv):
    """Returns the options."""
    parser = Parser(description="Trains a small Swin on digits; the oracle judges what was trained.")
    parser.add_argument("--output", default="digits.safetensors", help="the checkpoint (or .npz, .pth)")
    parser.add_argument("--epochs", type=int, default=25, help="passes over the training images (default 25)")
    parser.add_argument("--seed", type=int, default=0, help="the seed of everything random (default 0)")
    options = parser.parse_args(argv)
    if options.epochs < 1 or options.seed < 0:
        raise BadInput(f"epochs >= 1 and seed >= 0 must hold, got {options.epochs} and {options.seed}")
    return options


def work(options):
    """Trains, saves and judges with the given options; returns the exit code."""
    console = Console()
    torch.set_num_threads(1)  # at these sizes a second one waits more than it works
    torch.manual_seed(options.seed)
    network = initialise(SwinTransformer(CONFIG))
    train_images, test_images, train_labels, test_labels = read_digits(options.seed)
    write(options.output, network).unlink()  # that it cannot be is said now, not after the training
    train(network, train_images, train_labels, options.epochs, console)
    write(options.output, network).replace(options.output)
    console.print(f"saved {options.output}, official layout", highlight=False, soft_wrap=True)
    accurate = measure(network, test_images, test_labels, console)
    return 0 if judge(network, options.output, test_images, console) and accurate else 1


def read_digits(seed):
    """Returns images (B, 1, 8, 8) in [-1, 1] and labels (B,); a quarter of them for the test."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise BadInput(
            "the digits are part of scikit-learn, which is not installed: pip install scikit-learn"
        ) from None
    found = load_digits()
    images = torch.from_numpy(found.images).float()[:, None] / 8 - 1
    labels = torch.from_numpy(found.target)
    return train_test_split(images, labels, test_size=0.25, random_state=seed, stratify=found.target)


def initialise(network):
    """Draws weights of std 1 / sqrt(inputs); with the paper's 0.02, narrow layers learn too slowly."""
    for name, parameter in network.named_parameters():
        if name.endswith(".weight") and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return network


def train(network, images, labels, epochs, console):
    """Trains by AdamW, with a rate that rises, then decays as a cosine, on images moved by up to a pixel."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    steps = epochs * math.ceil(len(images) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.2)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("training", total=steps)
        for epoch in range(epochs):
            total = 0.0
            for batch in torch.randperm(len(images)).split(BATCH):
                loss = cross_entropy(network(move(images[batch])), labels[batch], label_smoothing=0.1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item() * len(batch)
                progress.advance(bar)
            said = f"epoch {epoch + 1} of {epochs}: loss {total / len(images):.3f}"
            progress.update(bar, description=said)
            if not console.is_terminal:
                print(said, flush=True)


def move(images):
    """Moves each image by -1, 0 or 1 pixels along height and width: (B, 1, 8, 8) -> same."""
    height, width = images.shape[2:]
    framed = pad(images, (1, 1, 1, 1), value=-1.0)
    down, right = torch.randint(0, 3, (2, len(images), 1, 1))
    rows, columns = down + torch.arange(height)[:, None], right + torch.arange(width)
    return framed[torch.arange(len(images))[:, None, None], 0, rows, columns][:, None]


def write(path, network):
    """Writes the weights to a temporary file beside ``path``, to be moved there; returns its path."""
    target = Path(path)
    if target.is_dir():
        raise BadInput(f"a checkpoint goes to a file, {path} is a folder: give another path")
    beside = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        beside.touch()  # an OSError, whatever writes the file
        save(beside, network.state_dict(), config=network.config)
    except OSError as error:
        raise BadInput(
            f"a checkpoint can be written, {path} cannot: {error.strerror}: give another path"
        ) from None
    except ValueError as error:
        beside.unlink()
        raise BadInput(str(error).replace(beside.name, target.name)) from None
    return beside


@torch.no_grad()
def measure(network, images, labels, console):
    """Returns whether the test accuracy is high enough."""
    right = int((network.eval()(images).argmax(1) == labels).sum())
    accurate = right > ACCURACY * len(images)
    word = "more" if accurate else "not more"
    console.print(
        f"test accuracy {right / len(images):.2%} ({right} of {len(images)}): {word} than {ACCURACY:.0%}",
        highlight=False,
    )
    return accurate


@torch.no_grad()
def judge(network, path, images, console):
    """Returns whether the network's logits agree with the oracle's, computed from the saved file."""
    found = load(path)
    sides = []
    batches = images.split(JUDGED_AT_ONCE)
    for batch in track(batches, "oracle", console=console, transient=True, disable=not console.is_terminal):
        exact = batch.double().numpy()
        expected = swin_reference.swin_transformer(exact, found.params, found.config)
        got = network.eval()(batch).numpy()
        sides.append(compare_logits(got, expected, exact, found.params, found.config, PRECISIONS["float32"]))
    decided = sum(int(side.decided.sum()) for side in sides)
    agree = sum(int((side.agree & side.decided).sum()) for side in sides)
    rho, rho_max = (max(getattr(side.deviation, name) for side in sides) for name in ("rho", "rho_max"))
    holds = all(side.deviation.holds for side in sides)
    console.print(
        f"the oracle names the same class for {agree} of the {decided} images (of {len(images)}) whose class "
        f"the budget decides\n"
        f"logits: worst rho {rho:.3f} (limit 1), worst element {rho_max:.2f} budgets (limit 8): "
        f"{'within' if holds else 'beyond'} the error budget",
        highlight=False,
        soft_wrap=True,
    )
    return holds and agree == decided


if __name__ == "__main__":
    sys.exit(main())
