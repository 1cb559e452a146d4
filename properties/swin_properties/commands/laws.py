"""``swin-oracle laws``: every law's name, tier, file and line, and sentence."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from swin_properties.commands.words import Work
from swin_properties.laws import choosing


def add(commands: Any) -> None:
    """The command's words."""
    laws = commands.add_parser("laws", help="list the catalogue: every law and its sentence")
    laws.set_defaults(prepare=prepare)


def prepare(_args: argparse.Namespace) -> Work:
    """The work prints the catalogue."""

    def work(console: Console) -> int:
        for law in choosing.chosen():
            about = f"[bold]{law.name}[/] ({law.tier}, {law.where}): "
            console.print(about, end="", highlight=False, soft_wrap=True)
            console.print(law.sentence, markup=False, highlight=False, soft_wrap=True)
        return 0

    return work
