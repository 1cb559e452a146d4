"""Keeps what `make standing` measured in results/standing.json, so that the picture can be drawn again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from swin_properties.reports import files
from swin_timing.interleaved import Timings

from benchmarks.machine.description import describe
from benchmarks.standing.comparison import compare
from benchmarks.standing.goals import Goal, Measurement

FILE = Path(__file__).parents[1] / "results" / "standing.json"


@dataclass(frozen=True)
class Row:
    """Holds a goal and what one measurement says of it.

    ``seconds`` has the least seconds of every run by name; ``quartiles`` are those of the rounds' ratios.
    """

    what: str
    against: tuple[str, ...]
    must: float
    aim: float
    moonshot: float
    ours: str
    theirs: str
    ratio: float
    quartiles: tuple[float, float]
    disturbed: bool
    seconds: dict[str, float]


@dataclass(frozen=True)
class Standing:
    """Holds the rows with their date and the machine's description."""

    date: str
    machine: dict[str, Any]
    rows: tuple[Row, ...]


def collect(measurements: dict[str, Measurement], goals: list[Goal], found: dict[str, Timings]) -> Standing:
    """Returns what was measured now, a row for each goal of each measurement."""
    rows = []
    for goal in goals:
        for name in goal.measurements:
            if name in found and (compared := compare(goal, found[name])):
                timings = found[name]
                rows.append(
                    Row(
                        what=str(measurements[name]),
                        against=goal.against,
                        must=goal.must,
                        aim=goal.aim,
                        moonshot=goal.moonshot,
                        ours=compared.ours,
                        theirs=compared.theirs,
                        ratio=compared.ratio,
                        quartiles=compared.quartiles,
                        disturbed=timings.disturbed,
                        seconds={run: timings.best(run) for run in timings.times},
                    )
                )
    return Standing(datetime.now(UTC).date().isoformat(), describe(), tuple(rows))


def write(standing: Standing, path: Path = FILE) -> None:
    """Writes the file."""
    files.write(str(path), json.dumps(asdict(standing), indent=1) + "\n")


def read(path: Path = FILE) -> Standing:
    """Reads the file.

    Errors: ``ValueError`` for a file that `write` did not write.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = (Row(**row | {"quartiles": tuple(row["quartiles"])}) for row in data["rows"])
        return Standing(data["date"], data["machine"], tuple(rows))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"what was measured is kept by `make standing`, {path} does not read ({error!r}): measure again"
        ) from None
