"""What several commands share: the type of their work, and arguments that they all take."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from rich.console import Console
from swin_reference.config import CONVENTIONS

from swin_properties.adapters.peers import PEERS
from swin_properties.budget.precision import PRECISIONS

Work = Callable[[Console], int]
"""What a command does after its input was checked; it returns the exit code."""


def add_implementation(command: argparse.ArgumentParser, needs: str = "", program: bool = False) -> None:
    """Adds the argument that names the implementation; ``needs`` says what it must offer.

    ``program``: it may be a program instead, with its arguments after ``--``.
    """
    forms = "module, module:attribute, file.py, file.py:attribute, or peer:NAME for a public one"
    words = f"what to judge: {forms} ({', '.join(PEERS)})"
    words += "; or -- and the command of a program that speaks docs/protocol.md" * program
    help_text = f"{words}; {needs}" if needs else words
    command.add_argument("implementation", nargs="?" if program else None, help=help_text)


def add_dtype(command: argparse.ArgumentParser) -> None:
    """Adds ``--dtype``, the precision to judge in."""
    words = f"the precision to judge in: {', '.join(PRECISIONS)} (default: the implementation's own)"
    command.add_argument("--dtype", metavar="PRECISION", help=words)


def add_convention(command: argparse.ArgumentParser) -> None:
    """Adds ``--convention``, the convention to judge by."""
    default = "the one that the implementation declares or is found to follow"
    words = f"the convention to judge by: {', '.join(CONVENTIONS)} (default: {default})"
    command.add_argument("--convention", metavar="NAME", help=words)
