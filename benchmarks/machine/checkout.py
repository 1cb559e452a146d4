"""Finds the checkout, the folders of its packages and its commit, with the standard library alone."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the checkout."""


def find_package_folders() -> list[str]:
    """Returns the checkout's folders that hold packages; a GPU machine does not have them installed.

    >>> [Path(folder).name for folder in find_package_folders()][0]
    'reference'
    """
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return [str(folder) for folder in dict.fromkeys((ROOT / package).parent for package in packages)]


def find_commit() -> str:
    """Returns the checkout's commit, with a plus where files differ from it; "unknown" without git."""
    words = ["git", "describe", "--always", "--exclude=*", "--dirty=+", "--abbrev=10"]
    try:
        done: Any = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return str(done.stdout.strip())
