"""``swin-oracle show``: draws windows, masks and indices of Swin at given sizes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element

from rich.console import Console
from swin_reference.outside import parse_integers
from swin_reference.rules import stage_shift
from swin_reference.sizes import window_pair

from swin_properties.commands.words import Work
from swin_properties.reports import drawing, files
from swin_properties.reports.drawing import svg

PICTURES: dict[str, tuple[Callable[..., Element], str]] = {
    "windows": (drawing.draw_windows, "regular and shifted windows, before and after the roll"),
    "regions": (drawing.draw_regions, "where the tokens of each window came from"),
    "mask": (drawing.draw_mask, "the mask of each class of windows"),
    "relative-position": (drawing.draw_relative_position, "the index of every pair of tokens"),
    "receptive-field": (drawing.draw_receptive_field, "which tokens reach one token, block after block"),
}
MATRICES, OF_A_TOKEN = ("mask", "relative-position"), ("relative-position", "receptive-field")


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "draw windows, masks, indices or receptive fields at your sizes, as SVG"
    named = "\n".join(f"  {name:18}{about}" for name, (_, about) in PICTURES.items())
    show = commands.add_parser(
        "show",
        help=words,
        description=f"{words[0].upper()}{words[1:]}.\n\npictures:\n{named}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    show.set_defaults(prepare=prepare)
    show.add_argument("picture", choices=PICTURES, metavar="PICTURE", help="one of the pictures above")
    show.add_argument(
        "--size", default="8x8", help="the grid of tokens, height x width, such as 8 or 4x7 (default 8x8)"
    )
    show.add_argument("--window", default="4", help="the window size, such as 4 or 2x3 (default 4)")
    show.add_argument(
        "--shift",
        help="the shift, such as 2 or 1x2 (default: half a window, 0 where one window spans the grid)",
    )
    show.add_argument("--token", help="the token to look at, row x column, such as 3x4 (default: the middle)")
    show.add_argument("-o", "--output", metavar="FILE.svg", required=True, help="the file to write")


def prepare(args: argparse.Namespace) -> Work:
    """Draws the picture; the work writes it."""
    if not args.output.lower().endswith(".svg"):
        raise ValueError(f"the name of the file ends in .svg, got {args.output}: write {args.output}.svg")
    files.check_paths([args.output])
    text = svg.make_document(draw_picture(args.picture, args.size, args.window, args.shift, args.token))

    def work(console: Console) -> int:
        files.write(args.output, text)
        console.print(f"wrote {args.output}", markup=False, highlight=False, soft_wrap=True)
        return 0

    return work


def draw_picture(name: str, size: str, window: str, shift: str | None, token: str | None) -> Element:
    """Draws the picture of a name; the sizes are written as the command takes them.

    Errors: ``ValueError`` for sizes that cannot be drawn.
    """
    grid, windows = parse_pair("--size", size), window_pair(parse_pair("--window", window))
    if name == "relative-position":
        grid, shift = windows, "0"  # it depends on the window alone
    if token is not None and name not in OF_A_TOKEN:
        raise ValueError(f"--token is for {' and '.join(OF_A_TOKEN)}, got it for {name}: leave it out")
    shifts = stage_shift(grid, windows) if shift is None else parse_pair("--shift", shift)
    layout = drawing.Layout(grid, windows, shifts)
    if name in MATRICES:
        layout.fit_matrix()
    draw = PICTURES[name][0]
    return draw(layout) if token is None else draw(layout, parse_pair("--token", token))


def parse_pair(option: str, word: str) -> tuple[int, int]:
    """Returns two integers from ``4`` or ``4x7``.

    >>> parse_pair("--size", "4x7"), parse_pair("--size", "8")
    ((4, 7), (8, 8))
    """
    numbers = parse_integers(option, word)
    return numbers[0], numbers[-1]
