"""The layouts of the weights: the very names of each public implementation, there and back, bitwise."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from swin_reference.config import SwinConfig
from swin_reference.parameters import hot_parameters, parameter_shapes
from swin_weights import LAYOUTS, flatten, from_layout, to_layout
from swin_weights.buffers import first_grid
from swin_weights.layout_names import _ATTENTION_4, _transformers
from swin_weights.layouts import rename_weights

CONFIG = SwinConfig(64, 2, 3, 8, (2, 1, 2), (2, 4, 4), 4, mlp_ratio=3.0, num_classes=5)
POSITIONS = replace(CONFIG, absolute_position_embedding=True, image_size=(64, 48))
NO_BIAS = replace(CONFIG, qkv_bias=False)
NO_NORM = replace(CONFIG, patch_norm=False)
HEADLESS = replace(CONFIG, num_classes=0)


def weights(config: SwinConfig) -> dict[str, Any]:
    return flatten(hot_parameters(parameter_shapes(config)))


def old_transformers(flat: dict[str, Any], prefix: str = "swin.") -> dict[str, Any]:
    return rename_weights(flat, _transformers(prefix, _ATTENTION_4), "transformers")


def shapes(state: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(x.shape) for name, x in state.items()}


@pytest.mark.parametrize("config", [CONFIG, POSITIONS, NO_BIAS, NO_NORM, HEADLESS])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back_is_bitwise(layout: str, config: SwinConfig) -> None:
    flat = weights(config)
    if layout == "detection":
        flat = {name: x for name, x in flat.items() if not name.startswith("head.")}
        flat |= {f"norm{stage}.weight": np.full(8, stage) for stage in (0, 1)}
    if layout == "torchvision":
        flat.pop("absolute_pos_embed", None)
    if layout != "timm":
        flat["layers.1.blocks.0.attn.relative_position_index"] = np.arange(256).reshape(16, 16)
    there = to_layout(flat, layout, grid=first_grid(config))
    back = from_layout(there, layout)
    assert back.keys() == flat.keys()
    for name, x in flat.items():
        np.testing.assert_array_equal(back[name], x, strict=True)
    assert len(set(there)) == len(there)


def test_timm_names(peer: Any) -> None:
    model = peer("timm.models.swin_transformer").SwinTransformer
    for config in (CONFIG, NO_BIAS, HEADLESS):
        theirs = model(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.embed_dim,
            depths=config.depths,
            num_heads=config.num_heads,
            window_size=config.window_size,
            mlp_ratio=config.mlp_ratio,
            qkv_bias=config.qkv_bias,
            num_classes=config.num_classes,
        )
        assert shapes(theirs.state_dict()) == shapes(to_layout(weights(config), "timm"))


def test_torchvision_names(peer: Any) -> None:
    model = peer("torchvision.models.swin_transformer").SwinTransformer
    theirs = shapes(model([2, 2], 8, [2, 1, 2], [2, 4, 4], [4, 4], mlp_ratio=3.0, num_classes=5).state_dict())
    flat = weights(CONFIG)
    for stage, depth in enumerate(CONFIG.depths):
        for block in range(depth):
            index = np.zeros((16, 16), int)
            flat[f"layers.{stage}.blocks.{block}.attn.relative_position_index"] = index
    assert theirs == shapes(to_layout(flat, "torchvision"))


@pytest.mark.parametrize("config", [CONFIG, POSITIONS, NO_BIAS, HEADLESS])
def test_transformers_names(peer: Any, config: SwinConfig) -> None:
    peers = peer("transformers")
    sizes = peers.SwinConfig(
        image_size=list(config.image_size) if isinstance(config.image_size, tuple) else config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depths=config.depths,
        num_heads=config.num_heads,
        window_size=config.window_size,
        mlp_ratio=config.mlp_ratio,
        qkv_bias=config.qkv_bias,
        use_absolute_embeddings=config.absolute_position_embedding,
        num_labels=config.num_classes,
    )
    flat = weights(config)
    theirs = peers.SwinForImageClassification(sizes).state_dict()
    assert shapes(theirs) == shapes(to_layout(flat, "transformers"))
    bare = shapes(peers.SwinModel(sizes).state_dict())
    headless = {name: x for name, x in flat.items() if not name.startswith("head.")}
    ours = shapes(to_layout(headless, "transformers"))
    assert bare == {name.removeprefix("swin."): shape for name, shape in ours.items()}


@pytest.mark.parametrize("prefix", ["swin.", ""])
def test_older_and_bare_transformers_names_are_read(prefix: str) -> None:
    flat = weights(POSITIONS)
    newer = {name.removeprefix("swin."): x for name, x in to_layout(flat, "transformers").items()}
    for theirs in (old_transformers(flat, prefix), {prefix + name: x for name, x in newer.items()}):
        theirs = {name.replace("swin.classifier", "classifier"): x for name, x in theirs.items()}
        back = from_layout(theirs, "transformers")
        assert back.keys() == flat.keys()
        for name, x in flat.items():
            np.testing.assert_array_equal(back[name], x, strict=True)


def test_tensors_keep_their_gradients() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    name = "layers.0.blocks.0.attn.qkv.weight"
    leaf = torch.arange(6.0).reshape(6, 1).requires_grad_()
    apart = to_layout({name: leaf}, "transformers")
    assert [x.ravel().tolist() for x in apart.values()] == [[0, 1], [2, 3], [4, 5]]
    together = from_layout(apart, "transformers")[name]
    (together * torch.arange(6.0).reshape(6, 1)).sum().backward()
    assert torch.equal(leaf.grad, torch.arange(6.0).reshape(6, 1))
    embedding = torch.arange(12.0).reshape(1, 6, 2)
    there = to_layout({"absolute_pos_embed": embedding}, "detection", grid=(2, 3))
    assert there["absolute_pos_embed"].shape == (1, 2, 2, 3)
    assert torch.equal(from_layout(there, "detection")["absolute_pos_embed"], embedding)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: to_layout({}, "tim"), "one of official, .*, got 'tim'"),
        (lambda: to_layout({"head.bias": 0, "norm.bias": 1}, "detection"), "has none for head.bias:"),
        (lambda: to_layout({"layers.0.blocks.0.attn_mask": 0}, "torchvision"), "attn_mask"),
        (
            lambda: to_layout({"absolute_pos_embed": np.ones((1, 6, 2))}, "detection"),
            "6 tokens and grid=None",
        ),
        (lambda: from_layout({"head.weight": 0}, "timm"), "timm does not know head.weight"),
        (lambda: from_layout({"layers.0.downsample.norm.bias": 0}, "timm"), "does not know layers.0"),
        (lambda: from_layout({"features.2.0.norm1.bias": 0}, "torchvision"), "features.2.0.norm1.bias"),
        (
            lambda: from_layout(
                {f"encoder.layers.0.blocks.0.attention.{p}_proj.bias": np.ones(2) for p in "qv"},
                "transformers",
            ),
            "lacks one of them for layers.0.blocks.0.attn.qkv.bias",
        ),
    ],
)
def test_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert not re.search(r"\n", str(caught.value))


def test_arrays_need_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np; from swin_weights import from_layout, to_layout\n"
        "flat = {'layers.0.blocks.0.attn.qkv.bias': np.arange(3)}\n"
        "assert from_layout(to_layout(flat, 'transformers'), 'transformers').keys() == flat.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
