"""Drawing cases: the same from the same seed, whatever Hypothesis profile is loaded around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.strategies import SearchStrategy


def draw_each(
    strategy: SearchStrategy[Any], ask: Callable[[Any], None], number: int, seed: int, shrink: bool = True
) -> None:
    """Asks ``number`` cases of a strategy; where ``ask`` raises, it is asked ever smaller ones that raise."""
    settings = hypothesis.settings(
        max_examples=number,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.normal,
        backend="hypothesis",
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    hypothesis.seed(seed)(settings(hypothesis.given(strategy)(ask)))()
