"""Reads what the system tells: how busy all cores are, and how much memory this process has held."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np


def read_core_seconds() -> tuple[float, float]:
    """Returns the idle seconds of all cores and all their seconds since the start; zeros where unknown."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0, 0.0
    ticks = np.array(words, dtype=float) / os.sysconf("SC_CLK_TCK")
    return float(ticks[3] + ticks[4]), float(ticks.sum())  # the fourth is idle, the fifth waits for a disk


def compute_other_work(before: tuple[float, float], after: tuple[float, float], ours: float) -> float:
    """Returns the share of all cores' seconds between two readings that was neither idle nor ours.

    >>> compute_other_work((1.0, 10.0), (2.0, 14.0), ours=1.0)
    0.5
    >>> compute_other_work((0.0, 0.0), (0.0, 0.0), ours=1.0)
    0.0
    """
    idle, passed = np.subtract(after, before)
    return float(max(0.0, 1 - (idle + ours) / passed)) if passed else 0.0


def read_peak_bytes() -> int:
    """Returns the most memory that this process has held until now.

    >>> read_peak_bytes() > 0
    True
    """
    import resource  # here, for Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
