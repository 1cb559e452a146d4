"""The C under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from studies import sanitize

SCRIPT = Path(sanitize.__file__)


def test_the_sanitizers_report_nothing(deep: bool) -> None:
    if not deep:
        pytest.skip("this takes minutes: SWIN_ORACLE_PROFILE=deep asks for it, or make sanitize")
    reason = sanitize.lacking()
    if reason is not None:
        pytest.skip(reason)
    run = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-8000:]
