"""The catalogue: every law is named, stated once, true of the oracle, and says truly what it asks."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
import swin_properties
import swin_reference
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.cases.case import NetCase
from swin_properties.cases.case_v2 import V2_CASES
from swin_properties.judging import one_law
from swin_properties.laws import choosing
from swin_properties.laws.invariance import transposed
from swin_properties.laws.versions import name_in_v2
from swin_reference import direct
from swin_weights import flatten

LAWS = choosing.choose_laws()

OF_V1 = {name_in_v2(law.name): law.name for law in LAWS if law.kind not in V2_CASES.values()}
"""The name in V1 of each law that is asked of V2 as well."""

SECOND_ORACLE = (
    *(f"shifted_window_attention/{topic}" for topic in ("true-windows", "padded", "exhaustive", "global")),
    *(f"shifted_cosine_window_attention/{topic}" for topic in ("true-windows", "padded", "exhaustive")),
)
"""The laws that take Swin's definition from the second oracle instead of writing it out."""


class Asked(Exception):
    """An oracle was asked."""


class Nobody:
    """Stands where an oracle stood, and cannot be asked."""

    def __getattr__(self, name: str) -> Any:
        raise Asked(name)

    def record(self) -> None:
        """Nothing is computed, nothing remembered."""

    def replay(self) -> None:
        """Nothing is replayed."""


def test_every_law_has_its_own_name_and_sentence() -> None:
    assert len({law.sentence for law in LAWS}) == len(LAWS)
    for law in LAWS:
        component, _, topic = law.name.partition("/")
        assert component in CONTRACT, law.name
        assert component in {need.partition(".")[0] for need in law.needs}, law.name
        assert topic.replace("-", "").isalnum(), law.name
        assert law.sentence.endswith("."), law.name


def test_a_law_stands_where_it_says() -> None:
    """Its decorator begins there; its name is in it, as text to search for."""
    properties = Path(swin_properties.__file__).parents[1]
    for law in LAWS:
        file, _, line = law.where.partition(":")
        lines = (properties / file).read_text().splitlines()[int(line) - 1 :]
        assert lines[0].startswith("@"), law.where
        decorator = itertools.takewhile(lambda text: not text.startswith("def "), lines)
        names = law.name, OF_V1.get(law.name, law.name)
        assert any(f'"{name}"' in text for text in decorator for name in names), law.where


@pytest.mark.parametrize("name", [law.name for law in LAWS if "vjp" not in law.needs])
def test_every_law_holds_for_the_oracle(name: str, deep: bool) -> None:
    """Those of the backward pass, which the oracle does not have: test_gradients."""
    (law,) = choosing.choose_laws(name)
    if not deep and law.kind in V2_CASES.values() and name in OF_V1:
        pytest.skip("the profile deep is not asked for: test_oracle asks V2 what V1 is asked, in float64")
    judged = Implementation(swin_reference, PRECISIONS["float32"])
    result = one_law.run_law(law, judged, one_law.EFFORTS["quick"], 1, str)
    assert result.status == "holds", result


@pytest.mark.parametrize("name", [law.name for law in LAWS if "vjp" not in law.needs])
def test_laws_ask_an_oracle_exactly_when_they_say_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its pairs are made, on few cases: whether they agree is another test's."""

    def asked(*_: Any, **__: Any) -> Any:
        raise Asked

    for attribute, value in vars(direct).items():
        if isinstance(value, FunctionType):
            monkeypatch.setattr(direct, attribute, asked)
    (law,) = choosing.choose_laws(name)
    judged = Implementation(swin_reference, PRECISIONS["float32"])
    monkeypatch.setattr(judged, "expected", Nobody())

    def ask(case: Any) -> None:
        law.body(judged, case)

    if law.compares_with == "oracle" or law.name in SECOND_ORACLE:
        with pytest.raises(Asked):
            one_law.ask_all(law, ask, one_law.Effort(3, 3, 1, 1, 1), 1)
    else:
        one_law.ask_all(law, ask, one_law.Effort(3, 3, 1, 1, 1), 1)


def test_the_definition_is_the_second_oracle_in_some_laws() -> None:
    assert all(
        law.compares_with == "definition" for name in SECOND_ORACLE for law in choosing.choose_laws(name)
    )


def test_a_small_window_that_has_the_whole_table_is_transposed_by_the_whole_window() -> None:
    case = NetCase(image=(3, 1), window=(3, 2), convention="canonical,window=shrink-axis,small_table=first")
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    params = case.network()
    table = flatten(params)[name]
    turned = table.reshape(5, 3, -1).swapaxes(0, 1).reshape(table.shape)
    np.testing.assert_array_equal(flatten(transposed(case, params))[name], turned)
