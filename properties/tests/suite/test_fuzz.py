"""Damaged and odd inputs by seed: those that once were faults, and a few of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import fuzz, fuzz_inputs

pytest.importorskip("torch", reason="torch is not installed")

ONCE_FAULTS = [
    ("case", 1),  # an escape of a terminal in a sentence
    ("list_of_known_failures", 150),  # a long sentence
    ("list_of_known_failures", 187),
    ("list_of_known_failures", 397),
    ("list_of_known_failures", 489),  # 100 000 nested levels
    ("list_of_known_failures", 607),
    ("configuration", 331),  # a long name of a convention
    ("case", 26),  # 400 digits in a sentence
    ("expression", 0),  # nested 20 000 deep
    ("expression", 40),  # 100 000 characters in a sentence
    ("start_reply", 176),  # a long sentence
    ("start_reply", 183),
    ("reply", 179),
    ("reply", 242),  # no reason given
]
"""Inputs that were a traceback, a silent pass, a hang or a bad sentence when `make fuzz` first met them."""


@pytest.mark.parametrize(("kind", "number"), ONCE_FAULTS)
def test_what_once_was_a_fault(kind: str, number: int) -> None:
    assert fuzz.read_one((kind, number)).verdict in ("refused", "taken")


@pytest.mark.parametrize("kind", fuzz_inputs.KINDS)
def test_a_few_inputs_of_every_kind(kind: str) -> None:
    numbers = range(8 if kind == "command_line" else 25)
    before = sorted(Path().iterdir())
    found = {number: fuzz.read_one((kind, number)) for number in numbers}
    assert {n: one for n, one in found.items() if one.verdict not in ("refused", "taken")} == {}
    assert any(one.verdict == "refused" for one in found.values())
    assert sorted(Path().iterdir()) == before


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def read(reason: BaseException | None) -> object:
        if reason is not None:
            raise reason
        return "damaged"

    for reason, verdict in (
        (KeyError("x"), "traceback"),
        (SystemExit(0), "traceback"),
        (ValueError("a\nb"), "sentence"),
        (ValueError("x" * 301), "sentence"),
        (ValueError("a file is whole"), "refused"),
        (None, "silent pass"),
    ):
        made = fuzz_inputs.Input(lambda reason=reason: read(reason), lambda _: False)  # type: ignore[misc]
        monkeypatch.setitem(fuzz_inputs.KINDS, "image", lambda *_, made=made: made)
        assert fuzz.read_one(("image", 0)).verdict == verdict
    monkeypatch.undo()
    assert fuzz.main(["--count", "2", "--kind", "image", "--jobs", "1"]) == 0
    assert "2 inputs, 0 faults" in capsys.readouterr().out
