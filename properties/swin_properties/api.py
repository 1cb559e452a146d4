"""Judging from Python: an import string or an object in, a `Report` out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swin_properties import implementations, trial
from swin_properties.report import Report


def court(
    implementation: Any,
    only: str | None,
    dtype: str | None,
    seed: int,
    effort: str,
    require: Iterable[str],
    convention: str | None,
) -> tuple[trial.Request, trial.Direct]:
    """The request that these words make, and the implementation loaded to be asked."""
    name = implementations.name_of(implementation)
    request = trial.requested(name, only, dtype, seed, effort, require, convention=convention)
    return request, trial.Direct(request, implementations.judged(implementation, dtype, convention))


def check(
    implementation: Any,
    *,
    only: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    effort: str = "default",
    require: Iterable[str] = (),
    convention: str | None = None,
) -> Report:
    """Judges an implementation, an import string or an object, by the laws; needs no pytest.

    Errors: ``ValueError`` in one sentence for an implementation that does not load or words that are wrong.

    >>> check("swin_reference", only="layer_norm/eps", effort="quick").exit_code
    0
    """
    request, direct = court(implementation, only, dtype, seed, effort, require, convention)
    return trial.run(request, direct, trial.Watcher())
