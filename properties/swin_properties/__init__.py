"""The suite: laws that hold any Swin Transformer to the oracle."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swin_properties.api import check
    from swin_properties.pytest_laws import parametrize
    from swin_properties.report import Counterexample, LawResult, Report

__version__ = "0.1.0"
__all__ = ["Counterexample", "LawResult", "Report", "__version__", "check", "parametrize"]

_HOMES = {
    "check": "api",
    "parametrize": "pytest_laws",
    "Counterexample": "report",
    "LawResult": "report",
    "Report": "report",
}


def __getattr__(name: str) -> Any:
    """The public names, each imported when it is first used: the package itself imports nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
