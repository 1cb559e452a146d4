"""Runs the parts in order, each in a process of its own with a share of the time.

A part that crashes, hangs or breaks its GPU context does not affect the others, and its file has what it
found until then.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from benchmarks.gpu import record
from benchmarks.gpu.clock import Deadline
from benchmarks.machine.checkout import ROOT, find_package_folders

SHARES = {"here": 2, "ceilings": 2, "laws": 8, "search": 7, "goals": 15, "counts": 2}
"""The parts in order, each with its share of the time that is left."""

FIRST_FILE = 50.0
"""The most seconds of the first part, so that its file is there within a minute."""

GRACE = 4.0
"""The last seconds of a part's share, in which it ends by itself before it is killed."""

LEAST = 5.0
"""A part that has fewer seconds is not started."""


def run(
    folder: Path,
    minutes: float,
    now: Callable[[], float] = monotonic,
    start: Callable[..., str] | None = None,
) -> list[str]:
    """Runs every part within ``minutes``, and returns the parts that did not finish.

    ``now`` is the clock.  ``start(name, folder, seconds)`` runs a part and returns why it did not finish,
    empty if it did.
    """
    deadline, unfinished = Deadline.within(60 * minutes, now), []
    for number, part in enumerate(SHARES):
        seconds = compute_share(part, list(SHARES)[number:], deadline.left())
        if seconds < LEAST:
            reason = f"no time was left: {max(0.0, deadline.left()):.0f} s of {minutes:g} minutes"
            record.end(folder, part, reason)
        else:
            print(f"{part}: at most {seconds:.0f} s", flush=True)
            reason = (start or start_part)(part, folder, seconds)
            if reason:
                record.end(folder, part, reason)
        if reason:
            print(f"{part}: did not finish: {reason}", flush=True)
            unfinished.append(part)
    return unfinished


def compute_share(part: str, remaining: list[str], left: float) -> float:
    """Returns how many of the seconds that are left a part may take.

    >>> round(compute_share("here", list(SHARES), 480.0), 2), compute_share("counts", ["counts"], 31.0)
    (26.67, 31.0)
    """
    seconds = left * SHARES[part] / sum(SHARES[name] for name in remaining)
    return min(seconds, FIRST_FILE) if part == next(iter(SHARES)) else seconds


def start_part(part: str, folder: Path, seconds: float) -> str:
    """Runs a part in a process of its own; returns why it did not finish, empty if it did.

    The process and all that it started are killed when its time is over or this process ends.
    """
    path = os.pathsep.join([*find_package_folders(), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    if has_no_gpu(folder):
        environment["TRITON_INTERPRET"] = "1"
    words = [
        sys.executable,
        "-m",
        "benchmarks.gpu.part",
        part,
        str(folder.resolve()),
        f"{seconds - GRACE:.1f}",
    ]
    process = subprocess.Popen(words, cwd=ROOT, env=environment, process_group=0)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"it was killed after {seconds:.0f} s"
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return "" if code == 0 else describe_end(code)


def has_no_gpu(folder: Path) -> bool:
    """Returns whether the first part found no GPU; False as long as it has not looked."""
    path = record.find_path(folder, "here")
    return path.exists() and record.read(path)["found"].get("card", "") is None


def describe_end(code: int) -> str:
    """Returns in words how a process ended.

    >>> describe_end(-11), describe_end(1)
    ('it was ended by signal 11 (Segmentation fault)', 'it ended with exit code 1')
    """
    if code < 0:
        return f"it was ended by signal {-code} ({signal.strsignal(-code)})"
    return f"it ended with exit code {code}"
