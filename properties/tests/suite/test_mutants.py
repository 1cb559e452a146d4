"""Small edits of the oracle: laws break them, or what they do is explained."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest
from studies.mutants.__main__ import LISTED, compare, main
from studies.mutants.edits import Edit, choose, list_edits
from studies.mutants.judge import Account, judge
from studies.mutants.mutant import Mutant, edit_oracle, read_sources

TINY = """
def gelu(x):
    if x.size > 1000000000:
        return -x
    return 0.5 * x * (1.0 + erf(x / sqrt(2.0))) + 0.0 * len(x.shape)
"""
"""A function in place of the oracle's, with an edit of every kind."""


@pytest.fixture(scope="module")
def accounts() -> dict[str, Account]:
    """What is seen of the edits of the tiny function, by their text."""
    edits = [edit for edit in list_edits("layers.gelu", TINY) if "x.size <" not in edit.after]
    found = judge(edits, {"layers": TINY}, ["mlp/oracle", "mlp/gelu-odd-part"], efforts=("quick", "quick"))
    return {edit.after: account for edit, account in found.items()}


def test_an_edit_of_every_kind_is_named_by_its_kind(accounts: Mapping[str, Account]) -> None:
    kinds = {after: account.kind for after, account in accounts.items()}
    assert kinds["return x"] == "unreachable"
    assert kinds["if x.size >= 1000000000:"] == "equal"
    assert kinds["return 0.5 * x * (1.0 + erf(x / sqrt(2.0))) - 0.0 * len(x.shape)"] == "equal"
    assert kinds["return 0.5 * x * (1.0 - erf(x / sqrt(2.0))) + 0.0 * len(x.shape)"] == "broken"
    assert kinds["return 1.0 * x * (1.0 + erf(x / sqrt(2.0))) + 0.0 * len(x.shape)"] == "broken"


def test_what_no_law_breaks_and_nothing_explains_is_reported() -> None:
    """The law asks only what type a result has: every number may be wrong."""
    every = list_edits("layers.gelu", TINY)
    edits = [edit for edit in every if "- erf" in edit.after or ">= 1" in edit.after]
    found = judge(edits, {"layers": TINY}, ["mlp/dtype"], efforts=("quick", "quick"))
    wrong = {edit: account for edit, account in found.items() if account.kind == "unexplained"}
    assert [edit.after for edit in wrong] == [
        "return 0.5 * x * (1.0 - erf(x / sqrt(2.0))) + 0.0 * len(x.shape)"
    ]
    lines = compare(found, {str(edit): "equal" for edit in edits})
    assert len(lines) == 1
    assert "breaks no law, with rho" in lines[0]
    assert "in mlp/dtype (canonical) on" in lines[0]
    assert lines[0].endswith("write a law")


def test_what_the_list_lacks_or_names_otherwise_is_reported() -> None:
    edit = Edit("layers.gelu", 0, 1, "return x", "return +x")
    equal, rounding = Account(reached=True), Account(reached=True, differs=True, rho=0.05)
    assert compare({edit: equal}, {str(edit): "equal"}) == []
    assert "the list lacks it" in compare({edit: equal}, {})[0]
    assert "the list says equal" in compare({edit: rounding}, {str(edit): "equal"})[0]
    assert "breaks mlp/gelu, the list" in compare({edit: Account("mlp/gelu")}, {str(edit): "equal"})[0]
    assert "at most 10% of the edits only round" in compare({edit: rounding}, {str(edit): "rounding"})[0]


def test_what_only_a_convention_runs_is_asked_under_every_convention() -> None:
    """Under official, a law runs it and compares nothing of it; the last convention's law breaks it."""
    every = edit_oracle(read_sources(), "relative_position.small_window_bias")
    edits = [edit for edit in every if "transpose(2, 1, 0)" in edit.after]
    laws = ["swin_stage/other-sizes", "swin_stage/oracle"]
    (account,) = judge(edits, read_sources(), laws, efforts=("quick", "quick")).values()
    assert account.broken.startswith("swin_stage/oracle (canonical,window=shrink-axis,small_table=first)")


def test_a_mutant_leaves_the_oracle_as_it_is() -> None:
    import swin_reference

    edit = next(edit for edit in list_edits("layers.gelu", TINY) if edit.after == "return x")
    x = np.linspace(-1.0, 1.0, 5)
    before = swin_reference.gelu(x)
    mutant = Mutant(edit, TINY.replace("1000000000", "1"))
    params = {name: {"weight": np.eye(5), "bias": np.zeros(5)} for name in ("fc1", "fc2")}
    np.testing.assert_array_equal(mutant.callables["mlp"](x, params), x)
    assert mutant.reached
    np.testing.assert_array_equal(swin_reference.gelu(x), before)
    np.testing.assert_array_equal(swin_reference.mlp(x, params), before)


def test_a_mutant_that_does_not_end_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    from studies.mutants import judge as judging
    from studies.mutants import watch

    monkeypatch.setattr(watch, "LONGEST", 0.2)
    monkeypatch.setattr(judging, "LONGEST", 0.2)
    loop = "    n = 0\n    while n < 3:\n        n = n + 1\n"
    source = TINY.replace("(x):\n", f"(x):\n{loop}")
    edits = [edit for edit in list_edits("layers.gelu", source) if edit.after == "n = n - 1"]
    found = judge(edits, {"layers": source}, ["mlp/oracle"], efforts=("quick", "quick"))
    assert [account.kind for account in found.values()] == ["broken"]


def test_every_edit_has_a_text_of_its_own_and_no_error_is_edited() -> None:
    edits = edit_oracle(read_sources())
    assert len(edits) > 1000
    assert len({str(edit) for edit in edits}) == len(edits)
    assert not [edit for edit in edits if "raise" in edit.after]
    assert {edit.path for edit in edits} >= {"windows.window_partition", "rules.stage_shift", "sizes.pair"}


def test_a_seed_chooses_the_same_edits_of_those_that_stay() -> None:
    edits = edit_oracle(read_sources(), "windows.")
    few = choose(edits, 20, 0)
    assert len(few) == 20
    assert few == choose(edits, 20, 0) != choose(edits, 20, 1)
    fewer = [edit for edit in edits if edit != few[0]]
    assert set(few[1:]) <= set(choose(fewer, 20, 0))


def test_the_list_names_edits_of_the_oracle_as_it_is_now() -> None:
    listed = json.loads(LISTED.read_text())
    assert set(listed) <= set(map(str, edit_oracle(read_sources()))), "run `make mutants` with --write"
    assert set(listed.values()) <= {"equal", "rounding", "unreachable"}


@pytest.mark.parametrize(
    "words", [["--number", "0"], ["--seed", "-1"], ["--only", "nothing."], ["--processes", "0"]]
)
def test_bad_words_get_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("mutants: ")
    assert said.count("\n") == 1
