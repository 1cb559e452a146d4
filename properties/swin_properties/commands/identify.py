"""``swin-oracle identify``: finds the convention that an implementation follows."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from math import prod
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from swin_reference.config import convention_named
from swin_reference.rules import stage_grids

from swin_properties.adapters import load
from swin_properties.adapters.implementation import CANONICAL, Implementation
from swin_properties.commands.words import (
    Work,
    add_dtype,
    add_implementation,
    add_process,
    name_implementation,
    start_implementation,
)
from swin_properties.identify import identify
from swin_properties.identify.sizes import SWEEP, SmallNetwork

DESCRIPTION = """Runs small networks of many image sizes and compares each with the oracle under every named
convention. Exit code: 0 a convention fits at every size; 1 none does; 2 nothing could be judged."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "find which convention an implementation follows: where it pads, when it shifts, ..."
    command = commands.add_parser("identify", help=words, description=DESCRIPTION)
    command.set_defaults(prepare=prepare)
    needs = "it must offer a whole network, such as swin_transformer or swin_v2_transformer"
    add_implementation(command, needs, program=True)
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
        for line in conclusions(identity, name_implementation(args)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if line := describe_judged(implementation, identity):
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
        lines.append(f"{convention} differs at {', '.join(map(str, sizes[:3]))}{more}")
    if refused := [a for a in identity.answers if a.rejected]:
        first = refused[0]
        lines.append(f"it rejects {len(refused)} sizes, the first {first.network}: {first.rejected}")
    if strange := [a for a in identity.answers if not a.follows and not a.rejected]:
        lines += describe_strange(strange)
    fits = " and ".join(identity.fits)
    lines.append(f"{name}: {fits or 'no named convention'}" + (" fits" if len(identity.fits) < 2 else " fit"))
    return lines


def describe_judged(implementation: Implementation, identity: identify.Identity) -> str:
    """Returns the line that names what ``check`` judges by, where this is no named convention."""
    if not identity.fits:
        several = identify.find_combination(implementation)
        if several is None:
            return ""
        return f"`swin-oracle check` judges it by decisions of several together: {several.name}"
    named = convention_named(identity.fits[0])
    hiding = identify.see_mask(implementation, named)
    if hiding == named:
        return ""
    masks = f"Its mask is {hiding.mask_value:g}, {named.name}'s is {named.mask_value:g}"
    return f"{masks}: `swin-oracle check` judges it by {hiding.name}"


def describe_strange(answers: list[identify.Answer]) -> list[str]:
    """Returns lines about sizes at which an implementation follows no named convention."""
    lines = []
    if explained := [answer for answer in answers if answer.decisions]:
        smallest = min(explained, key=lambda a: prod(a.network.image))
        lines.append(
            f"At {_count(explained)} it follows no named convention; at {smallest.network}: "
            f"{smallest.decisions}."
        )
    if unknown := [answer for answer in answers if not answer.decisions]:
        text = f"At {_count(unknown)} its output matches no combination of the known decisions"
        shared = [words for words, has in SHARED.items() if all(has(a.network) for a in unknown)]
        which = "it has" if len(unknown) == 1 else f"all {len(unknown)} have"
        lines.append(text + (f"; {which} {shared[0]}." if shared else "."))
    return lines


def _count(answers: list[identify.Answer]) -> str:
    return f"{len(answers)} size{'s' * (len(answers) != 1)}"


def _grids(network: SmallNetwork) -> list[tuple[int, int]]:
    return stage_grids(network.config, CANONICAL)


SHARED: dict[str, Callable[[SmallNetwork], bool]] = {
    "a grid smaller than the window": lambda n: any(min(g) < n.window for g in _grids(n)),
    "a grid that is not made of whole windows": lambda n: any(
        side % n.window for g in _grids(n) for side in g
    ),
    "a grid no larger than the window": lambda n: any(min(g) <= n.window for g in _grids(n)),
    "an odd side before a merge": lambda n: any(side % 2 for g in _grids(n)[:-1] for side in g),
    "an image of no whole patches": lambda n: any(side % 2 for side in n.image),
}
"""What sizes may have in common, as a user is told it."""
