"""The oracle of Swin V2 agrees with the second one at real sizes, and with the paper's numbers."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import swin_reference as swin
from swin_properties.cases.case_v2 import GridV2Case
from swin_properties.judging import one_law
from swin_properties.judging.implementation import load_implementation
from swin_properties.laws.law import LAWS
from swin_reference.config_v2 import NAMED_V2, swin_v2_t
from swin_reference.direct import attention_v2
from swin_reference.parameters_v2 import initial_parameters_v2, parameter_v2_shapes
from swin_weights import flatten


@pytest.mark.parametrize("stage", range(4))
def test_both_oracles_agree_on_a_block_of_each_stage_at_256(stage: int, deep: bool) -> None:
    """The ordinary profile asks two windows by two of the first stage; deep asks whole grids of all."""
    if stage and not deep:
        pytest.skip("the profile deep is not asked for: the blocks of later stages")
    side = 64 >> stage if deep else 16
    shift = (4, 4) if side > 8 else (0, 0)
    case = GridV2Case(
        grid=(side, side), window=(8, 8), shift=shift, heads=swin_v2_t.num_heads[stage], head_dim=32
    )
    found = one_law.evaluate(LAWS["swin_v2_block/oracle"], load_implementation("swin_reference"), case)
    assert found.seen is None
    assert found.rho is not None
    assert 0 < found.rho <= 1


@pytest.mark.parametrize(
    ("name", "millions"), [("swin_v2_t", 28), ("swin_v2_s", 50), ("swin_v2_b", 88), ("swin_v2_l", 197)]
)
def test_parameter_counts_of_the_paper(name: str, millions: float) -> None:
    count = sum(map(prod, flatten(parameter_v2_shapes(NAMED_V2[name])).values()))
    assert round(count / 1e6) == millions


def test_every_block_begins_as_the_identity() -> None:
    config = swin.SwinV2Config(32, 4, embed_dim=8, depths=(2, 1), num_heads=(2, 2), window_size=4)
    params = initial_parameters_v2(config)
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 8))
    for block in params["layers"][0]["blocks"]:
        assert np.array_equal(swin.swin_v2_block(x, block, 2, 4, 2), x)
    assert not np.array_equal(params["layers"][0]["blocks"][0]["attn"]["qkv"]["weight"], 0)


def test_a_difference_between_the_oracles_is_no_rounding_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken into the budget: the oracle is broken where the second one says something else."""
    case = GridV2Case(batch=20, grid=(4, 4), window=(2, 2), shift=(1, 1), heads=2, head_dim=4)
    judged, law = load_implementation("swin_reference"), LAWS["swin_v2_block/oracle"]
    assert one_law.evaluate(law, judged, case).seen is None
    right = attention_v2.bias_of_offset
    monkeypatch.setattr(attention_v2, "bias_of_offset", lambda *sizes: 1.001 * right(*sizes))
    found = one_law.evaluate(law, judged, case)
    assert found.seen is not None
    assert found.rho is not None
    assert found.rho > 1e6


def test_a_pretrained_window_of_one_token_tells_no_larger_window_anything() -> None:
    """The divisor of the offsets is 0: both oracles refuse it, and take a window of one token itself."""
    params = {
        "0": {"weight": np.ones((4, 2)), "bias": np.zeros(4)},
        "2": {"weight": np.ones((1, 4))},
    }
    for oracle in (swin, swin.direct):
        assert np.array_equal(oracle.continuous_position_bias_table(params, (1, 1), (1, 1)), [[8.0]])
        with pytest.raises(ValueError, match="window"):
            oracle.continuous_position_bias_table(params, (2, 3), (1, 3))
