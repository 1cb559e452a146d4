"""Interleaved measurement: exact on given times, and on a clock of its own."""

from __future__ import annotations

from itertools import count

import pytest
from swin_properties import paired
from swin_properties.paired import Paired, anchor, interleaved, measured, rotated, timed


def test_every_round_takes_the_anchor_then_each_name_in_rotated_order() -> None:
    seen: list[str] = []
    ticks = count(1)

    def sample(name: str) -> paired.Sample:
        return lambda: (seen.append(name), float(next(ticks)))[1]  # type: ignore[func-returns-value]

    anchor = sample("anchor")
    found = interleaved({name: sample(name) for name in "abc"}, lambda: (anchor(), 0.5))
    assert seen[:12] == ["anchor", *"abc", "anchor", *"bca", "anchor", *"cab"]
    assert len(seen) == 15 * 4
    assert found.anchor == tuple(float(4 * turn + 1) for turn in range(15))
    assert found.anchor_on_cpu == (0.5,) * 15
    assert found.times["a"][:3] == (2.0, 8.0, 11.0)


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_over_as_many_rounds_as_names_each_comes_in_each_place_once(names: list[str]) -> None:
    orders = [rotated(names, turn) for turn in range(len(names))]
    for place in zip(*orders, strict=True):
        assert sorted(place) == names


def test_the_ratio_is_of_minima_whatever_else_happened() -> None:
    found = Paired({"base": (2.0, 9.0, 5.0), "head": (7.0, 3.0, 40.0)}, (1.0, 1.0, 1.0))
    assert found.ratio("head", "base") == 1.5
    assert found.spread("head") == 40 / 3 - 1


@pytest.mark.parametrize(("slowest", "disturbed"), [(1.25, False), (1.2500001, True)])
def test_the_anchor_alone_tells_that_the_machine_was_disturbed(slowest: float, disturbed: bool) -> None:
    found = Paired({"base": (1.0, 100.0)}, (1.0, slowest))
    assert found.disturbance == slowest - 1
    assert found.disturbed is disturbed


def test_an_anchor_that_waited_in_every_round_alike_tells_it() -> None:
    found = Paired({}, (1.5,) * 15, (1.0,) * 15)
    assert found.disturbance == 0.5
    assert found.disturbed


def test_it_goes_on_until_as_many_rounds_in_a_row_were_quiet() -> None:
    turns = count()
    slow = {0: 1.3, 3: 1.3, 9: 1.25}

    def anchor() -> tuple[float, float]:
        return slow.get(turn := next(turns), 1.0), float(turn >= 0)

    found = interleaved({"a": count(1.0).__next__}, anchor, 15, patience=3)
    assert found.times["a"] == tuple(float(turn) for turn in range(5, 20))
    assert not found.disturbed
    assert next(turns) == 19


def test_in_the_end_it_gives_up() -> None:
    turns = count()
    found = interleaved({"a": lambda: 1.0}, lambda: (1.0 + next(turns) % 2, 1.0), 15, patience=2)
    assert found.disturbed
    assert len(found.anchor) == 15
    assert next(turns) == 30


def test_repeated_runs_give_the_seconds_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 16.0])
    monkeypatch.setattr(paired, "perf_counter", lambda: next(clock))
    ran: list[int] = []
    assert timed(lambda: ran.append(1), 3)() == 2.0
    assert len(ran) == 3


def test_a_sample_waits_once_within_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = [0.0], []
    monkeypatch.setattr(paired, "perf_counter", lambda: now[0])

    def wait() -> None:
        waits.append(1)
        now[0] += 6.0

    assert timed(lambda: None, 3, wait)() == 2.0
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("runs", "rounds", "words"), [({"a": int}, 14, "got 14: ask for 15"), ({}, 15, "at least one run")]
)
def test_what_cannot_be_measured_is_refused(runs: dict[str, paired.Run], rounds: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measured(runs, rounds)


def test_an_anchor_takes_2_to_50_ms_at_its_best() -> None:
    sample = anchor()
    passed, on_cpu = zip(*(sample() for _ in range(10)), strict=True)
    assert 2e-3 < min(on_cpu) <= min(passed)
    assert min(on_cpu) < 50e-3
