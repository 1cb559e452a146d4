"""The verdict on a case, from its measurements: no clock is read here."""

from __future__ import annotations

from collections.abc import Sequence

from swin_timing.interleaved import Paired

ALARM = 0.05
"""The change of the ratio of minima beyond which a measurement alarms."""

TRIES = 3
"""Measurements of a case at most: two must agree on an alarm, one may be spent on a disturbed machine."""

PATIENCE = 4
"""How many times the rounds that it needs a measurement waits for as many quiet ones."""

PAIRS = 4
"""Pairs of processes of a measurement: where its memory lies makes one slower than the next."""

BASE, HEAD = "base", "head"

VERDICTS = ("slower", "inconclusive", "faster", "same")
"""The worst first."""


def change(measured: Paired) -> str:
    """What one measurement says, were the machine quiet.

    >>> change(Paired({"base": (1.0, 2.0), "head": (1.06, 1.0)}, (1.0,)))
    'same'
    """
    ratio = measured.ratio(HEAD, BASE)
    return "slower" if ratio > 1 + ALARM else "faster" if 1 / ratio > 1 + ALARM else "same"


def verdict(measurements: Sequence[Paired]) -> str:
    """The verdict, or nothing where another measurement is needed.

    A measurement beside a disturbed anchor counts for nothing.  An alarm stands if the next one agrees.
    """
    changes = [change(measured) for measured in measurements if not measured.disturbed]
    if changes and changes[0] == "same":
        return "same"
    if len(changes) > 1:
        return changes[0] if changes[0] == changes[1] else "same"
    return "inconclusive" if len(measurements) >= TRIES else ""


def exit_code(verdicts: Sequence[str]) -> int:
    """0 where all are the same or faster, 1 where one is slower, else 3: the machine was disturbed.

    >>> exit_code(["same", "faster"]), exit_code(["slower", "inconclusive"]), exit_code(["inconclusive"])
    (0, 1, 3)
    """
    return 1 if "slower" in verdicts else 3 if "inconclusive" in verdicts else 0
