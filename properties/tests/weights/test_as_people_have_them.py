"""Checkpoints as people have them: behind prefixes and wrappers, written by libraries, and what is refused.

A row is equal if the network that it was saved from gives the logits, or the maps, that the oracle gives with
what was loaded, in float64.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
import swin_reference
import swin_weights
from conftest import hot
from swin_properties.adapters.calls import read_config, write_config
from swin_properties.adapters.implementation import apply_convention
from swin_properties.adapters.peers.base import vision_operators
from swin_properties.budget.precision import PRECISIONS
from swin_properties.budget.within import within_budget
from swin_properties.commands.cli import main
from swin_properties.predict.logits import name_network
from swin_reference import direct
from swin_reference.config import SwinConfig, config_from, config_values, convention_named
from swin_reference.parameters import hot_parameters, parameter_shapes

torch = pytest.importorskip("torch", reason="torch is not installed")

from swin_properties.adapters.modules import find_module  # noqa: E402  (needs torch)

# Every grid is even, larger than the window and made of whole windows: all conventions of V1 agree.
SIZES: dict[str, Any] = {"embed_dim": 8, "depths": [1, 2], "num_heads": [2, 4], "mlp_ratio": 3.0}
IMAGES = np.random.default_rng(0).standard_normal((1, 3, 16, 16))
CONFIG = SwinConfig(16, 2, 3, 8, (1, 2), (2, 4), 2, mlp_ratio=3.0, num_classes=5)
IMAGE: dict[str, Any] = {"image_size": 16}
V2: dict[str, Any] = {"image_size": 16, "window_size": 2}


def arrays(found: Any) -> list[Any]:
    """Returns what a network gave as arrays: its logits, or its maps as (B, H, W, C).

    A network without a classifier gives the mean of its tokens, as the oracle does.
    """
    for given in ("feature_maps", "logits", "pooler_output"):
        found = getattr(found, given, None) if getattr(found, given, None) is not None else found
    if hasattr(found, "last_hidden_state"):
        found = found.last_hidden_state.mean(1)
    several = list(found.values()) if isinstance(found, Mapping) else found
    several = several if isinstance(several, (list, tuple)) else [several]
    return [x.detach().numpy() for x in several]


def agree(checkpoint: Any, theirs: list[Any], convention: str = "canonical") -> bool:
    """Tells whether a network's logits, or maps, are the oracle's with a checkpoint's weights."""
    config = replace(checkpoint.config, convention=convention)
    oracle = apply_convention(convention_named(convention), swin_reference)
    name, params = name_network(config), checkpoint.params
    features = name.replace("transformer", "features")
    norms = [
        {leaf: checkpoint.others.get(f"norm{stage}.{leaf}") for leaf in ("weight", "bias")}
        for stage in (0, 1)
    ]
    norms = [norm if norm["weight"] is not None else params["norm"] for norm in norms]

    def call(swin: Any) -> Any:
        if theirs[0].ndim == 2:
            given = IMAGES, params, config
            return getattr(swin, name)(*given), getattr(swin.expected, name)(*given)
        maps = [getattr(one, features)(IMAGES, params, config) for one in (swin, swin.expected)]
        if not checkpoint.others:
            return list(zip(*maps, strict=True))
        return [
            (swin.layer_norm(got, norm), swin.expected.layer_norm(expected, norm))
            for got, expected, norm in zip(*maps, norms, strict=True)
        ]

    network = SimpleNamespace(**{name: lambda *_: theirs[0]}, layer_norm=lambda number, _: theirs[number])
    setattr(network, features, lambda *_: [0, 1] if checkpoint.others else theirs)
    return within_budget(call, network, oracle, PRECISIONS["float64"]).holds


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    """torchvision is imported as the peers import it, before timm and transformers import it."""
    with suppress(ImportError):
        vision_operators()


# The networks of the libraries, each made once; a test is skipped where its library is not installed.


def timm() -> Any:
    home = pytest.importorskip("timm.models.swin_transformer")
    return home.SwinTransformer(img_size=16, patch_size=2, window_size=2, num_classes=5, **SIZES)


def timm_features() -> Any:
    create = pytest.importorskip("timm").create_model
    sizes = {"img_size": 16, "patch_size": 2, "window_size": 2, "out_indices": (0, 1), **SIZES}
    return create("swin_tiny_patch4_window7_224", pretrained=False, features_only=True, **sizes)


def timm_s3() -> Any:
    create = pytest.importorskip("timm").create_model
    sizes = {"img_size": 16, "patch_size": 2, "window_size": ((2, 2), (4, 4)), "num_classes": 5, **SIZES}
    return create("swin_s3_tiny_224", pretrained=False, **sizes)


def timm_v2() -> Any:
    home = pytest.importorskip("timm.models.swin_transformer_v2")
    return home.SwinTransformerV2(img_size=16, patch_size=2, window_size=2, num_classes=5, **SIZES)


def torchvision() -> Any:
    home = pytest.importorskip("torchvision.models.swin_transformer")
    return home.SwinTransformer([2, 2], window_size=[2, 2], num_classes=5, **SIZES)


def torchvision_v2() -> Any:
    home = pytest.importorskip("torchvision.models.swin_transformer")
    own = {"block": home.SwinTransformerBlockV2, "downsample_layer": home.PatchMergingV2}
    return home.SwinTransformer([2, 2], window_size=[2, 2], num_classes=5, **own, **SIZES)


def torchvision_extractor() -> Any:
    module = pytest.importorskip("torchvision.models.feature_extraction")
    return module.create_feature_extractor(torchvision().eval(), {"features.1": "a", "features.3": "b"})


def torchvision_getter() -> Any:
    module = pytest.importorskip("torchvision.models._utils")
    return module.IntermediateLayerGetter(torchvision().features, {"1": "a", "3": "b"})


def of_transformers(kind: str, **more: Any) -> Any:
    home = pytest.importorskip("transformers")
    config = (home.Swinv2Config if kind.startswith("Swinv2") else home.SwinConfig)(
        image_size=16,
        patch_size=2,
        window_size=2,
        num_labels=5,
        **SIZES,
        **{key: [*x] for key, x in more.items()},
    )
    config._attn_implementation = "eager" if kind.startswith("Swinv2") else "sdpa"
    return getattr(home, kind)(config)


def captioner() -> Any:
    home = pytest.importorskip("transformers")
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 20, "bos_token_id": 1, "eos_token_id": 1}
    decoder = home.GPT2LMHeadModel(home.GPT2Config(add_cross_attention=True, **sizes))
    return home.VisionEncoderDecoderModel(encoder=of_transformers("SwinModel"), decoder=decoder)


def segmenter() -> Any:
    home = pytest.importorskip("transformers")
    backbone = of_transformers("SwinBackbone", out_features=["stage1", "stage2"]).config
    sizes = {"hidden_size": 8, "num_labels": 2, "use_auxiliary_head": False, "pool_scales": [1]}
    return home.UperNetForSemanticSegmentation(home.UperNetConfig(backbone_config=backbone, **sizes))


class Unfolded(torch.nn.Module):  # type: ignore[misc]
    """A merge as mmpretrain computes it: torch's unfold, with the norm before or behind the reduction."""

    def __init__(self, channels: int, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.reduction = torch.nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = torch.nn.LayerNorm((4 if norm_first else 2) * channels)

    def forward(self, x: Any) -> Any:
        batch, height, width, _ = x.shape
        four = torch.nn.functional.unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)
        merged = self.reduction(self.norm(four)) if self.norm_first else self.norm(self.reduction(four))
        return merged.reshape(batch, height // 2, width // 2, -1)


class Mmpretrain(torch.nn.Module):  # type: ignore[misc]
    """A network with mmpretrain's merges that saves its weights under mmpretrain's names."""

    names = (
        (r"^patch_embed\.proj\.", r"backbone.patch_embed.projection."),
        (r"^patch_embed\.norm\.", r"backbone.patch_embed.norm."),
        (r"^layers\.", r"backbone.stages."),
        (r"\.attn\.", r".attn.w_msa."),
        (r"\.mlp\.fc1\.", r".ffn.layers.0.0."),
        (r"\.mlp\.fc2\.", r".ffn.layers.1."),
        (r"^norm\.", r"backbone.norm1."),
    )

    def __init__(self, model: Any, norm_first: bool) -> None:
        super().__init__()
        model.layers[1].downsample = Unfolded(8, norm_first)
        self.model, self.second = model, not norm_first

    def forward(self, images: Any) -> Any:
        return self.model(images)

    def state_dict(self, *_: Any, **__: Any) -> Any:
        state = {}
        for name, x in self.model.state_dict().items():
            for pattern, theirs in self.names:
                name = re.sub(pattern, theirs, name)
            if not self.second:  # timm has a merge at the begin of the next stage, as mmpretrain has in V2
                name = name.replace("stages.1.downsample", "stages.0.downsample")
            state[name] = x
        return state


def mmpretrain() -> Any:
    return Mmpretrain(timm(), norm_first=True)


def mmpretrain_v2() -> Any:
    return Mmpretrain(timm_v2(), norm_first=False)


INSIDE = {captioner: "encoder", segmenter: "backbone"}


@cache
def network(make: Callable[..., Any], *words: Any) -> tuple[Any, dict[str, Any], list[Any]]:
    """Returns a library's network, its state dict, and what it computes of the images."""
    model = hot(make(*words[:1], **dict(words[1:])))
    with torch.no_grad():
        encoder = model.base_model if "Masked" in str(words) else model
        encoder = getattr(model, INSIDE[make]) if make in INSIDE else encoder
        computed = arrays(encoder(torch.from_numpy(IMAGES)))
    return model, dict(model.state_dict()), computed


PREFIXES: list[tuple[Callable[..., Any], str]] = [
    (timm, "encoder."),
    (timm, "model."),
    (timm, "net."),
    (timm, "backbone.0."),
    (timm, "module.student."),
    (timm, "swin."),
    (timm, "detector.backbone.bottom_up."),
    (torchvision, "model."),
    (torchvision, "captioner.visual.0.body."),
    (torchvision_getter, "backbone.body."),
    (mmpretrain, "model."),
    (mmpretrain, "segmentor.encoder."),
    (timm_features, "smp.encoder.model."),
    (timm_v2, "image_encoder.trunk."),
]


@pytest.mark.parametrize(("make", "prefix"), PREFIXES)
def test_a_prefix(make: Any, prefix: str, tmp_path: Path) -> None:
    _, state, computed = network(make)
    held = {f"{prefix}{name}": x for name, x in state.items()}
    held |= {"decoder.0.conv.weight": torch.ones(1), f"{prefix}fpn.bias": torch.ones(1)}
    torch.save(held, tmp_path / "w.pth")
    known, convention = (V2, "timm-v2") if make is timm_v2 else (IMAGE, "canonical")
    found = swin_weights.load(tmp_path / "w.pth", **known)
    assert any(note.startswith("left out: 2 weights outside") for note in found.notes)
    assert agree(found, computed, convention)


def rename(pattern: str, there: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda state: {re.sub(pattern, there, name): x for name, x in state.items()}


def other(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x + 1 for name, x in state.items()}


WRAPPERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "parallel": (rename("^", "module."), ""),
    "compiled": (rename("^", "_orig_mod."), ""),
    "compiled in parallel": (rename("^", "module._orig_mod."), ""),
    "each block compiled": (rename(r"(blocks\.\d+)", r"\1._orig_mod"), ""),
    "each block checkpointed": (rename(r"(blocks\.\d+)", r"\1._checkpoint_wrapped_module"), ""),
    "each attention sharded": (rename(r"\.attn\.", ".attn._fsdp_wrapped_module."), ""),
    "parallel in the middle": (rename("^", "encoder.module.net._orig_mod."), ""),
    "model_state_dict": (lambda state: {"model_state_dict": state, "epoch": 3, "loss": 0.5}, ""),
    "params": (lambda state: {"params": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, ""),
    "Lightning": (
        lambda state: {
            "state_dict": rename("^", "model.")(state),
            "hyper_parameters": argparse.Namespace(lr=0.1),
            "global_step": 3,
        },
        "",
    ),
    "averaged": (lambda state: {"n_averaged": torch.tensor(3), **rename("^", "module.")(state)}, ""),
    "an average beside": (
        lambda state: {"model": other(state), "model_ema": {"module": state}},
        "model_ema",
    ),
    "student and teacher": (
        lambda state: {
            "student": rename("^", "module.backbone.")(other(state)),
            "teacher": rename("^", "backbone.")(state),
        },
        "teacher",
    ),
    "the average in one dict": (
        lambda state: rename("^", "ema.")(state) | rename("^", "online.")(other(state)),
        "ema",
    ),
    "an average behind a longer prefix": (lambda state: state | rename("^", "ema.")(other(state)), "."),
    "an average inside": (
        lambda state: rename("^", "online.")(state) | rename("^", "online.ema.")(other(state)),
        "online",
    ),
    "blocks of another network beside": (
        lambda state: {
            **state,
            **{
                f"decoder.{i}.{j}.attn.{leaf}": torch.ones(2)
                for i in (0, 1)
                for j in (0, 1)
                for leaf in "qkv"
            },
        },
        "",
    ),
    "numbers of NumPy beside": (
        lambda state: {"model": state, "best": np.float64(0.5), "history": np.arange(3.0), "n": np.int64(3)},
        "",
    ),
    "weights of NumPy": (lambda state: {name: x.numpy() for name, x in state.items()}, ""),
    "a scalar in one dict": (lambda state: {**state, "best": np.float32(0.5), "epoch": 3}, ""),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper(name: str, tmp_path: Path) -> None:
    wrap, part = WRAPPERS[name]
    _, state, computed = network(timm)
    torch.save(wrap(state), tmp_path / "w.pth")
    path = f"{tmp_path / 'w.pth'}:{part}" if part else tmp_path / "w.pth"
    assert agree(swin_weights.load(path, **IMAGE), computed)
    if part:
        with pytest.raises(ValueError, match=rf"got 2 with different weights, .*{part}.*: name one"):
            swin_weights.load(tmp_path / "w.pth", **IMAGE)
        with pytest.raises(ValueError, match=rf"a Swin under .*{part}.*, got elsewhere: give one"):
            swin_weights.load(tmp_path / "w.pth:elsewhere", **IMAGE)


BACKBONE = ("out_features", ("stage1", "stage2"))
LIBRARIES: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = [
    (timm, (), IMAGE, "timm"),
    (timm_features, (), IMAGE, "timm"),
    (timm_s3, (), IMAGE, "timm"),
    (timm_v2, (), V2, "timm-v2"),
    (torchvision, (), IMAGE, "torchvision"),
    (torchvision_v2, (), IMAGE, "torchvision-v2"),
    (torchvision_extractor, (), IMAGE, "torchvision"),
    (torchvision_getter, (), IMAGE, "torchvision"),
    (of_transformers, ("SwinForImageClassification",), IMAGE, "transformers"),
    (of_transformers, ("SwinBackbone", BACKBONE), IMAGE, "transformers"),
    (of_transformers, ("SwinModel",), IMAGE, "transformers"),
    (of_transformers, ("SwinForMaskedImageModeling",), IMAGE, "transformers"),
    (of_transformers, ("Swinv2ForImageClassification",), V2, "transformers-v2"),
    (of_transformers, ("Swinv2Model",), V2, "transformers-v2"),
    (of_transformers, ("Swinv2ForMaskedImageModeling",), V2, "transformers-v2"),
    (of_transformers, ("Swinv2Backbone", BACKBONE), V2, "transformers-v2"),
    (captioner, (), IMAGE, "transformers"),
    (segmenter, (), IMAGE, "transformers"),
    (mmpretrain, (), IMAGE, "mmpretrain"),
    (mmpretrain_v2, (), V2, "timm-v2"),
]


@pytest.mark.parametrize(("make", "words", "known", "convention"), LIBRARIES)
def test_a_library(make: Any, words: Any, known: Any, convention: str, tmp_path: Path) -> None:
    model, state, computed = network(make, *words)
    found = []
    if make is of_transformers:
        model.save_pretrained(tmp_path / "d")
        found.append(swin_weights.load(tmp_path / "d"))
    torch.save(state, tmp_path / "w.pth")
    found.append(swin_weights.load(tmp_path / "w.pth", **known))
    if make is not mmpretrain_v2:
        assert found[-1].layout == convention.removesuffix("-v2")
    if make is segmenter or "Backbone" in str(words):
        computed = [x.transpose(0, 2, 3, 1) for x in computed]
    for one in found:
        assert agree(one, computed, convention if convention.endswith("-v2") else "canonical")


def test_windows_of_the_stages_are_in_the_configuration(tmp_path: Path) -> None:
    import swin_torch

    torch.save(network(timm_s3)[1], tmp_path / "w.pth")
    found = swin_weights.load(tmp_path / "w.pth", **IMAGE)
    config = found.config
    assert config.window_size == ((2, 2), (4, 4))
    assert read_config(write_config(config)).window_size == config.window_size
    assert config_from({**config_values(config), "window_size": [[2, 2], [4, 4]]}) == config
    rounded = {name: x.astype(np.float32).astype(np.float64) for name, x in found.weights.items()}
    found = replace(found, weights=rounded)  # as swin_torch holds them
    ours = swin_torch.from_checkpoint(found).double()
    assert agree(found, arrays(ours(torch.from_numpy(IMAGES))))
    assert agree(found, [direct.swin_transformer(IMAGES, found.params, config)])
    swin_weights.save(tmp_path / "again.npz", found.params, "torchvision", config)
    assert swin_weights.load(tmp_path / "again.npz", **IMAGE).config == config
    with pytest.raises(ValueError, match="no window of its own for each stage"):
        swin_weights.save(tmp_path / "d", found.params, "transformers", config)
    with pytest.raises(ValueError, match=r"one \(height, width\) for each, got 2 for 1 stages"):
        replace(config, depths=(1,), num_heads=(2,))


def test_a_directory_of_timms(tmp_path: Path) -> None:
    home = pytest.importorskip("timm.models._hub")
    create = pytest.importorskip("timm").create_model
    sizes = {"img_size": 16, "patch_size": 2, "window_size": 2, "num_classes": 5, **SIZES}
    model = hot(create("swin_tiny_patch4_window7_224", pretrained=False, **sizes))
    home.save_for_hf(model, tmp_path, safe_serialization=True)
    found = swin_weights.load(tmp_path)
    assert (found.config.image_size, found.unknown, found.layout) == ((16, 16), ("qk_scale",), "timm")
    assert agree(found, arrays(model(torch.from_numpy(IMAGES))))


def test_locate_watches_blocks_behind_prefixes_and_wrappers() -> None:
    class Wrapper(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, inside: Any) -> None:
            super().__init__()
            self._orig_mod = inside

        def forward(self, *given: Any) -> Any:
            return self._orig_mod(*given)

    class Captioner(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, inside: Any) -> None:
            super().__init__()
            self.visual = torch.nn.ModuleDict({"trunk": inside})
            self.decoder = torch.nn.Linear(2, 2)

        def forward(self, images: Any) -> Any:
            return self.visual["trunk"](images)

    model = hot(timm())
    for stage in model.layers:
        stage.blocks = torch.nn.Sequential(*(Wrapper(block) for block in stage.blocks))
    recorded = find_module(Captioner(model).double(), "mine")
    assert recorded is not None
    weights = swin_weights.flatten(hot_parameters(parameter_shapes(CONFIG)))
    maps = recorded.record(IMAGES, weights)
    assert {f"layers.1.blocks.1{part}.out" for part in ("", ".norm1", ".norm2", ".attn")} <= maps.keys()
    loaded = swin_weights.Checkpoint(weights, CONFIG, "timm")
    assert agree(loaded, [maps["logits"]])


PHOTO = str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")


def test_predict_is_told_what_a_file_does_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, state, _ = network(timm_v2)
    torch.save({"student": state, "teacher": other(state)}, tmp_path / "w.pth")

    def predict(part: str, *words: str) -> tuple[int, str]:
        checkpoint = ("--checkpoint", f"{tmp_path / 'w.pth'}{part}", "--image", PHOTO, "--dtype", "float64")
        code = main(["predict", "swin_torch", "--in-process", *checkpoint, *words])
        return code, "".join(capsys.readouterr())

    assert "name one after a colon, as in w.pth:student" in predict("")[1]
    code, said = predict(":student")
    assert (code, said.count("\n")) == (2, 1)
    assert 'no weight of Swin V2 shows it: give a JSON file with {"window_size": ...} as --config' in said
    (tmp_path / "few.json").write_text('{"window_size": 2}')
    code, said = predict(":student", "--config", str(tmp_path / "few.json"))
    assert (code, "give it as --image-size" in said) == (2, True)
    code, said = predict(":student", "--config", str(tmp_path / "few.json"), "--image-size", "16")
    assert code == 0, said
    assert "it does not say pretrained_window_sizes" in said
    assert f"left out: {len(state)} weights outside student: teacher.*" in said


def test_weights_that_are_not_the_networks_are_found(tmp_path: Path) -> None:
    """A planted fault: two weights of the same shape change places, or a merge keeps the other order."""
    _, state, computed = network(timm)
    names = [f"layers.1.blocks.{block}.norm1.weight" for block in (0, 1)]
    torch.save(state | {names[0]: state[names[1]], names[1]: state[names[0]]}, tmp_path / "w.pth")
    assert not agree(swin_weights.load(tmp_path / "w.pth", **IMAGE), computed)
    _, state, computed = network(mmpretrain)
    found = swin_weights.understand(state, "w", **IMAGE)
    assert agree(found, computed)
    merge = "layers.0.downsample.reduction.weight"
    as_it_stands = state["backbone.stages.0.downsample.reduction.weight"].numpy()
    assert not agree(replace(found, weights={**found.weights, merge: as_it_stands}), computed)


class Detectron2:
    """Writes a file as detectron2's model zoo has it: a pickle of arrays."""

    def __call__(self, path: Path) -> Path:
        content = {"model": {"backbone.bottom_up.norm.bias": np.ones(2)}, "__author__": "third_party"}
        path = path.with_suffix(".pkl")
        path.write_bytes(pickle.dumps(content))
        return path


def save(held: Any, path: Path) -> Path:
    torch.save(held, path)
    return path


def named(*names: str, shape: tuple[int, ...] = (2, 2), swin: bool = True) -> Callable[[Path], Path]:
    """Returns what writes weights with these names, in a whole Swin or alone."""

    def write(path: Path) -> Path:
        held = {name: torch.ones(shape) for name in names}
        return save((network(timm)[1] if swin else {}) | held, path)

    return write


def quantised(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates it
        small = torch.ao.quantization.quantize_dynamic(timm(), {torch.nn.Linear})
        return save(small.state_dict(), path)


def pruned(path: Path) -> Path:
    from torch.nn.utils import prune

    model = timm()
    prune.l1_unstructured(model.layers[0].blocks[0].attn.qkv, "weight", 0.5)
    return save(model.state_dict(), path)


def parametrized(path: Path) -> Path:
    model = timm()
    torch.nn.utils.parametrizations.spectral_norm(model.layers[0].blocks[0].attn.qkv)
    return save(model.state_dict(), path)


def scripted(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(path)
    return path


def distributed(path: Path) -> Path:
    path.mkdir()
    (path / ".metadata").touch()
    (path / "__0_0.distcp").touch()
    return path


def adapted(path: Path) -> Path:
    path.mkdir()
    (path / "adapter_config.json").write_text("{}")
    return path


def empty(suffix: str) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path = path.with_suffix(suffix)
        path.touch()
        return path

    return write


REFUSALS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "video Swin": (
        named("patch_embed.proj.weight", shape=(8, 3, 2, 2, 2)),
        "video Swin or another Swin in three",
    ),
    "video Swin of torchvision": (
        named("features.0.0.weight", shape=(8, 3, 2, 2, 2), swin=False),
        "video Swin",
    ),
    "MONAI": (named("swinViT.layers1.0.blocks.0.attn.qkv.weight", swin=False), "MONAI's SwinUNETR"),
    "Swin-MLP": (named("layers.0.blocks.0.spatial_mlp.weight"), "Swin-MLP"),
    "Swin-MoE": (named("layers.1.blocks.1.mlp._moe_layer.experts.batched_fc1_w"), "Swin-MoE"),
    "SwinIR": (named("layers.0.residual_group.blocks.0.norm1.weight", swin=False), "SwinIR or Swin2SR"),
    "CSWin": (named("stage1_conv_embed.0.weight", swin=False), "CSWin"),
    "Focal Transformer": (named("layers.0.blocks.0.pool_layers.0.weight"), "Focal Transformer"),
    "timm's v2_cr": (
        named("stages.0.blocks.0.attn.meta_mlp.fc1.weight", swin=False),
        "swin_transformer_v2_cr",
    ),
    "detectron2": (Detectron2(), "a pickle, as detectron2 writes its model zoo"),
    "quantised by torch": (quantised, "is quantised: give the file from before"),
    "quantised by bitsandbytes": (named("layers.0.blocks.0.attn.qkv.SCB"), "is quantised"),
    "in eight bits": (
        lambda path: save({key: x.to(torch.float8_e4m3fn) for key, x in network(timm)[1].items()}, path),
        "float8_e4m3fn.*: save the weights dense, in float32",
    ),
    "LoRA": (named("layers.0.blocks.0.attn.qkv.lora_A.default.weight"), "a difference of LoRA's: merge"),
    "a folder of LoRA's": (adapted, "differences of LoRA's"),
    "pruned": (pruned, "weight_(orig|mask) is pruned or .*prune.remove"),
    "parametrized": (parametrized, "is parametrized, .*remove_parametrizations"),
    "a flat shard": (
        named("layers.0.blocks.0._fsdp_wrapped_module._flat_param", swin=False),
        "is a flat shard of FSDP's",
    ),
    "Flax": (named("layers_0/blocks_0/attn/qkv/kernel", swin=False), "is of Flax or Keras, whose kernels"),
    "colours last": (
        named("patch_embed.proj.weight", shape=(8, 2, 2, 3)),
        r"\(8, 2, 2, 3\), with the colours last, as MLX has it",
    ),
    "TorchScript": (scripted, "is a TorchScript archive, a program: `swin-oracle check`"),
    "a whole module": (
        lambda path: save(torch.nn.Linear(2, 2), path),
        "holds code as well .*state_dict alone",
    ),
    "Keras": (empty(".h5"), "it is Keras's"),
    "ggml": (empty(".gguf"), "it is ggml's"),
    "an export": (empty(".onnx"), "exported model: `swin-oracle check w.onnx` takes it"),
    "a distributed checkpoint": (distributed, "dcp_to_torch"),
    "an optimizer alone": (
        lambda path: save({"optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}}}, path),
        "none of its 1 names belongs to one .the first is optimizer_state_dict.state.0.exp_avg",
    ),
    "another network": (lambda path: save({"conv1.weight": torch.ones(2)}, path), "the stages of a Swin"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal(name: str, tmp_path: Path) -> None:
    write, sentence = REFUSALS[name]
    with pytest.raises(ValueError, match=sentence) as caught:
        swin_weights.load(write(tmp_path / "w.pth"), **IMAGE)
    assert len(str(caught.value)) <= 300
    assert "\n" not in str(caught.value)
