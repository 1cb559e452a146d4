"""The types shared by the oracle's signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Params = Mapping[str, Any]
"""Parameters: a nested dict with the official checkpoint's names; numbered levels are lists."""
