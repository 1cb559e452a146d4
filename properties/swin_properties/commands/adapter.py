"""``swin-oracle adapter``: writes the adapter of a copy, to begin from."""

from __future__ import annotations

import argparse
import os
import warnings
from contextlib import redirect_stdout
from typing import Any

from rich.console import Console

from swin_properties.adapters import load
from swin_properties.commands.words import Work, add_implementation

DESCRIPTION = """Prints the adapter by which `swin-oracle check` judges a copy: Python that runs, with the
contract of each callable in its comments. Exit code: 0 it is printed; 2 nothing was recognised."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "write the adapter of a copy of a public Swin, to begin from"
    command = commands.add_parser("adapter", help=words, description=DESCRIPTION)
    command.set_defaults(prepare=prepare)
    add_implementation(command, "it has the classes of a public Swin")


def prepare(args: argparse.Namespace) -> Work:
    """Recognises the copy; the work prints its adapter."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # What the copy says as it loads is no part of its adapter.
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = load.write_adapter(args.implementation)

    def work(console: Console) -> int:
        console.file.write(text)
        return 0

    return work
