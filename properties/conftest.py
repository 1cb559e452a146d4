"""Settings shared by the tests: the profile, and running the command as a user does."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

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


@cache
def _peer_operators() -> Any:
    """torchvision's two operators, declared: where its compiled ones do not load, its import needs them."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


@pytest.fixture
def peer() -> Callable[[str], Any]:
    """A module of a peer by name; the test is skipped where the peer is not installed."""

    def imported(name: str) -> Any:
        package = name.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
        _peer_operators()
        return importlib.import_module(name)

    return imported
