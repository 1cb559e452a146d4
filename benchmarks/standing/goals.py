"""What `make standing` measures and is to reach, read from goals.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("goals.toml")
HEADS = ["measured", "ours, ms", "fastest rival, ms", "ratio (quartiles)", "must / aim / moonshot", "reached"]
"""Of a table of goals."""

COUNTS = "launches", "kept"
KINDS = "operator", "operator-training", "operator-backward", "inference", "training", "frozen"


@dataclass(frozen=True)
class Measurement:
    """One interleaved run: what, at which size and batch, in which precision, and what it needs to mean much.

    ``size`` is a stage for an operator, otherwise a network of `cases`; with ``autocast`` the weights stay
    float32 and torch computes in bfloat16 where it sees fit.  ``beside``: the operator "unshifted".
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
        """Where it runs."""
        return "cuda" if self.needs == "gpu" else "cpu"

    def __str__(self) -> str:
        precision = "bf16 autocast" if self.autocast else self.precision
        return f"{self.what}, {precision}, batch {self.batch}"


@dataclass(frozen=True)
class Goal:
    """The ratios to reach, over the fastest of some rivals, in each of some measurements."""

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

    def reached(self, ratio: float) -> str:
        """The highest step of it that a ratio reaches.

        >>> Goal((), (), 1.0, 1.5, 2.0).reached(1.6)
        'aim'
        """
        steps = ("moonshot", self.moonshot), ("aim", self.aim), ("must", self.must)
        return next((name for name, least in steps if ratio >= least), "below must")


@dataclass(frozen=True)
class Limit:
    """What is counted, by name, and is to be at most so much.

    >>> Limit("", "launches", 120, 80, 40).reached(81)
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
                f"{self.count!r}, {self.must}, {self.aim}, {self.moonshot}: mend it"
            )

    def reached(self, count: float) -> str:
        """The lowest step of it that a count stays within."""
        steps = ("moonshot", self.moonshot), ("aim", self.aim), ("must", self.must)
        return next((name for name, most in steps if count <= most), "over must")


def _measurement(name: str, fields: dict[str, Any]) -> Measurement:
    return Measurement(name, **fields | {"beside": tuple(fields.get("beside", ()))})


def read(path: Path = FILE) -> tuple[dict[str, Measurement], list[Goal], list[Limit]]:
    """The measurements by name, the goals, and the limits of what is counted.

    Errors: ``ValueError`` for a file that does not parse, fields that are none, or a goal for a measurement
    that does not exist.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        measurements = {name: _measurement(name, fields) for name, fields in data["measurements"].items()}
        goals = [
            Goal(tuple(given.pop("measurements")), tuple(given.pop("against")), **given)
            for given in data["goals"]
        ]
        limits = [Limit(**fields) for fields in data.get("counts", [])]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"goals are measurements and goals in TOML, {path.name} is not: {error}: mend it"
        ) from None
    if unknown := {name for goal in goals for name in goal.measurements} - measurements.keys():
        raise ValueError(f"a goal is for measurements that exist, got {', '.join(sorted(unknown))}: add them")
    return measurements, goals, limits
