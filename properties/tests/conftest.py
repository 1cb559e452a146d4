"""Settings shared by the tests: the profile, and running the command as a user does."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Tests run side by side, one on each core: a second thread in each would wait more than it works.
# Set here, before PyTorch is imported; commands that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Keras asks for TensorFlow unless it is told another backend.
os.environ.setdefault("KERAS_BACKEND", "torch")

# A shell ignores these for what it starts in the background, and commands that tests start would inherit it.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

collect_ignore_glob = ["suite/wild/*", "suite/copies/*"]  # what test_wild and test_copies load

DEEP = os.environ.get("SWIN_ORACLE_PROFILE") == "deep"
heavy = pytest.mark.skipif(not DEEP, reason="the profile deep is not asked for: it takes long")
"""Marks a test, or one of its parameters, that only the profile deep asks."""

Command = Callable[..., subprocess.CompletedProcess[str]]


def hot(model: Any) -> Any:
    """Returns an nn.Module with random weights, large enough that a wrong one shows, whatever their names."""
    import torch  # a test without torch imports this file too

    generator = torch.Generator().manual_seed(0)
    model = model.double().eval()
    with torch.no_grad():
        for x in model.parameters():
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
            x.copy_(noise / x[0].numel() ** 0.5 if x.ndim > 1 else 0.5 * noise + 1.0)
    return model


@pytest.fixture(scope="session")
def deep() -> bool:
    return DEEP


@pytest.fixture
def command(tmp_path: Path) -> Command:
    def run(*words: str, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "swin_properties.commands.cli", *words]
        environment = os.environ | {"COLUMNS": "200"}
        return subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=environment, check=False)

    return run


@pytest.fixture
def peer() -> Callable[[str], Any]:
    """A module of a peer by name; the test is skipped where the peer is not installed."""

    def imported(name: str) -> Any:
        package = name.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
        from swin_properties.adapters.peers.base import vision_operators  # needs torch

        vision_operators()
        return importlib.import_module(name)

    return imported


@pytest.fixture
def compiler() -> None:
    """The test is skipped where there is no C compiler."""
    from swin_torch.backends.c import building  # needs torch

    if building._find_compiler() is None:
        pytest.skip("there is no C compiler")
