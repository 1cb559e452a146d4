"""Draws and writes pictures: SVG files that are equal for equal numbers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure
from swin_properties.reports import files

FOLDER = Path(__file__).parents[1] / "pictures"
COLOURS = {
    "swin_torch:plain": "#1f77b4",
    "swin_torch": "#d62728",
    "peer:timm": "#2ca02c",
    "peer:torchvision": "#9467bd",
    "peer:transformers": "#ff7f0e",
    "oracle": "#7f7f7f",
}
"""The colour of each contestant, the same in every picture."""


def find_colour(name: str) -> str:
    """Returns a contestant's colour; brown if it has none of its own."""
    return COLOURS.get(name, "#8c564b")


def make_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Returns an empty picture of this size in inches."""
    return Figure(figsize=(width, height), layout=layout)


def keep(drawn: Figure, name: str) -> Path:
    """Writes a picture and returns its file."""
    FOLDER.mkdir(exist_ok=True)
    path = find_path(name)
    files.write(str(path), render(drawn, name))
    return path


def find_path(name: str) -> Path:
    """Returns the file of a picture."""
    return FOLDER / f"{name}.svg"


def render(drawn: Figure, name: str) -> str:
    """Returns a picture as SVG."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        drawn.savefig(text, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def simplify(axes: Any) -> None:
    """Removes the upper and right side of the frame, and adds faint horizontal lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
