"""How pictures look, and where they go: SVG files that are the same for the same numbers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

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
"""Each contestant's own, the same in every picture."""


def colour(name: str) -> str:
    """A contestant's colour; one that has none of its own is brown."""
    return COLOURS.get(name, "#8c564b")


def figure(width: float, height: float) -> Figure:
    """An empty picture, in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def keep(drawn: Figure, name: str) -> Path:
    """Writes a picture, in one piece."""
    FOLDER.mkdir(exist_ok=True)
    path, text = FOLDER / f"{name}.svg", io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        drawn.savefig(text, format="svg", metadata={"Date": None})
    files.write(str(path), "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n")
    return path


def quiet(axes: Any) -> None:
    """Leaves of an axes' frame what is read: the left and lower side."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
