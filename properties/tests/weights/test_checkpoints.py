"""Checkpoints: what is read of a file, in every form and layout, and what is refused, named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import swin_reference as swin
import swin_weights
from swin_reference.config import SwinConfig
from swin_reference.parameters import hot_parameters, parameter_shapes
from swin_weights.layout_names import _ATTENTION_4, _transformers
from swin_weights.layouts import rename_weights

CONFIG = SwinConfig(64, (2, 4), 1, 8, (2, 1, 2), (2, 4, 4), 4, mlp_ratio=2.3, num_classes=5)
FLAT = swin_weights.flatten(hot_parameters(parameter_shapes(CONFIG)))
HEADLESS = {name: x for name, x in FLAT.items() if not name.startswith("head.")}
MASK = "layers.0.blocks.1.attn_mask"
INDEX = "layers.0.blocks.0.attn.relative_position_index"


def write(path: Path, flat: dict[str, Any]) -> Path:
    np.savez(path, **flat)
    return path


def same(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name], x, strict=True)


@pytest.mark.parametrize("form", ["w.npz", "w.safetensors", "w.pth", "directory"])
@pytest.mark.parametrize("layout", swin_weights.LAYOUTS)
def test_every_layout_and_form_comes_back_bitwise(layout: str, form: str, tmp_path: Path) -> None:
    if form.endswith(".pth"):
        pytest.importorskip("torch", reason="torch is not installed")
    config = replace(CONFIG, num_classes=0) if layout == "detection" else CONFIG
    flat = HEADLESS if layout == "detection" else FLAT
    if form == "directory" and layout != "transformers":
        with pytest.raises(ValueError, match=f"to a directory, got directory for {layout}"):
            swin_weights.save(tmp_path / form, flat, layout, CONFIG)
        return
    other = {"norm0.bias": np.arange(8.0)} if layout == "detection" else {}
    swin_weights.save(tmp_path / form, flat | other, layout, config)
    found = swin_weights.load(tmp_path / form)
    same(found.weights, flat)
    same(found.others, other)
    assert found.layout == layout
    assert found.config == replace(
        config, image_size=found.config.image_size, mlp_ratio=found.config.mlp_ratio
    )
    assert [found.config.hidden(c) for c in config.channels] == [config.hidden(c) for c in config.channels]
    assert found.unknown == (("qk_scale",) if form == "directory" else ("image_size", "qk_scale"))
    same(swin_weights.flatten(found.params), flat)


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, qkv_bias=False, patch_norm=False, num_classes=0, in_channels=3),
        replace(CONFIG, depths=(1,), num_heads=(1,), window_size=7, patch_size=4),
        replace(CONFIG, absolute_position_embedding=True, image_size=(32, 64)),
    ],
)
def test_the_configuration_is_recognised(config: SwinConfig, tmp_path: Path) -> None:
    swin_weights.save(tmp_path / "w.npz", hot_parameters(parameter_shapes(config)))
    found = swin_weights.load(tmp_path / "w.npz").config
    if not config.absolute_position_embedding:
        config = replace(config, image_size=found.image_size)
    assert replace(found, mlp_ratio=config.mlp_ratio) == config
    assert parameter_shapes(found) == parameter_shapes(config)


def test_two_loads_of_a_file_share_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "w.npz", FLAT)
    first, second = swin_weights.load(path), swin_weights.load(path)
    for name, x in first.weights.items():
        assert not np.shares_memory(x, second.weights[name]), name


def test_two_networks_of_a_checkpoint_share_nothing(tmp_path: Path) -> None:
    """Training one leaves the other, and what was loaded, as it was."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    import swin_torch

    loaded = swin_weights.load(write(tmp_path / "w.npz", FLAT))
    images = torch.linspace(-1, 1, 2 * 64 * 64).reshape(2, 1, 64, 64)
    first, second = swin_torch.from_checkpoint(loaded), swin_torch.from_checkpoint(loaded)
    with torch.no_grad():
        before = second(images)
        for tensor in (*first.parameters(), *first.buffers()):
            tensor.add_(1.0)
        assert torch.equal(second(images), before)
        assert not torch.equal(first(images), before)
    same(loaded.weights, FLAT)


def test_wrappers_are_opened(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    state = {name: torch.from_numpy(x) for name, x in FLAT.items()}
    wide = {f"module.{name}": x for name, x in state.items()}
    detector = {f"backbone.{name}": torch.from_numpy(x) for name, x in HEADLESS.items()}
    detector |= {"neck.conv.weight": torch.ones(1), "rpn_head.cls.bias": torch.ones(1)}
    for held, notes in (
        ({"model": state, "epoch": 3}, ()),
        ({"state_dict": wide, "arch": "swin", "metric": 1.0}, ()),
        ({"model_ema": {"module": state}}, ()),
        (
            {"model": wide, "model_ema": state},  # the same weights
            (f"left out: {len(FLAT)} weights outside model., model_ema.*",),
        ),
        (
            {"state_dict": detector},
            ("left out: 2 weights outside state_dict.backbone., state_dict.neck.*, state_dict.rpn_head.*",),
        ),
    ):
        torch.save(held, tmp_path / "wrapped.pth")
        found = swin_weights.load(tmp_path / "wrapped.pth")
        same(found.weights, HEADLESS if "neck" in str(notes) else FLAT)
        assert found.notes == notes


def test_half_precision_is_read_exactly(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from safetensors.torch import save_file

    state = {name: torch.from_numpy(x).bfloat16() for name, x in FLAT.items()}
    torch.save(state, tmp_path / "half.pth")
    save_file(state, tmp_path / "half.safetensors")
    for name in ("half.pth", "half.safetensors"):  # hot parameters have 8 bits: bfloat16 holds them
        same(swin_weights.load(tmp_path / name).weights, {n: x.astype(np.float32) for n, x in FLAT.items()})


def test_a_position_embedding_shows_the_grid_or_asks_for_it(tmp_path: Path) -> None:
    config = replace(CONFIG, absolute_position_embedding=True, image_size=(24, 32), num_classes=0)
    flat = swin_weights.flatten(hot_parameters(parameter_shapes(config)))
    swin_weights.save(tmp_path / "d.npz", flat | {"norm0.bias": np.ones(8)}, "detection", config)
    found = swin_weights.load(tmp_path / "d.npz")
    assert (found.config.image_size, found.unknown) == ((24, 32), ("qk_scale",))
    same(found.weights, flat)
    swin_weights.save(tmp_path / "o.npz", flat)
    with pytest.raises(ValueError, match=r"96 tokens: pass image_size=\(height, width\)"):
        swin_weights.load(tmp_path / "o.npz")
    assert swin_weights.load(tmp_path / "o.npz", image_size=(24, 32)).config.image_size == (24, 32)
    with pytest.raises(ValueError, match="misshaped absolute_pos_embed"):
        swin_weights.load(tmp_path / "o.npz", image_size=32)


def test_a_window_that_is_no_square_is_asked_for(tmp_path: Path) -> None:
    config = replace(CONFIG, window_size=(3, 4))
    swin_weights.save(tmp_path / "w.npz", hot_parameters(parameter_shapes(config)))
    with pytest.raises(
        ValueError, match="got 35: its window is one of 1x18, 3x4, 4x3, 18x1, pass window_size"
    ):
        swin_weights.load(tmp_path / "w.npz")
    assert swin_weights.load(tmp_path / "w.npz", window_size=(3, 4)).config.window_size == (3, 4)
    swin_weights.save(tmp_path / "w.npz", hot_parameters(parameter_shapes(replace(CONFIG, window_size=8))))
    (note,) = swin_weights.load(tmp_path / "w.npz").notes
    assert "225 rows are read as a window 8x8, not 1x113, 2x38, 3x23, 5x13" in note


def faulty(layout: str, fault: str) -> tuple[dict[str, Any], str]:
    """A checkpoint with one fault, and what must be said of it."""
    flat = swin_weights.to_layout(FLAT, layout)
    name = next(
        name
        for name in reversed(flat)
        if name.endswith(("fc2.weight", "mlp.3.weight", "ffn.layers.1.weight"))
    )
    x = flat[name]
    if fault == "missing":
        return {key: y for key, y in flat.items() if key != name}, f"missing {name}"
    if fault == "renamed":
        flat = {("" if key != name else "other.") + key: y for key, y in flat.items()}
        return flat, f"missing {name}; extra other.{name}"
    if fault == "transposed":
        return flat | {name: x.T}, f"misshaped {name} {x.T.shape}, not {x.shape}"
    return flat | {name: np.full_like(x, np.nan)}, f"non-finite {name}"


@pytest.mark.parametrize("fault", ["missing", "renamed", "transposed", "not finite"])
@pytest.mark.parametrize("layout", [name for name in swin_weights.LAYOUTS if name != "detection"])
def test_one_fault_is_named_as_the_file_names_it(layout: str, fault: str, tmp_path: Path) -> None:
    flat, sentence = faulty(layout, fault)
    with pytest.raises(ValueError, match="exactly the model's parameters") as caught:
        swin_weights.load(write(tmp_path / "w.npz", flat))
    assert str(caught.value).endswith(f"parameters: {sentence}")


@pytest.mark.parametrize("name", FLAT)
def test_each_key_is_missed_and_each_transposed_is_named(name: str, tmp_path: Path) -> None:
    pattern = name.replace(".", r"\.").replace(r"blocks\.0", r"blocks\.[0*]")
    with pytest.raises(ValueError, match=pattern):
        swin_weights.load(write(tmp_path / "w.npz", {key: x for key, x in FLAT.items() if key != name}))
    x = FLAT[name]
    if x.ndim > 1 and x.shape != x.T.shape:
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            swin_weights.load(write(tmp_path / "w.npz", FLAT | {name: x.T}))


def test_a_weight_or_a_buffer_of_a_stage_that_is_not_there_is_named(tmp_path: Path) -> None:
    name = "layers.0.blocks.0.attn.proj.bias"
    stray = name.replace("layers.0", "layers.7")
    flat = {key: x for key, x in FLAT.items() if key != name} | {stray: FLAT[name]}
    with pytest.raises(ValueError, match=f"parameters: missing {name}; extra {stray}$"):
        swin_weights.load(write(tmp_path / "w.npz", flat))
    for stray in (INDEX.replace("layers.0", "layers.7"), INDEX.replace("blocks.0", "blocks.9")):
        with pytest.raises(ValueError, match=f"{stray} differ"):
            swin_weights.load(write(tmp_path / "w.npz", FLAT | {stray: swin.relative_position_index(4)}))
    with pytest.raises(ValueError, match=r"extra norm\.attn_mask"):
        swin_weights.load(write(tmp_path / "w.npz", FLAT | {"norm.attn_mask": np.zeros(1)}))


def test_buffers_are_compared_and_a_mask_shows_the_image(tmp_path: Path) -> None:
    masks = {
        MASK: np.where(swin.shifted_window_mask(32, 16, 4, 2) == 0, 0, -100),
        "layers.2.blocks.1.attn_mask": np.where(swin.shifted_window_mask(8, 4, 4, 2) == 0, 0, -100),
    }
    index = swin.relative_position_index(4)
    found = swin_weights.load(write(tmp_path / "w.npz", FLAT | masks | {INDEX: index}))
    same(found.weights, FLAT)
    assert (found.config.image_size, found.unknown) == (64, ("qk_scale",))
    for wrong in (
        {INDEX: index[::-1]},
        {INDEX: index.T},
        {MASK: masks[MASK][:, ::-1]},
        {MASK: masks[MASK][::-1]},
        {MASK: -masks[MASK]},
        {MASK: masks[MASK][:-1]},
        {MASK.replace("blocks.1", "blocks.0"): masks[MASK]},
    ):
        (name,) = wrong
        with pytest.raises(ValueError, match=rf"{name} differ"):
            swin_weights.load(write(tmp_path / "w.npz", FLAT | masks | wrong))
    for stale in (
        {INDEX: swin.relative_position_index(3)},
        {MASK: np.where(swin.shifted_window_mask(30, 15, 3, 1) == 0, 0, -100)},
    ):
        (name,) = stale
        found = swin_weights.load(write(tmp_path / "w.npz", FLAT | masks | stale))
        same(found.weights, FLAT)
        assert found.notes == (f"{name}: left out, of another window than 4x4",)
    flat = swin_weights.to_layout(FLAT | {INDEX: index}, "torchvision")
    same(swin_weights.load(write(tmp_path / "w.npz", flat)).weights, FLAT)


@pytest.mark.parametrize("prefix", ["swin.", ""])
def test_transformers_older_names_are_read_and_named(prefix: str, tmp_path: Path) -> None:
    theirs = rename_weights(FLAT, _transformers(prefix, _ATTENTION_4), "transformers")
    same(swin_weights.load(write(tmp_path / "w.npz", theirs)).weights, FLAT)
    name = f"{prefix}encoder.layers.2.blocks.1.attention.self.key.bias"
    del theirs[name]
    with pytest.raises(ValueError, match=f"parameters: missing {name}$"):
        swin_weights.load(write(tmp_path / "w.npz", theirs))


def test_mmpretrains_variants_are_read(tmp_path: Path) -> None:
    """A backbone of mmdetection has no prefix and a norm for each stage; an old file numbers no norm."""
    theirs = swin_weights.to_layout(FLAT, "mmpretrain")
    older = {name.replace("backbone.norm2.", "backbone.norm."): x for name, x in theirs.items()}
    same(swin_weights.load(write(tmp_path / "w.npz", older)).weights, FLAT)
    bare = {name.removeprefix("backbone."): x for name, x in theirs.items() if not name.startswith("head.")}
    norm = {"norm0.weight": np.arange(8.0), "norm0.bias": np.ones(8)}
    found = swin_weights.load(write(tmp_path / "w.npz", bare | norm))
    same(found.weights, HEADLESS)
    same(found.others, norm)


def test_transformers_directory(tmp_path: Path) -> None:
    config = replace(CONFIG, image_size=(48, 64))
    swin_weights.save(tmp_path / "d", FLAT, "transformers", config)
    found = swin_weights.load(tmp_path / "d")
    assert (found.config.image_size, found.unknown) == ((48, 64), ("qk_scale",))
    path = tmp_path / "d" / "config.json"
    good = json.loads(path.read_text())
    for change, sentence in (
        ({"embed_dim": 9}, "config.json says embed_dim 9, not 8"),
        ({"model_type": "swinv2"}, "one is of V1 and the other of V2"),
        ({"hidden_act": "gelu_new"}, "hidden_act 'gelu_new', not 'gelu'"),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps 1e-06, not 1e-05"),
        ({"window_size": 7}, "misshaped .*relative_position_bias_table"),
    ):
        path.write_text(json.dumps(good | change))
        with pytest.raises(ValueError, match=sentence):
            swin_weights.load(tmp_path / "d")
    for text, sentence in (("{", "does not parse"), ("[]", "another value")):
        path.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            swin_weights.load(tmp_path / "d")
    path.unlink()
    with pytest.raises(ValueError, match=r"holds config\.json, .* has none"):
        swin_weights.load(tmp_path / "d")


def test_sharded_directory(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    swin_weights.save(tmp_path, FLAT, "transformers", CONFIG)
    (tmp_path / "model.safetensors").unlink()
    named = list(swin_weights.to_layout(FLAT, "transformers").items())
    for number, part in enumerate((named[:9], named[9:])):
        save_file({name: np.ascontiguousarray(x) for name, x in part}, tmp_path / f"{number}.safetensors")
    index = {"weight_map": {name: f"{int(n >= 9)}.safetensors" for n, (name, _) in enumerate(named)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    same(swin_weights.load(tmp_path).weights, FLAT)


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    for form in ("npz", "pth", "safetensors"):
        swin_weights.save(tmp_path / f"good.{form}", FLAT)
        whole = (tmp_path / f"good.{form}").read_bytes()
        (tmp_path / f"truncated.{form}").write_bytes(whole[: len(whole) // 2])
        (tmp_path / f"foreign.{form}").write_bytes(b"not a checkpoint")
        (tmp_path / f"empty.{form}").write_bytes(b"")
        for name in (f"truncated.{form}", f"foreign.{form}", f"empty.{form}"):
            with pytest.raises(ValueError, match=f"^{name} does not read as") as caught:
                swin_weights.load(tmp_path / name)
            assert "\n" not in str(caught.value)
    (tmp_path / "w.h5").write_bytes(b"")
    (tmp_path / "w.txt").write_bytes(b"")
    (tmp_path / "no").mkdir()
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    for name, sentence in (
        ("absent.npz", "an existing file"),
        ("w.h5", "it is Keras's"),
        ("w.txt", "a checkpoint is .npz, .safetensors, .pth"),
        ("no", "config.json"),
        ("objects.npz", "does not read as"),
    ):
        with pytest.raises(ValueError, match=sentence):
            swin_weights.load(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        "layers.0.blocks.0.attn.logit_scale",
        "layers.0.blocks.0.attn.cpb_mlp.0.weight",
        "layers.0.blocks.0.attn.continuous_position_bias_mlp.0.bias",
    ],
)
def test_weights_of_both_versions_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a weight of Swin V1 and others beside it are of V2"):
        swin_weights.load(write(tmp_path / "w.npz", FLAT | {name: np.ones(2)}))


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ({"conv1.weight": np.ones(1)}, "none of its 1 names is of one, the first is conv1.weight"),
        ({}, "holds something else"),
        ({"layers.0.blocks.0.attn.proj.bias": np.ones(4)}, "embed_dim is read from .* pass embed_dim="),
    ],
)
def test_what_is_no_swin(held: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        swin_weights.load(write(tmp_path / "w.npz", held))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", swin_weights.LAYOUTS)
def test_swin_torch_takes_every_layout(layout: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    import swin_torch

    config = replace(CONFIG, num_classes=0 if layout == "detection" else 5, qk_scale=0.5)
    params = hot_parameters(parameter_shapes(config))
    swin_weights.save(tmp_path / "w.pth", params, layout, config)
    network = swin_torch.from_checkpoint(tmp_path / "w.pth", qk_scale=0.5)
    assert network.config.qk_scale == 0.5
    expected = {name: x.astype(np.float32) for name, x in swin_weights.flatten(params).items()}
    same({name: x.numpy() for name, x in network.state_dict().items()}, expected)
    with torch.no_grad():
        assert network(torch.ones(1, 1, 8, 16)).isfinite().all()


def test_swin_torch_resizes_to_another_window(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    import swin_torch

    swin_weights.save(tmp_path / "w.npz", FLAT)
    found = swin_weights.load(tmp_path / "w.npz")
    network = swin_torch.from_checkpoint(found, window_size=(5, 3))
    assert network.config == replace(found.config, window_size=(5, 3))
    for name, x in network.state_dict().items():
        expected = torch.from_numpy(FLAT[name])
        if name.endswith("table"):
            expected = swin_torch.resize_relative_position_bias(expected, 4, (5, 3))
        assert torch.equal(x, expected.float()), name
    small = replace(found.config, image_size=(16, 32), convention="official")  # the last stage's window is 2
    flat = swin_weights.flatten(hot_parameters(parameter_shapes(small)))
    network = swin_torch.from_checkpoint(swin_weights.Checkpoint(flat, small, "official"), window_size=3)
    assert [tuple(stage.window_size) for stage in network.layers] == [(3, 3), (3, 3), (2, 2)]
    with pytest.raises(ValueError, match="has its configuration, got qk_scale as well"):
        swin_torch.from_checkpoint(found, qk_scale=1.0)


def test_a_network_built_for_small_images(tmp_path: Path) -> None:
    small = replace(CONFIG, image_size=(16, 32), convention="official")  # grids 8, 4, 2: windows 4, 4, 2
    params = hot_parameters(parameter_shapes(small))
    flat = swin_weights.flatten(params)
    assert flat["layers.2.blocks.1.attn.relative_position_bias_table"].shape == (9, 4)
    path = tmp_path / "w.npz"
    index = {
        f"layers.{k}.blocks.0.attn.relative_position_index": swin.relative_position_index(m)
        for k, m in ((0, 4), (2, 2))
    }
    write(path, flat | index)
    found = swin_weights.load(path)
    same(found.weights, flat)
    assert found.config.window_size == ((4, 4), (4, 4), (2, 2))
    assert "windows 4x4, 4x4, 2x2; if a network for small images shrank them, pass" in found.notes[0]
    with pytest.raises(ValueError, match=r"official convention builds .* pass image_size="):
        swin_weights.load(path, convention="official")
    found = swin_weights.load(path, convention="official", image_size=(16, 32))
    assert found.config == replace(small, mlp_ratio=found.config.mlp_ratio, qk_scale=None)
    same(found.weights, flat)
    mask = np.where(swin.shifted_window_mask(8, 8, 4, 2) == 0, 0, -100)
    found = swin_weights.load(write(path, flat | index | {MASK: mask}), convention="official")
    assert found.config.image_size == (16, 32)  # as the mask shows
    swin_weights.save(tmp_path / "t.npz", params, "torchvision", small)
    same(swin_weights.load(tmp_path / "t.npz", convention="official", image_size=(16, 32)).weights, flat)
