"""Honest code in every precision stays within the budget; `make honest` asks the same at length."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from studies.honest import FORMULATIONS, make_adapter
from studies.honest.__main__ import write_table
from studies.honest.emulated import emulate
from studies.honest.sweep import Table, draw_large, list_laws, sweep
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.budget import deviation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.budget.within import within_budget
from swin_properties.judging.compare import evaluate
from swin_properties.laws.law import LAWS

RUN_HERE = (
    "window_attention/oracle",
    "shifted_window_attention/true-windows",
    "swin_block/branches",
    "cosine_window_attention/mask",
    "swin_v2_block/branches",
)


@pytest.fixture(scope="module")
def table() -> Table:
    return sweep(2, asked=[LAWS[name] for name in RUN_HERE])


def test_no_honest_formulation_breaks_a_law(table: Table) -> None:
    assert set(table) == {(name, precision) for name in FORMULATIONS for precision in PRECISIONS}
    asked = sum(2 + LAWS[name].full for name in RUN_HERE)  # of full numbers one
    for (name, precision), row in table.items():
        assert row.skipped or (row.cases == asked and not row.broken), (
            name,
            precision,
            row.broken,
        )


def test_two_processes_write_the_same_table_and_full_numbers_and_real_sizes_are_asked() -> None:
    law = LAWS["shifted_window_attention/hull"]
    alone, shared = (sweep(3, ["float32"], asked=[law], jobs=jobs, large=True) for jobs in (1, 2))
    assert alone == shared
    row = alone["naive", "float32"]
    large = draw_large(law, Implementation(make_adapter("naive", "float32")))
    assert large
    assert row.cases == 3 + law.full + len(large)


def test_formulations_differ_in_their_rounding_and_agree_in_float64() -> None:
    rng = np.random.default_rng(0)
    x, shape = rng.integers(-127, 128, (8, 6, 4)) / 64.0, (2, 3)
    params = {
        "qkv": {"weight": emulate(rng.standard_normal((12, 4)), PRECISIONS["bfloat16"]).astype(float)},
        "proj": {"weight": np.eye(4), "bias": np.zeros(4)},
        "relative_position_bias_table": np.zeros((15, 2)),
    }
    names = [name for name in FORMULATIONS if name != "fused SDPA"]
    exact = [make_adapter(name, "float64").window_attention(x, params, 2, shape) for name in names]
    for other in exact[1:]:
        np.testing.assert_allclose(other, exact[0], rtol=1e-12, atol=1e-12)
    half = [make_adapter(name, "bfloat16").window_attention(x, params, 2, shape) for name in names]
    assert all(np.any(a != b) for i, a in enumerate(half) for b in half[:i])
    for result in half:
        np.testing.assert_array_equal(PRECISIONS["bfloat16"].rounded(result), result)


def test_the_table_names_every_formulation_and_precision(table: Table) -> None:
    text = write_table(table, 2, [*PRECISIONS])
    assert all(name in text for name in (*FORMULATIONS, *PRECISIONS))
    assert "0 broken" in text
    assert len(list_laws()) >= 10


def test_near_the_limit_more_runs_decide() -> None:
    """A near tie of the softmax, which the judged run resolves otherwise than six perturbed ones."""
    law = LAWS["shifted_window_attention/oracle"]
    line = "batch=112 recipe=peaked seed=2 grid=2x3 window=2x3 heads=3 head_dim=2 qkv_bias=0"
    swin, case = Implementation(make_adapter("oracle order", "bfloat16")), law.kind.parse(line)
    outcome = within_budget(partial(law.body, case=case), swin, swin.oracle, swin.precision)
    assert outcome.near
    assert outcome.holds
    assert evaluate(law, swin, case).seen is None


def test_the_roundings_of_a_bias_that_all_windows_share_do_not_decide() -> None:
    """Beside a scale of e^-2.25 the errors of five numbers of the position bias gave rho 1.17."""
    law = LAWS["cosine_window_attention/scales"]
    case = law.kind.parse("batch=112 seed=14 grid=1x9 window=1x3 shift=0x2 head_dim=2")
    swin = Implementation(make_adapter("oracle order", "bfloat16"))
    assert evaluate(law, swin, case).seen is None


def test_what_is_far_from_the_limit_is_decided_at_once() -> None:
    assert not deviation(np.full(100, 33.0), np.zeros(100), np.ones(100)).near
    assert deviation(np.full(100, 3.0), np.zeros(100), np.ones(100)).near


def test_no_few_tokens_decide_rho() -> None:
    exact, beta = np.zeros((200, 4)), np.ones((200, 4))
    got = exact + 0.5
    got[7] = 7.0  # as near ties do; 19 budgets in one token would be past rho_max
    assert deviation(got, exact, beta).holds
    assert not deviation(got * 2.5, exact, beta).holds
