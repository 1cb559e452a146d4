"""``swin-oracle laws``: prints the name, tier, file and line, and sentence of every law."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from swin_properties.commands.words import Work
from swin_properties.laws import choosing


def add(commands: Any) -> None:
    """Adds the command."""
    words = "list every law: its name, its tier, its file and line, and its sentence"
    laws = commands.add_parser("laws", help=words, description=f"{words[0].upper()}{words[1:]}.")
    laws.set_defaults(prepare=prepare)


def prepare(_args: argparse.Namespace) -> Work:
    """Returns the work, which prints every law."""

    def work(console: Console) -> int:
        for law in choosing.choose_laws():
            about = f"[bold]{law.name}[/] ({law.tier}, {law.where}): "
            console.print(about, end="", highlight=False, soft_wrap=True)
            console.print(law.sentence, markup=False, highlight=False, soft_wrap=True)
        return 0

    return work
