"""Judges a case by its measurements.  Nothing is measured here."""

from __future__ import annotations

from collections.abc import Sequence

from swin_timing.interleaved import Timings

ALARM = 0.05
"""A measurement alarms where the ratio of minima changed by more than this."""

TRIES = 3
"""The most measurements of a case: two must agree on an alarm, and one may be lost to a disturbance."""

PATIENCE = 4
"""A measurement takes at most this many times the rounds it needs, to find enough quiet ones."""

PAIRS = 4
"""The pairs of processes of a measurement: where a process places its memory can make it slower."""

BASE, HEAD = "base", "head"

VERDICTS = ("slower", "inconclusive", "faster", "same")
"""All verdicts, the worst first."""


def judge_one(timings: Timings) -> str:
    """Returns what one measurement says, provided that the machine was quiet.

    >>> judge_one(Timings({"base": (1.0, 2.0), "head": (1.06, 1.0)}, (1.0,)))
    'same'
    """
    ratio = timings.ratio(HEAD, BASE)
    return "slower" if ratio > 1 + ALARM else "faster" if 1 / ratio > 1 + ALARM else "same"


def judge(measurements: Sequence[Timings]) -> str:
    """Returns the verdict, empty where another measurement is needed.

    A measurement on a disturbed machine counts for nothing.  An alarm needs a second measurement that agrees.
    """
    changes = [judge_one(timings) for timings in measurements if not timings.disturbed]
    if changes and changes[0] == "same":
        return "same"
    if len(changes) > 1:
        return changes[0] if changes[0] == changes[1] else "same"
    return "inconclusive" if len(measurements) >= TRIES else ""


def find_exit_code(verdicts: Sequence[str]) -> int:
    """Returns 1 where a case is slower, else 3 where one is inconclusive, else 0.

    >>> find_exit_code(["same", "faster"]), find_exit_code(["slower", "inconclusive"])
    (0, 1)
    """
    return 1 if "slower" in verdicts else 3 if "inconclusive" in verdicts else 0
