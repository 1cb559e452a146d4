"""Draws the pictures of the paper's claims."""

from __future__ import annotations

from typing import Any

import numpy as np
from swin_timing.interleaved import Timings

from benchmarks.claims.formulations import TABLE
from benchmarks.claims.measuring import SIDES, Growth, compute_exponent, fit_exponent
from benchmarks.pages import drawing

COLOURS = ("#9ecae1", "#d62728", "#ff9896", "#9467bd", "#7f7f7f")
COLOURED = {"window": "#d62728", "global": "#7f7f7f", "global, attending": "#1f77b4"}


def draw_table5(found: dict[str, Timings]) -> Any:
    """Returns the picture of table 5: a bar for each formulation at each stage, the time on a log scale."""
    figure = drawing.make_figure(8, 3.6)
    axes, width = figure.add_subplot(), 0.8 / len(TABLE)
    for number, (name, colour) in enumerate(zip(TABLE, COLOURS, strict=True)):
        positions = np.arange(len(found)) + width * (number - len(TABLE) / 2 + 0.5)
        times = [1e3 * timings.best(name) for timings in found.values()]
        bars = axes.bar(positions, times, width, color=colour, label=name)
        axes.bar_label(bars, [f"{t:.1f}" for t in times], fontsize=6)
    axes.set_yscale("log")
    axes.set_xticks(range(len(found)), list(found))
    axes.set_ylabel("ms, attention of one block")
    axes.set_title("Swin-T at 224 pixels, one image: table 5 measured again", fontsize=10)
    axes.legend(fontsize=8, ncols=2)
    drawing.simplify(axes)
    return figure


def draw_growth(found: dict[str, Growth]) -> Any:
    """Returns the picture of growth: operations and milliseconds over the tokens, all axes logarithmic."""
    figure = drawing.make_figure(9, 4)
    left, right = figure.subplots(1, 2)
    tokens = [side**2 for side in SIDES]
    for kind, cost in found.items():
        style = {"marker": "o", "ms": 4, "color": COLOURED[kind], "lw": 1.2}
        counted, measured = compute_exponent(cost.counted), fit_exponent(cost.seconds)
        left.plot(tokens, np.array(cost.counted) / 1e9, **style, label=f"{kind}: {counted:.2f}")
        right.plot(tokens, 1e3 * np.array(cost.seconds), **style, label=f"{kind}: {measured:.2f}")
    for axes, what, exponents in ((left, "operations, 1e9", "exact"), (right, "ms", "fitted")):
        axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel=what)
        axes.set_xticks(tokens, [str(t) for t in tokens])
        axes.minorticks_off()
        axes.legend(title=f"exponent, {exponents}", fontsize=8, title_fontsize=8)
        drawing.simplify(axes)
    figure.suptitle("The cost of attention as the image grows (96 channels, window 7)", fontsize=10)
    return figure
