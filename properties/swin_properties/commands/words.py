"""What the commands share: how their work is typed, and the options that several of them take."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from rich.console import Console
from swin_reference.config import CONVENTIONS

from swin_properties.budget.precision import PRECISIONS

Work = Callable[[Console], int]
"""What a command does once its input is known to be good; its result is the exit code."""


def add_dtype(command: argparse.ArgumentParser) -> None:
    """``--dtype``: the precision to judge in."""
    command.add_argument("--dtype", metavar="PRECISION", help=f"one of {', '.join(PRECISIONS)}")


def add_convention(command: argparse.ArgumentParser) -> None:
    """``--convention``: the convention to judge by."""
    words = f"one of {', '.join(CONVENTIONS)} (default: what it declares, else what it follows)"
    command.add_argument("--convention", metavar="NAME", help=words)
