"""The suite: laws that hold any Swin Transformer to the oracle."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swin_properties.adapters.answers import Declined
    from swin_properties.adapters.contract import Swin
    from swin_properties.adapters.given_pairs import pairs
    from swin_properties.adapters.jax import JaxAdapter
    from swin_properties.adapters.keras import KerasAdapter
    from swin_properties.adapters.torch import TorchAdapter
    from swin_properties.api import check
    from swin_properties.judging.report import Counterexample, LawResult, Report
    from swin_properties.laws.version import __version__
    from swin_properties.pytest_laws import parametrize

__all__ = [
    "Counterexample",
    "Declined",
    "JaxAdapter",
    "KerasAdapter",
    "LawResult",
    "Report",
    "Swin",
    "TorchAdapter",
    "__version__",
    "check",
    "pairs",
    "parametrize",
]

_HOMES = {
    "check": "api",
    "parametrize": "pytest_laws",
    "TorchAdapter": "adapters.torch",
    "JaxAdapter": "adapters.jax",
    "KerasAdapter": "adapters.keras",
    "Declined": "adapters.answers",
    "Swin": "adapters.contract",
    "pairs": "adapters.given_pairs",
    "Counterexample": "judging.report",
    "LawResult": "judging.report",
    "Report": "judging.report",
    "__version__": "laws.version",
}


def __getattr__(name: str) -> Any:
    """The public names, each imported when it is first used: the package itself imports nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if not name.endswith("Adapter"):
            raise
        from swin_properties.adapters.on_tensors import explain_missing

        raise ImportError(explain_missing(name, str(error.name))) from error
