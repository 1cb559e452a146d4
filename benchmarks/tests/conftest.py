"""Which cases a run takes, and what is written beside their times."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.machine.description import described


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "bench: a case that `make bench` times")
    config.addinivalue_line("markers", "heavy: a case that `make bench-heavy` times")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where nothing is timed, the small cases are enough: they are judged."""
    if not config.getoption("benchmark_disable") or config.getoption("benchmark_enable"):
        return
    timed = [item for item in items if item.get_closest_marker("bench") or item.get_closest_marker("heavy")]
    config.hook.pytest_deselected(items=timed)
    items[:] = [item for item in items if item not in timed]


def pytest_sessionstart(session: pytest.Session) -> None:
    """The machine and the commit are those of the start, whatever happens to them meanwhile."""
    if session.config.getoption("benchmark_enable"):
        described()


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """What the times are to be read with."""
    machine_info["swin_oracle"] = described()
