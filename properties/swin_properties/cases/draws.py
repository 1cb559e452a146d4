"""Drawing cases: the same from the same seed, whatever Hypothesis profile is loaded around them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.strategies import SearchStrategy


def draw_each(
    strategy: SearchStrategy[Any], ask: Callable[[Any], None], number: int, seed: int, shrink: bool = True
) -> None:
    """Asks ``number`` cases of a strategy; where ``ask`` raises, it is asked ever smaller ones that raise.

    Hypothesis seeds `random` and NumPy's generator before each case.  ``ask`` does not see that: these go on
    where the last case left them, so that an implementation that uses them shows that it does.
    """
    left = random.getstate(), np.random.get_state()

    def ask_as_before(case: Any) -> None:
        nonlocal left
        seeded = random.getstate(), np.random.get_state()
        random.setstate(left[0]), np.random.set_state(left[1])
        try:
            ask(case)
        finally:
            left = random.getstate(), np.random.get_state()
            random.setstate(seeded[0]), np.random.set_state(seeded[1])

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
    try:
        hypothesis.seed(seed)(settings(hypothesis.given(strategy)(ask_as_before)))()
    finally:
        random.setstate(left[0]), np.random.set_state(left[1])
