"""Bad input gets one clear sentence: the invariant, what came, the likely fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import swin_reference as swin
import swin_weights
from swin_reference.config import SwinConfig
from swin_reference.config_files import load_config
from swin_reference.parameters import hot_parameters, parameter_shapes, window_attention_shapes

TINY = SwinConfig(embed_dim=4, depths=(1,), num_heads=(2,), window_size=2, num_classes=3)
ATTENTION = hot_parameters(window_attention_shapes(6, 2, 2))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: swin.window_partition(np.zeros((1, 4, 4, 1)), 0), "at least 1x1, got window_size=0x0"),
        (lambda: swin.window_partition(np.zeros((1, 5, 4, 1)), 4), "whole windows, got 5x4.*pad it to 8x4"),
        (lambda: swin.window_reverse(np.zeros((3, 2, 2, 1)), 2, 4, 4), "fill whole grids of 4, got 3"),
        (lambda: swin.shifted_window_mask(4, 4, 2, 2), "0 <= shift < window.*got shift 2 and window 2"),
        (lambda: swin.shifted_window_mask(4, 4, 2, -1), "0 <= shift < window"),
        (lambda: swin.relative_position_bias(np.zeros((4, 1)), 2), "got 4 for window 2x2: it needs 9"),
        (
            lambda: swin.shifted_window_attention(np.zeros((1, 2, 2, 6)), ATTENTION, 4, 2, 0),
            "divisible by heads, got 6 channels and 4 heads",
        ),
        (lambda: SwinConfig(window_size=0), "at least 1x1"),
        (lambda: SwinConfig(embed_dim=97), "divisible by heads, got 97 channels and 3 heads in stage 0"),
        (lambda: SwinConfig(depths=(2, 2)), "one entry for each stage, got 2 depths and 4 num_heads"),
        (lambda: SwinConfig(depths=(0,), num_heads=(3,)), "at least one block"),
        (lambda: SwinConfig(image_size=0), "at least one pixel"),
        (lambda: SwinConfig(mlp_ratio=0.0), "mlp_ratio"),
        (lambda: SwinConfig(convention="cannonical"), "got 'cannonical'"),
        (lambda: load_config("swin_x"), "one of swin_t, .* or a JSON file, got 'swin_x'"),
        (lambda: swin.drop_path_rates(1.0, (2,)), "0 <= rate < 1"),
        (lambda: swin.with_precision("float16"), "float64 or float32, got 'float16'"),
        (lambda: swin_weights.unflatten({"a.0": 1, "a.2": 1}), "without a gap"),
        (lambda: swin_weights.unflatten({"a": 1, "a.b": 1}), "a weight or a level"),
    ],
)
def test_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_position_embedding_fits_one_grid() -> None:
    config = SwinConfig(
        image_size=8, embed_dim=2, depths=(1,), num_heads=(1,), absolute_position_embedding=True
    )
    params = hot_parameters(parameter_shapes(config))
    with pytest.raises(ValueError, match="fits the grid it was made for, got 3x3"):
        swin.swin_transformer(np.zeros((1, 3, 12, 12)), params, config)


def test_every_fault_of_a_checkpoint_is_named() -> None:
    shapes = parameter_shapes(TINY)
    flat = swin_weights.flatten(hot_parameters(shapes))
    assert swin_weights.matched(flat, shapes).keys() == flat.keys()
    del flat["norm.bias"], flat["layers.0.blocks.0.mlp.fc1.weight"]
    flat["head.scale"] = np.ones(1)
    flat["head.weight"] = flat["head.weight"].T
    flat["norm.weight"] = np.array([1.0, np.nan, 1.0, 1.0])
    flat["head.bias"] = np.array(["a", "b", "c"])
    with pytest.raises(ValueError, match="exactly the model's parameters") as caught:
        swin_weights.matched(flat, shapes)
    for part in (
        "missing layers.0.blocks.0.mlp.fc1.weight, norm.bias;",
        "extra head.scale;",
        "misshaped head.weight (4, 3), not (3, 4);",
        "no floating-point numbers head.bias;",
        "non-finite norm.weight",
    ):
        assert part in str(caught.value)


def test_configuration_files(tmp_path: Path) -> None:
    good = tmp_path / "tiny.json"
    good.write_text('{"embed_dim": 4, "depths": [1], "num_heads": [2]}')
    assert load_config(str(good)).depths == (1,)
    for text, sentence in (
        ("{", "holds JSON"),
        ('{"embed": 4}', "got embed"),
        ("[1]", "no mapping"),
        ('{"depths": 3}', "have the types"),
    ):
        good.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            load_config(str(good))
