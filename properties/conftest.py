"""Settings shared by the tests: the profile, and running the command as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DEEP = os.environ.get("SWIN_ORACLE_PROFILE") == "deep"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def deep() -> bool:
    return DEEP


@pytest.fixture
def command(tmp_path: Path) -> Command:
    def run(*words: str, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "swin_properties.cli", *words]
        environment = os.environ | {"COLUMNS": "200"}
        return subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=environment, check=False)

    return run
