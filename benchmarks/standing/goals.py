"""Reads goals.toml: what `make standing` measures, and the ratios and counts to reach."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("goals.toml")
HEADS = ["measured", "ours, ms", "fastest rival, ms", "ratio (quartiles)", "must / aim / moonshot", "reached"]
"""The headings of a table of goals."""

COUNTS = "launches", "kept", "launches-v2", "kept-v2"
KINDS = "operator", "operator-training", "operator-backward", "inference", "training", "frozen"


@dataclass(frozen=True)
class Measurement:
    """Holds what one interleaved measurement runs.

    ``size`` names a stage for the operator, else a network of `benchmarks.cases`.  ``needs`` is what the
    machine must have.  With ``autocast`` the weights are float32 and torch chooses bfloat16 by operation.
    ``beside`` names further runs of an operator or a network; of a network on a GPU the rivals, all eager
    ones if empty.
    """

    name: str
    what: str
    kind: str
    size: str
    batch: int
    precision: str = "float32"
    autocast: bool = False
    needs: str = ""
    beside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a measurement's kind is one of {', '.join(KINDS)}, got {self.kind!r}: use one")

    @property
    def device(self) -> str:
        """The device that it runs on."""
        return "cuda" if self.needs == "gpu" else "cpu"

    def __str__(self) -> str:
        precision = "bf16 autocast" if self.autocast else self.precision
        return f"{self.what}, {precision}, batch {self.batch}"


@dataclass(frozen=True)
class Goal:
    """Holds the ratios to reach against the fastest of some rivals, in each of some measurements."""

    measurements: tuple[str, ...]
    against: tuple[str, ...]
    must: float
    aim: float
    moonshot: float

    def __post_init__(self) -> None:
        if not 0 < self.must <= self.aim <= self.moonshot:
            raise ValueError(
                f"a goal has 0 < must <= aim <= moonshot, got {self.must}, {self.aim}, {self.moonshot}: "
                "order them"
            )

    def find_reached(self, ratio: float) -> str:
        """Returns the highest step that a ratio reaches.

        >>> Goal((), (), 1.0, 1.5, 2.0).find_reached(1.6)
        'aim'
        """
        steps = ("moonshot", self.moonshot), ("aim", self.aim), ("must", self.must)
        return next((name for name, least in steps if ratio >= least), "below must")


@dataclass(frozen=True)
class Limit:
    """Holds what is counted, by name, and the most that it may be.

    >>> Limit("", "launches", 120, 80, 40).find_reached(81)
    'must'
    """

    what: str
    count: str
    must: float
    aim: float
    moonshot: float

    def __post_init__(self) -> None:
        if self.count not in COUNTS or not self.must >= self.aim >= self.moonshot > 0:
            raise ValueError(
                f"a limit counts one of {', '.join(COUNTS)}, with must >= aim >= moonshot > 0, got "
                f"{self.count!r}, {self.must}, {self.aim}, {self.moonshot}: correct it"
            )

    def find_reached(self, count: float) -> str:
        """Returns the lowest step that a count does not exceed."""
        steps = ("moonshot", self.moonshot), ("aim", self.aim), ("must", self.must)
        return next((name for name, most in steps if count <= most), "over must")


def _make_measurement(name: str, fields: dict[str, Any]) -> Measurement:
    return Measurement(name, **fields | {"beside": tuple(fields.get("beside", ()))})


def read(path: Path = FILE) -> tuple[dict[str, Measurement], list[Goal], list[Limit]]:
    """Returns the measurements by name, the goals, and the limits of what is counted.

    Errors: ``ValueError`` for a file that does not parse, unknown fields, or a goal for a measurement that
    does not exist.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        measurements = {
            name: _make_measurement(name, fields) for name, fields in data["measurements"].items()
        }
        goals = [
            Goal(tuple(given.pop("measurements")), tuple(given.pop("against")), **given)
            for given in data["goals"]
        ]
        limits = [Limit(**fields) for fields in data.get("counts", [])]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"goals are measurements and goals in TOML, {path.name} is not: {error}: correct it"
        ) from None
    if unknown := {name for goal in goals for name in goal.measurements} - measurements.keys():
        raise ValueError(f"a goal is for measurements that exist, got {', '.join(sorted(unknown))}: add them")
    return measurements, goals, limits
