"""Writes a comparison in pytest-benchmark's JSON: the head's times, with the base's in ``extra_info``."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from swin_timing.revisions.comparison import Comparison
from swin_timing.revisions.judging import BASE, HEAD
from swin_timing.revisions.trees import Repository

SCHEMA = "5.2.3"
"""The version of pytest-benchmark whose format this is."""


def make_text(repository: Repository, base: str, head: str | None, cases: Sequence[Comparison]) -> str:
    """Returns the text of the file."""
    run = {
        "machine_info": describe_machine(),
        "commit_info": describe_commit(repository, head),
        "benchmarks": [describe_case(found, repository.find_commit(base)) for found in cases],
        "datetime": datetime.now(UTC).isoformat(),
        "version": SCHEMA,
    }
    return json.dumps(run, indent=2, allow_nan=False) + "\n"


def describe_machine() -> dict[str, Any]:
    """Returns the fields about the machine."""
    return {
        "node": platform.node(),
        "processor": platform.processor(),
        "machine": platform.machine(),
        "python_implementation": platform.python_implementation(),
        "python_version": platform.python_version(),
        "release": platform.release(),
        "system": platform.system(),
        "cpu": {"brand_raw": find_processor_name()},
        "numpy": version("numpy"),
    }


def find_processor_name() -> str:
    """Returns the processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def describe_commit(repository: Repository, head: str | None) -> dict[str, Any]:
    """Returns the fields about the head's commit: for the working tree, the one checked out."""
    found = repository.find_commit(head or "HEAD")
    return {
        "id": found,
        "time": repository.find_time(found),
        "dirty": head is None and repository.is_changed(),
        "project": repository.root.name,
        "branch": head or "",
    }


def describe_case(found: Comparison, base: str) -> dict[str, Any]:
    """Returns the fields of one case."""
    shown = found.shown
    step, _, words = found.case.name.rstrip("]").partition("[")
    return {
        "group": None,
        "name": found.case.name,
        "fullname": f"swin-oracle compare::{found.case.name}",
        "params": {"step": step, "implementation": found.case.implementation},
        "param": words,
        "extra_info": {
            "base": base,
            "base_min": shown.best(BASE),
            "ratio": shown.ratio(HEAD, BASE),
            "verdict": found.verdict,
            "anchor_spread": shown.disturbance,
            "counters": found.counters.get(HEAD, {}),
            "base_counters": found.counters.get(BASE, {}),
        },
        "options": {"timer": "perf_counter", "min_rounds": len(shown.anchor), "warmup": True},
        "stats": compute_statistics(shown.times[HEAD]),
    }


def compute_statistics(times: Sequence[float]) -> dict[str, Any]:
    """Returns pytest-benchmark's statistics of some seconds.

    >>> [compute_statistics([1.0, 2.0, 2.0, 2.0, 3.0])[name] for name in ("median", "outliers")]
    [2.0, '2;2']
    """
    mean, deviation = statistics.fmean(times), statistics.stdev(times)
    q1, median, q3 = statistics.quantiles(times, n=4, method="inclusive")
    iqr = q3 - q1
    inside = [x for x in times if q1 - 1.5 * iqr <= x <= q3 + 1.5 * iqr]
    near = sum(abs(x - mean) <= deviation for x in times)
    far = len(times) - len(inside)
    return {
        "min": min(times),
        "max": max(times),
        "mean": mean,
        "stddev": deviation,
        "rounds": len(times),
        "median": median,
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": far,
        "stddev_outliers": len(times) - near,
        "outliers": f"{len(times) - near};{far}",
        "ld15iqr": min(inside),
        "hd15iqr": max(inside),
        "ops": 1 / mean,
        "total": sum(times),
        "data": list(times),
        "iterations": 1,
    }
