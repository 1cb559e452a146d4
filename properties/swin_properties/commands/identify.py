"""``swin-oracle identify``: finds the convention that an implementation follows."""

from __future__ import annotations

import argparse
import os
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swin_properties.adapters import load
from swin_properties.adapters.implementation import Implementation
from swin_properties.commands.words import (
    Work,
    add_dtype,
    add_implementation,
    add_process,
    start_implementation,
)
from swin_properties.identify import identify
from swin_properties.identify.sizes import SWEEP

DESCRIPTION = """Runs small networks of many image sizes and compares each with the oracle under every named
convention. Exit code: 0 a convention fits at every size; 1 none does; 2 nothing could be judged."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "find which convention an implementation follows: where it pads, when it shifts, ..."
    command = commands.add_parser("identify", help=words, description=DESCRIPTION)
    command.set_defaults(prepare=prepare)
    add_implementation(
        command, "it must offer a whole network, such as swin_transformer or swin_v2_transformer"
    )
    add_dtype(command)
    add_process(command)


def prepare(args: argparse.Namespace) -> Work:
    """Loads the implementation; the work compares at every size and prints what it found."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks are small: threads cost more than they give
    implementation = Implementation(*load.load_in_precision(start_implementation(args), args.dtype))
    asked = identify.ask_networks(implementation, SWEEP)
    first = next(asked)  # what offers no network says so before anything is printed

    def work(console: Console) -> int:
        found = [first]
        with console.status("") as status:
            for answer in asked:
                found.append(answer)
                status.update(f"{len(found)}/{len(SWEEP)} sizes, {answer.network}")
        identity = identify.Identity(found)
        console.print(table(identity))
        for line in conclusions(identity, args.implementation):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return 0 if identity.fits else 1

    return work


def table(identity: identify.Identity) -> Table:
    """Returns a table with a line for each size: what the implementation does there."""
    rows = Table(box=None, pad_edge=False)
    rows.add_column("image", no_wrap=True)
    rows.add_column("computes what these compute", overflow="fold")
    rows.add_column("", overflow="fold")
    for answer in identity.answers:
        names = "every convention" if answer.follows == answer.asked else ", ".join(answer.follows)
        note = "rejects it" if answer.rejected else answer.decisions
        if not answer.follows and not note:
            note = "no combination of the decisions gives this"
        rows.add_row(str(answer.network), names or "none", escape(note))
    return rows


def conclusions(identity: identify.Identity, name: str) -> list[str]:
    """Returns the lines below the table: which sizes rule out a convention, and the verdict."""
    lines = [""]
    for convention, sizes in identity.separated.items():
        more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
        lines.append(f"not {convention}: differs at {', '.join(map(str, sizes[:3]))}{more}")
    if refused := [a for a in identity.answers if a.rejected]:
        first = refused[0]
        lines.append(f"it rejects {len(refused)} sizes, the first {first.network}: {first.rejected}")
    if strange := [a for a in identity.answers if not a.follows and not a.rejected]:
        smallest = min(strange, key=lambda a: a.network.image[0] * a.network.image[1])
        why = smallest.decisions or "no combination of the decisions gives what it computes"
        words = f"it follows no convention at {len(strange)} sizes, the smallest"
        lines.append(f"{words} {smallest.network}: {why}")
    fits = " and ".join(identity.fits)
    lines.append(f"{name}: {fits or 'no named convention'}" + (" fits" if len(identity.fits) < 2 else " fit"))
    return lines
