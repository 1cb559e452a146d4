"""Computing the kills of named bugs and laws: what is not named stays, rows and entries are in order."""

from __future__ import annotations

import pytest
from studies import kill_matrix
from swin_properties.bugs import GALLERY, kills
from swin_properties.laws.law import LAWS

Computed = dict[str, kills.Kills]


def compute_float64(bugs: list[str], laws: list[str]) -> Computed:
    """Stands for the computation: says that each law named kills the first bug named, in float64 alone."""
    row = {law: ["float64"] for law in laws}
    return {"default": {bug: row if bug == bugs[0] else {} for bug in bugs}}


def test_a_law_that_is_named_is_computed_anew_for_every_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_matrix, "compute_kills", compute_float64)
    before = kills.shipped()["default"]
    law, first, *others = "mlp/gelu", *GALLERY
    found = kill_matrix.compute_named([law])["default"]
    assert found[first] == before[first] | {law: ["float64"]}
    assert any(law in before[name] for name in others)
    for name in others:
        assert found[name] == {one: where for one, where in before[name].items() if one != law}


def test_a_bug_that_is_named_gets_a_row_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_matrix, "compute_kills", compute_float64)
    before = kills.shipped()["default"]
    found = kill_matrix.compute_named(["gelu-tanh"])["default"]
    assert list(found["gelu-tanh"]) == list(LAWS)
    assert {name: row for name, row in found.items() if name != "gelu-tanh"} == {
        name: row for name, row in before.items() if name != "gelu-tanh"
    }


def test_nothing_is_computed_for_a_name_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert kill_matrix.main(["gelu-tanh", "mlp/gelu", "gelu-thin"]) == 2
    assert capsys.readouterr().err == "kill-matrix: a planted bug or a law is named, got gelu-thin\n"
