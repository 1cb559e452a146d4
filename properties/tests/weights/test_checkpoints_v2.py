"""Checkpoints of Swin V2: what is read and written in every layout, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import swin_reference
import swin_weights
from swin_properties.adapters.implementation import Implementation
from swin_properties.predict import photo
from swin_reference.config import SwinConfig
from swin_reference.config_v2 import SwinV2Config
from swin_reference.parameters import hot_parameters, parameter_shapes
from swin_reference.parameters_v2 import parameter_v2_shapes
from swin_reference.position_bias_v2 import log_spaced_offsets
from swin_reference.rules_v2 import move_to_window
from swin_weights.buffers import index_buffers

CONFIG = SwinV2Config(
    64, 4, 1, 8, (2, 1), (2, 4), 4, mlp_ratio=2.25, num_classes=5, pretrained_window_sizes=(6, 3)
)
FLAT = swin_weights.flatten(hot_parameters(parameter_v2_shapes(CONFIG)))
LAYOUTS = ("official", "timm", "torchvision", "transformers")
KNOWN: dict[str, Any] = {"image_size": 64, "window_size": 4, "pretrained_window_sizes": (6, 3)}


def write(path: Path, flat: dict[str, Any]) -> Path:
    np.savez(path, **flat)
    return path


def same(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name], x, strict=True)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, qkv_bias=False)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_comes_back_bitwise(layout: str, config: SwinV2Config, tmp_path: Path) -> None:
    flat = swin_weights.flatten(hot_parameters(parameter_v2_shapes(config)))
    swin_weights.save(tmp_path / "w.npz", flat, layout, config)
    found = swin_weights.load(tmp_path / "w.npz", **KNOWN)
    assert (found.layout, found.config, found.unknown) == (layout, config, ())
    same(found.weights, flat)


def test_detection_has_no_v2(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="detection has no Swin V2"):
        swin_weights.save(tmp_path / "w.npz", FLAT, "detection", CONFIG)


def test_buffers_show_the_window_and_the_one_of_training(tmp_path: Path) -> None:
    found = swin_weights.load(write(tmp_path / "w.npz", FLAT | index_buffers(FLAT, CONFIG)))
    assert found.config == replace(CONFIG, image_size=found.config.image_size)
    assert found.unknown == ("image_size",)
    own = replace(CONFIG, pretrained_window_sizes=())
    found = swin_weights.load(write(tmp_path / "w.npz", FLAT | index_buffers(FLAT, own)))
    assert found.config.window_size == 4
    assert isinstance(found.config, SwinV2Config)
    assert found.config.pretrained_window_sizes == ()


def test_without_buffers_the_window_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "w.npz", FLAT)
    with pytest.raises(ValueError, match="no weight of Swin V2 shows it: pass window_size="):
        swin_weights.load(path)
    assert "pretrained_window_sizes" in swin_weights.load(path, window_size=4).unknown


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x[..., ::-1],
        lambda x: x * np.float32(1 + 1e-5),
        lambda x: np.log(1 + 8 * abs(x)) * np.sign(x),
        lambda x: x.astype(int),
    ],
)
def test_wrong_offsets_are_named(spoil: Any, tmp_path: Path) -> None:
    config = replace(CONFIG, window_size=(4, 3))
    buffers = index_buffers(FLAT, config)
    name = "layers.0.blocks.1.attn.relative_coords_table"
    assert swin_weights.load(write(tmp_path / "w.npz", FLAT | buffers), **KNOWN | {"window_size": (4, 3)})
    path = write(tmp_path / "w.npz", FLAT | buffers | {name: spoil(buffers[name])})
    with pytest.raises(ValueError, match=f"{name} differ"):
        swin_weights.load(path, **KNOWN | {"window_size": (4, 3)})


def test_windows_that_shrank_are_explained(tmp_path: Path) -> None:
    config = replace(CONFIG, window_size=16, convention="official-v2", pretrained_window_sizes=())
    path = write(tmp_path / "w.npz", FLAT | index_buffers(FLAT, config))
    found = swin_weights.load(path)
    assert found.config.windows == ((16, 16), (8, 8))
    assert "if a network for small images shrank them, pass its convention=" in found.notes[0]
    assert swin_weights.load(path, image_size=64, convention="official-v2").config == config


def test_a_directory_of_transformers(tmp_path: Path) -> None:
    swin_weights.save(tmp_path, FLAT, "transformers", CONFIG)
    found = swin_weights.load(tmp_path)
    assert (found.config, found.unknown) == (CONFIG, ())
    same(found.weights, FLAT)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "swin"}))
    with pytest.raises(ValueError, match="one is of V1 and the other of V2"):
        swin_weights.load(tmp_path)
    absolute = replace(CONFIG, absolute_position_embedding=True)
    with pytest.raises(ValueError, match="no position embedding in V2"):
        swin_weights.save(tmp_path, FLAT, "transformers", absolute)


def test_fields_of_the_other_version_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w.npz", FLAT)
    with pytest.raises(ValueError, match="Swin V2 has a logit scale for each head and no qk_scale"):
        swin_weights.load(path, window_size=4, qk_scale=0.5)
    config = SwinConfig(64, 4, 1, 8, (2, 1), (2, 4), 4, mlp_ratio=2.25, num_classes=5)
    swin_weights.save(tmp_path / "v1.npz", hot_parameters(parameter_shapes(config)))
    with pytest.raises(ValueError, match="fields of SwinConfig, got pretrained_window_sizes"):
        swin_weights.load(tmp_path / "v1.npz", pretrained_window_sizes=(8, 8))


def test_weights_of_the_other_version_are_refused_by_predict() -> None:
    class OnlyV1:
        precision = "float64"

        def swin_transformer(self, *_: Any) -> None: ...

    with pytest.raises(ValueError, match="predict calls swin_v2_transformer, for the weights are of Swin V2"):
        photo.predict(Implementation(OnlyV1()), photo.Weights(FLAT, CONFIG, ""), "none.png")


def test_another_window_keeps_the_weights_and_the_window_of_training() -> None:
    own = replace(CONFIG, pretrained_window_sizes=())
    moved = move_to_window(own, 6)
    assert moved.pretrained_window_sizes == (4, 4)
    assert move_to_window(CONFIG, 6).pretrained_window_sizes == (6, 3)
    assert parameter_v2_shapes(moved) == parameter_v2_shapes(own)
    small, large = log_spaced_offsets(4), log_spaced_offsets(6, moved.pretrained_window(0))
    inside = large.reshape(11, 11, 2)[2:9, 2:9].reshape(-1, 2)
    np.testing.assert_array_equal(inside, small)
    with pytest.raises(ValueError, match="from a square one, got 4x2 in stage 0"):
        move_to_window(replace(own, window_size=(4, 2)), 6)
    assert swin_reference.swin_v2_transformer(
        np.ones((1, 1, 64, 64)), swin_weights.unflatten(FLAT), moved
    ).shape == (1, 5)
