"""Chooses the cases of a run, and adds the machine to their times."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.machine.description import describe


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "bench: a case that `make bench` times")
    config.addinivalue_line("markers", "heavy: a case that `make bench-heavy` times")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps only the small cases, which are judged, where nothing is timed."""
    if not config.getoption("benchmark_disable") or config.getoption("benchmark_enable"):
        return
    timed = [item for item in items if item.get_closest_marker("bench") or item.get_closest_marker("heavy")]
    config.hook.pytest_deselected(items=timed)
    items[:] = [item for item in items if item not in timed]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Describes the machine and the commit at the start: they may change meanwhile."""
    if session.config.getoption("benchmark_enable"):
        describe()


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Adds what the times depend on."""
    machine_info["swin_oracle"] = describe()
