"""Starts each contestant in fresh processes, in turn, and compares what a user meets in the first minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.cases.case import Case
from benchmarks.cases.verdicts import explain_fault
from benchmarks.machine.checkout import ROOT
from benchmarks.pages import markdown
from benchmarks.standing.first_minute.start import BUILDERS

COLD, WARM = "swin_torch, kernels not compiled yet", "swin_torch"
ROUNDS = 5
"""How often each contestant is started; the least value of each step counts."""

STEPS = (
    "import",
    "construction",
    "first image",
    "second image",
    "an image",
    "first training step",
    "memory, inference",
    "memory, training",
)

Starts = Mapping[str, Sequence[Mapping[str, float]]]
"""What the starts of each contestant measured."""


@dataclass(frozen=True)
class Goal:
    """Holds what is to be reached, what was measured, and whether it is reached."""

    what: str
    measured: str
    reached: bool


def find_contestants() -> tuple[list[str], list[str]]:
    """Returns the names of those that compute Swin, and a sentence for each that does not or is not here."""
    judged, refused = [COLD, WARM], []
    for name, (home, _) in BUILDERS.items():
        if name == WARM:
            continue
        if find_spec(home.partition(".")[0]) is None:
            refused.append(f"{name} is not installed")
        elif why := explain_fault(f"peer:{name}", Case("swin_transformer", "small")):
            refused.append(why)
        else:
            judged.append(name)
    return judged, refused


def measure_starts(names: Sequence[str], rounds: int = ROUNDS) -> Starts:
    """Starts each contestant so many times, in rotated order.

    Errors: ``ValueError`` with the last line of a process that fails.
    """
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as kept:
        for turn in range(rounds):
            for place in range(len(names)):
                name = names[(turn + place) % len(names)]
                found[name].append(_start(name, Path(kept)))
        if WARM in names and rounds:  # its very first start compiled
            found[WARM][0] = _start(WARM, Path(kept))
    return found


def _start(name: str, kept: Path) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as empty:
        environment = os.environ | {"XDG_CACHE_HOME": empty if name == COLD else str(kept)}
        words = [
            sys.executable,
            "-m",
            "benchmarks.standing.first_minute.start",
            WARM if name == COLD else name,
        ]
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(f"{name} starts and computes an image, it ended with {done.returncode}: {last}")
    steps: Mapping[str, float] = json.loads(done.stdout.splitlines()[-1])
    return steps


def take_least(starts: Starts) -> dict[str, dict[str, float]]:
    """Returns the least value of each step.

    >>> take_least({"timm": [{"import": 2.0}, {"import": 1.5}]})
    {'timm': {'import': 1.5}}
    """
    return {name: {step: min(one[step] for one in of) for step in of[0]} for name, of in starts.items()}


def list_goals(least: Mapping[str, Mapping[str, float]]) -> list[Goal]:
    """Returns the goals with what was measured; those against peers only where there are peers."""
    cold, warm = least[COLD], least[WARM]
    peers = {name: steps for name, steps in least.items() if name not in (COLD, WARM)}
    ratio = warm["first image"] / warm["second image"]
    goals = [
        Goal(
            "the first image with compilation takes under 10 s",
            f"{cold['first image']:.1f} s",
            cold["first image"] < 10,
        ),
        Goal(
            "without compilation the first image takes under 1.5 times the second",
            f"{ratio:.2f}",
            ratio < 1.5,
        ),
    ]
    if not peers:
        return goals
    fastest = min(peers, key=lambda name: peers[name]["an image"])
    speed = peers[fastest]["an image"] / warm["an image"]
    goals.append(
        Goal(
            "an image at 224 is at least 1.3 times as fast as the best eager peer's",
            f"{speed:.2f} of {fastest}",
            speed >= 1.3,
        )
    )
    for step in ("memory, inference", "memory, training"):
        leanest = min(peers, key=lambda name: peers[name][step])
        ours, theirs = warm[step], peers[leanest][step]
        goals.append(
            Goal(
                f"no more memory than the leanest peer ({step.partition(', ')[2]})",
                f"{ours:.0f} MB, {leanest} {theirs:.0f} MB",
                ours <= theirs,
            )
        )
    return goals


def make_text(least: Mapping[str, Mapping[str, float]], refused: Sequence[str], machine: str) -> str:
    """Returns the table of the starts, the goals, who is left out, and the machine."""
    heads = [
        "Swin-T at 224, batch 1",
        *(f"{step}, {'MB' if 'memory' in step else 'ms' if step == 'an image' else 's'}" for step in STEPS),
    ]
    rows = [[name, *(_format(step, steps[step]) for step in STEPS)] for name, steps in least.items()]
    goals = [[one.what, one.measured, "yes" if one.reached else "no"] for one in list_goals(least)]
    parts = [
        markdown.make_table(heads, rows),
        markdown.make_table(["goal", "measured", "reached"], goals),
        *(f"Left out: {why}." for why in refused),
        machine + ".",
    ]
    return "\n\n".join(parts)


def _format(step: str, value: float) -> str:
    if "memory" in step:
        return f"{value:.0f}"
    return f"{1e3 * value:.1f}" if step == "an image" else f"{value:.2f}"
