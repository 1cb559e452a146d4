"""Planted bugs: each is killed, each law kills, and broken laws are explained by the bug that broke them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import swin_reference
from swin_properties.adapters.answers import BadAnswer, Raised
from swin_properties.adapters.contract import CONTRACT
from swin_properties.budget.precision import PRECISIONS
from swin_properties.bugs import GALLERY, Bug, kills, oracle_copy, touched
from swin_properties.bugs.causes import predicates
from swin_properties.bugs.causes.components import list_used
from swin_properties.cases.case import Case, GridCase, NetCase, ScheduleCase
from swin_properties.cases.case_v2 import with_v2
from swin_properties.laws import choosing
from swin_properties.laws.law import LAWS

LAWS_ASKED = [law.name for law in choosing.choose_laws()]

SMALL = {
    "relative_position_index",
    "relative_position_bias",
    "window_attention",
    "layer_norm",
    "mlp",
    "patch_embed",
    "patch_merging",
}
"""Callables whose laws are cheap to ask."""


def test_the_gallery_is_large_and_every_bug_is_described() -> None:
    assert len(GALLERY) >= 45
    for bug in GALLERY.values():
        for text in (bug.wrong, bug.effect, bug.seen):
            assert text.endswith("."), (bug.name, text)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_every_bug_is_killed_and_every_law_kills(precision: str) -> None:
    table = kills.at_precision(kills.shipped()["default"], precision)
    assert list(table) == list(GALLERY), "run `make kill-matrix`: the gallery has changed"
    assert [bug for bug, laws in table.items() if not laws] == []
    killing = {law for laws in table.values() for law in laws}
    forward = [name for name in LAWS_ASKED if "vjp" not in LAWS[name].needs]  # the others: test_gradients
    assert [name for name in forward if name not in killing] == []


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_committed_kills_are_those_computed_now(precision: str, deep: bool) -> None:
    """Bugs of every kind, of the small callables' laws; the profile deep asks for all, in every precision."""
    few = (
        "index-stride",
        "gelu-tanh",
        "merge-columns-first",
        "patch-bgr",
        "mask-repeated",
        "results-promoted",
    )
    if not deep and precision != "float32":
        pytest.skip("the profile deep is not asked for: every bug in every precision")
    laws = [law for name, law in LAWS.items() if deep or name.partition("/")[0] in SMALL]
    asked = {law.name for law in laws}
    committed = kills.at_precision(kills.shipped()["default"], precision)
    for name in GALLERY if deep else few:
        computed = kills.laws_that_kill(GALLERY[name], laws, PRECISIONS[precision], "default")
        assert computed == [law for law in committed[name] if law in asked], name


KILLS = kills.at_precision(kills.shipped()["default"], "float32")


def list_contradicted(bugs: Iterable[Bug], number: int | None) -> dict[str, list[Case]]:
    """Returns for each bug the cases on which it does not do what it states."""
    found = {}
    for bug in bugs:
        law = predicates.find_law(bug, KILLS[bug.name])
        cases = kills.cases(law, "quick" if number else "default", 0)[:number]
        wrong = kills.planted(bug, PRECISIONS["float32"])
        asked = [(case, kills.breaks(law, wrong, case)) for case in cases]
        if contradictions := predicates.list_contradictions(bug, asked):
            found[bug.name] = contradictions
    return found


def test_every_bug_differs_from_the_oracle_where_it_states_so(deep: bool) -> None:
    """Some cases of each bug's law; the profile deep asks all of default effort."""
    assert list_contradicted(GALLERY.values(), None if deep else 12) == {}


@pytest.mark.parametrize("words", [("no shift",), ("a shift", "several images")])
def test_a_predicate_that_is_not_true_of_the_bug_is_found(words: tuple[str, ...]) -> None:
    wrong = replace(GALLERY["mask-dropped"], differs_when=words)
    assert list(list_contradicted([wrong], 12)) == ["mask-dropped"]


def test_every_bug_states_the_component_that_is_wrong_first() -> None:
    """A law of it kills the bug, and no law of what it uses does; it reaches what the bug replaces."""
    for bug in GALLERY.values():
        killed = {need.partition(".")[0] for law in KILLS[bug.name] for need in LAWS[law].needs}
        for component in bug.component:
            assert component in touched(bug.name), bug.name
            assert component in killed or bug.name == "position-embedding-any-grid", bug.name
            alone = {
                need.partition(".")[0]
                for law in KILLS[bug.name]
                if len({need.partition(".")[0] for need in LAWS[law].needs}) == 1
                for need in LAWS[law].needs
            }
            assert not list_used(component) & alone, bug.name


def test_replacing_reaches_names_that_other_modules_imported() -> None:
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    swapped = GALLERY["roll-sign"].implementation()
    np.testing.assert_array_equal(swapped.cyclic_shift(x, 1), swin_reference.reverse_cyclic_shift(x, 1))
    np.testing.assert_array_equal(swapped.reverse_cyclic_shift(x, 1), swin_reference.cyclic_shift(x, 1))
    modules = oracle_copy.copy_modules()
    oracle_copy.replace(modules, {"windows.cyclic_shift": lambda x, _: x})
    assert modules["shifted_windows"].cyclic_shift is modules["windows"].cyclic_shift
    assert swin_reference.cyclic_shift(x, 1)[0, 0, 0, 0] == 5
    with pytest.raises(LookupError, match="the oracle has no windows"):
        oracle_copy.replace(modules, {"windows.cyclic_shaft": lambda x: x})


def test_what_a_pass_would_have_caught_depends_on_what_is_offered() -> None:
    names = [name for name in LAWS if name.startswith("mlp/")]
    caught, missed = kills.caught(names, ["mlp"], "float32", "default")
    assert "gelu-tanh" in caught
    assert not missed
    caught, missed = kills.caught(["mlp/gelu-odd-part"], ["mlp"], "float32", "default")
    assert "gelu-tanh" in missed, "x = gelu(x) - gelu(-x) holds for both forms"


USUAL = with_v2(
    {
        GridCase: GridCase(batch=2, grid=(6, 9), window=(2, 3), shift=(1, 1), heads=2, head_dim=3),
        NetCase: NetCase(
            image=(12, 12), patch=(2, 2), window=(3, 2), depths=(2, 1), heads=(1, 2), embed_dim=4, classes=3
        ),
        ScheduleCase: ScheduleCase(depths=(2, 1)),
    }
)


@pytest.mark.parametrize("name", [name for name in GALLERY if name != "results-promoted"])
def test_a_planted_bug_answers_wrongly_and_does_not_raise(name: str) -> None:
    """A bug that raises breaks every law: that would prove nothing of the laws.

    One may: results that are promoted again and again reach SciPy's error function in a type it has not.
    """
    wrong = kills.planted(GALLERY[name], PRECISIONS["float32"])
    for callable_ in touched(name):
        case = USUAL[CONTRACT[callable_].kind]
        with np.errstate(all="ignore"), suppress(BadAnswer):
            try:
                wrong.raw(callable_, *CONTRACT[callable_].arguments(case))
            except Raised as raised:
                pytest.fail(f"{callable_} raised: {raised}")
