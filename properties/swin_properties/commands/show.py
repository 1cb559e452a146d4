"""``swin-oracle show``: pictures of what Swin is, at one's own sizes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element

from rich.console import Console
from swin_reference.rules import stage_shift
from swin_reference.sizes import window_pair

from swin_properties.commands.words import Work
from swin_properties.reports import drawing, files
from swin_properties.reports.drawing import svg

PICTURES: dict[str, tuple[Callable[..., Element], str]] = {
    "windows": (drawing.windows, "regular and shifted windows, before and after the roll"),
    "regions": (drawing.regions, "where the tokens of each window came from"),
    "mask": (drawing.mask, "the mask of each class of windows"),
    "relative-position": (drawing.relative_position, "the index of every pair of tokens"),
    "receptive-field": (drawing.receptive_field, "which tokens reach one token, block after block"),
}
MATRICES, OF_A_TOKEN = ("mask", "relative-position"), ("relative-position", "receptive-field")


def add(commands: Any) -> None:
    """The command's words and options."""
    show = commands.add_parser("show", help="draw what Swin is, at your sizes, as SVG")
    show.set_defaults(prepare=prepare)
    named = "; ".join(f"{name}: {words}" for name, (_, words) in PICTURES.items())
    show.add_argument("picture", choices=PICTURES, metavar="PICTURE", help=named)
    show.add_argument("--size", default="8x8", help="the grid of tokens, such as 8 or 4x7 (default 8x8)")
    show.add_argument("--window", default="4", help="the window's size (default 4)")
    show.add_argument("--shift", help="default: a stage's, half a window, none if one window spans the grid")
    show.add_argument("--token", help="row x column of the token looked at (default: the middle)")
    show.add_argument("-o", "--output", metavar="FILE.svg", required=True, help="the file to write")


def prepare(args: argparse.Namespace) -> Work:
    """Draws and writes; the work says where."""
    if not args.output.lower().endswith(".svg"):
        raise ValueError(f"the file to write ends in .svg, got {args.output}: name it *.svg")
    files.checked([args.output])
    text = svg.document(picture(args.picture, args.size, args.window, args.shift, args.token))

    def work(console: Console) -> int:
        files.write(args.output, text)
        console.print(f"wrote {args.output}", markup=False, highlight=False, soft_wrap=True)
        return 0

    return work


def picture(name: str, size: str, window: str, shift: str | None, token: str | None) -> Element:
    """The picture of that name, sizes as the command takes them.

    Errors: ``ValueError`` for sizes that cannot be drawn.
    """
    grid, windows = pair("--size", size), window_pair(pair("--window", window))
    if name == "relative-position":
        grid, shift = windows, "0"  # it depends on the window alone
    if token is not None and name not in OF_A_TOKEN:
        raise ValueError(f"--token is for {' and '.join(OF_A_TOKEN)}, got it for {name}: leave it out")
    shifts = stage_shift(grid, windows) if shift is None else pair("--shift", shift)
    layout = drawing.Layout(grid, windows, shifts)
    if name in MATRICES:
        layout.for_matrix()
    draw = PICTURES[name][0]
    return draw(layout) if token is None else draw(layout, pair("--token", token))


def pair(option: str, word: str) -> tuple[int, int]:
    """Two integers from ``4`` or ``4x7``.

    >>> pair("--size", "4x7"), pair("--size", "8")
    ((4, 7), (8, 8))
    """
    try:
        numbers = [int(part) for part in word.split("x")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise ValueError(f"{option} is one or two integers joined by x, got {word!r}: write 4 or 4x7")
    return numbers[0], numbers[-1]
