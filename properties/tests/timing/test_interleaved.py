"""Interleaved measurement: exact on given times, and on a clock of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from time import perf_counter

import pytest
from swin_timing.interleaved import (
    Run,
    Sample,
    Timings,
    make_anchor,
    make_sample,
    measure,
    measure_interleaved,
    rotate,
    stay_on_one_core,
)
from swin_timing.machine_load import read_core_seconds


@pytest.fixture(autouse=True)
def nothing_else_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given times are judged, not what runs beside the test."""
    monkeypatch.setattr("swin_timing.interleaved.read_core_seconds", lambda: (0.0, 0.0))


def test_every_round_takes_the_anchor_then_each_name_in_rotated_order() -> None:
    seen: list[str] = []
    ticks = count(1)

    def sample(name: str) -> Sample:
        return lambda: (seen.append(name), float(next(ticks)))[1]  # type: ignore[func-returns-value]

    anchor = sample("anchor")
    found = measure_interleaved([{name: sample(name) for name in "abc"}], lambda: (anchor(), 0.5))
    assert seen[:12] == ["anchor", *"abc", "anchor", *"bca", "anchor", *"cab"]
    assert len(seen) == 15 * 4
    assert found.anchor == tuple(float(4 * turn + 1) for turn in range(15))
    assert found.anchor_on_cpu == (0.5,) * 15
    assert found.times["a"][:3] == (2.0, 8.0, 11.0)


def test_other_work_tells_that_the_machine_was_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = iter([(4.0, 100.0), (4.0 + 2.9, 104.0)])  # the seconds that it was idle, and all seconds
    monkeypatch.setattr("swin_timing.interleaved.read_core_seconds", lambda: next(machine))
    ours = iter([7.0, 7.1])
    found = measure_interleaved([{"a": lambda: 1.0}], lambda: (1.0, 1.0), clock=ours.__next__)
    assert found.other_work == pytest.approx(0.25)  # of 4 seconds 2.9 idle, 0.1 ours
    assert found.disturbed is (found.other_work > 0.25)
    assert Timings({}, (1.0,), other_work=0.26).disturbed


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system has no /proc/stat")
def test_the_machine_s_seconds_pass() -> None:
    before, start = read_core_seconds(), perf_counter()
    while perf_counter() - start < 0.5:
        pass
    idle, all_of_them = (now - then for now, then in zip(read_core_seconds(), before, strict=True))
    assert 0 <= idle <= all_of_them - 0.4  # one core was busy
    assert all_of_them == pytest.approx(0.5 * (os.cpu_count() or 1), rel=0.2)


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_over_as_many_rounds_as_names_each_comes_in_each_place_once(names: list[str]) -> None:
    orders = [rotate(names, turn) for turn in range(len(names))]
    for place in zip(*orders, strict=True):
        assert sorted(place) == names


def test_the_ratio_is_of_minima_whatever_else_happened() -> None:
    found = Timings({"base": (2.0, 9.0, 5.0), "head": (7.0, 3.0, 40.0)}, (1.0, 1.0, 1.0))
    assert found.ratio("head", "base") == 1.5
    assert found.spread("head") == 40 / 3 - 1


@pytest.mark.parametrize(("slowest", "disturbed"), [(1.25, False), (1.2500001, True)])
def test_the_anchor_alone_tells_that_the_machine_was_disturbed(slowest: float, disturbed: bool) -> None:
    found = Timings({"base": (1.0, 100.0)}, (1.0, slowest))
    assert found.disturbance == slowest - 1
    assert found.disturbed is disturbed


def test_an_anchor_that_waited_in_every_round_alike_tells_it() -> None:
    found = Timings({}, (1.5,) * 15, (1.0,) * 15)
    assert found.disturbance == 0.5
    assert found.disturbed


def test_it_goes_on_until_as_many_rounds_were_quiet() -> None:
    turns = count()
    slow = {0: 1.3, 3: 1.3, 9: 1.25}

    def anchor() -> tuple[float, float]:
        return slow.get(turn := next(turns), 1.0), float(turn >= 0)

    found = measure_interleaved([{"a": count(1.0).__next__}], anchor, 15, patience=3)
    assert found.times["a"] == tuple(float(turn + 1) for turn in range(17) if turn not in {0, 3})
    assert not found.disturbed
    assert next(turns) == 17


@pytest.mark.parametrize(("patience", "taken"), [(2, 15), (3, 45)])
def test_it_gives_up_in_the_end_or_when_the_end_is_plain(patience: int, taken: int) -> None:
    turns = count()

    def anchor() -> tuple[float, float]:
        return (1.0 if (turn := next(turns)) % 3 == 0 and turn < 40 else 2.0), 1.0

    found = measure_interleaved([{"a": lambda: 1.0}], anchor, 15, patience)
    assert found.disturbed
    assert len(found.anchor) == taken
    assert next(turns) == taken


def test_groups_take_turns_and_each_has_its_quiet_rounds() -> None:
    turns = count()

    def anchor() -> tuple[float, float]:
        return 1.3 if next(turns) in {1, 3, 6} else 1.0, 1.0

    groups = [{"a": count(10 * group).__next__, "b": lambda: 2.0} for group in range(3)]
    found = measure_interleaved(groups, anchor, 15, patience=2)
    assert next(turns) == 3 * 16 + 1  # the first group lacks the most
    kept = [*({*range(17)} - {1, 2}), *range(11, 26), *range(20, 36)]
    assert sorted(found.times["a"]) == sorted(float(x) for x in kept)


def test_a_round_keeps_the_least_of_its_turns() -> None:
    seen: list[str] = []
    clock = {"a": count(5.0, -1.0), "b": count(100.0)}

    def sample(name: str) -> Sample:
        return lambda: (seen.append(name), next(clock[name]))[1]  # type: ignore[func-returns-value]

    found = measure_interleaved([{name: sample(name) for name in "ab"}], lambda: (1.0, 1.0), turns=3)
    assert seen[:12] == [*"abbaab", *"baabba"]
    assert found.times["a"][:2] == (3.0, 0.0)
    assert found.times["b"][:2] == (100.0, 103.0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity of processes")
def test_what_is_measured_stays_on_one_core() -> None:
    before = os.sched_getaffinity(0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        with stay_on_one_core([other.pid]):
            assert len(os.sched_getaffinity(0)) == 1
            assert os.sched_getaffinity(other.pid) == os.sched_getaffinity(0)
        other.communicate(b"\n")
    assert os.sched_getaffinity(0) == before


def test_repeated_runs_give_the_seconds_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 16.0])
    monkeypatch.setattr("swin_timing.interleaved.perf_counter", lambda: next(clock))
    ran: list[int] = []
    assert make_sample(lambda: ran.append(1), 3)() == 2.0
    assert len(ran) == 3


def test_a_sample_waits_once_within_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = [0.0], []
    monkeypatch.setattr("swin_timing.interleaved.perf_counter", lambda: now[0])

    def wait() -> None:
        waits.append(1)
        now[0] += 6.0

    assert make_sample(lambda: None, 3, wait)() == 2.0
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("runs", "rounds", "words"), [({"a": int}, 14, "got 14: ask for 15"), ({}, 15, "at least one run")]
)
def test_what_cannot_be_measured_is_refused(runs: dict[str, Run], rounds: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure(runs, rounds)


def test_an_anchor_takes_2_to_50_ms_at_its_best() -> None:
    sample = make_anchor()
    passed, on_cpu = zip(*(sample() for _ in range(10)), strict=True)
    assert 2e-3 < min(on_cpu) <= min(passed)
    assert min(on_cpu) < 50e-3
