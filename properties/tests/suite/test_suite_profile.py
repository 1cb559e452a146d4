"""The profile of a check: each second belongs to one phase of one law."""

from __future__ import annotations

import time

import pytest
from studies import suite_profile
from studies.suite_profile import ASKED, COMPARING, DRAWING, EXACT, PERTURBED


def test_every_phase_of_a_law_is_seen_and_nothing_is_counted_twice() -> None:
    begun = time.perf_counter()
    clock = suite_profile.measure_check("swin_torch", "quick", "mlp/oracle")
    passed = time.perf_counter() - begun
    of_law = {phase: seconds for (law, phase), seconds in clock.seconds.items() if law == "mlp/oracle"}
    assert set(of_law) == {DRAWING, EXACT, PERTURBED, ASKED, COMPARING}
    assert min(of_law.values()) > 0
    assert clock.sum_law("mlp/oracle") < sum(clock.seconds.values()) < passed


def test_what_is_not_judged_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert suite_profile.main(["no_such_module", "--only", "mlp/oracle"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("suite_profile: an implementation is importable, no_such_module raised")
    assert said.count("\n") == 1


def test_the_phase_that_called_stops_meanwhile() -> None:
    clock = suite_profile.Clock()
    with clock.run(PERTURBED):
        time.sleep(0.02)
        clock.measure(EXACT, time.sleep)(0.05)
    assert 0.02 <= clock.seconds["", PERTURBED] < 0.05 <= clock.seconds["", EXACT]
