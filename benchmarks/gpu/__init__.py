"""All that is measured on a GPU, in one command: ``python3 -m benchmarks.gpu --out DIR``."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""


def folders() -> list[str]:
    """Returns the checkout's folders that hold packages: a GPU machine has them not installed.

    >>> [Path(folder).name for folder in folders()][0]
    'reference'
    """
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return [str(folder) for folder in dict.fromkeys((ROOT / package).parent for package in packages)]


sys.path += [folder for folder in folders() if folder not in sys.path]
