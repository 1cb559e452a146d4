"""The first minute: what one start measures, and which goals its figures reach."""

from __future__ import annotations

import pytest

from benchmarks.standing.first_minute import measuring
from benchmarks.standing.first_minute.__main__ import main
from benchmarks.standing.first_minute.measuring import COLD, STEPS, WARM

STEADY = dict.fromkeys(STEPS, 1.0)


def test_a_start_measures_every_step() -> None:
    starts = measuring.measure_starts([WARM], rounds=1)
    assert set(starts[WARM][0]) == set(STEPS)
    assert min(starts[WARM][0].values()) > 0


def test_a_contestant_that_does_not_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "WARM", "nobody")
    with pytest.raises(ValueError, match="nobody starts and computes an image, it ended with 1: KeyError"):
        measuring.measure_starts(["nobody"], rounds=1)


@pytest.mark.parametrize("words", [["0"], ["many"], ["-1"], ["1", "2"]])
def test_rounds_that_are_no_number_are_one_sentence(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("first minute: ROUNDS is one number from 1, got")


@pytest.mark.parametrize(
    ("name", "step", "value", "missed"),
    [
        (COLD, "first image", 11.0, "the first image with compilation"),
        (WARM, "first image", 1.6, "without compilation the first image"),
        (WARM, "an image", 1.2, "an image at 224"),
        (WARM, "memory, training", 1.1, "no more memory than the leanest peer (training)"),
    ],
)
def test_each_goal_is_missed_by_what_it_is_about(name: str, step: str, value: float, missed: str) -> None:
    least = {COLD: STEADY, WARM: STEADY, "timm": STEADY | {"an image": 1.4}}
    assert [one.what for one in measuring.list_goals(least) if not one.reached] == []
    worse = least | {name: least[name] | {step: value}}
    assert [one.what for one in measuring.list_goals(worse) if not one.reached] == [
        one.what for one in measuring.list_goals(least) if one.what.startswith(missed)
    ]
