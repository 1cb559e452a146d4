"""``swin-oracle locate`` of an ONNX file: each planted fault is named with its part, and no other step."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import swin_weights
from swin_properties.adapters.exports import onnx_file
from swin_properties.commands.cli import main
from swin_reference.config import SwinConfig
from swin_reference.parameters import hot_parameters, parameter_shapes

torch = pytest.importorskip("torch", reason="torch is not installed")

for package in ("onnx", "onnxruntime", "onnxscript"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

import onnx  # noqa: E402

PHOTO = str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
CONFIG = SwinConfig(64, 4, 3, 8, (2, 2, 6, 2), (1, 2, 2, 4), 2, num_classes=10)
PADDED = SwinConfig(52, 4, 3, 8, (2, 2, 2), (1, 2, 2), 4, num_classes=10)
"""A network whose grids 13, 7 and 4 are padded to windows, where conventions differ."""

Out = pytest.CaptureFixture[str]
Locate = Callable[..., dict[str, Any]]
Peer = Callable[[str], Any]


def make_params(config: SwinConfig) -> Any:
    return hot_parameters(parameter_shapes(config))


def make_ours(config: SwinConfig = CONFIG) -> Any:
    """Our network, with the weights of `make_params`."""
    from swin_torch import SwinTransformer

    model = SwinTransformer(config).eval()
    weights = swin_weights.flatten(make_params(config))
    model.load_state_dict({name: torch.tensor(x) for name, x in weights.items()})
    return model


def make_timm(peer: Peer) -> Any:
    """timm's network of the padded sizes, with the weights of `make_params`."""
    made = peer("timm.models.swin_transformer").SwinTransformer
    model = made(52, 4, 3, 10, "avg", 8, (2, 2, 2), (1, 2, 2), window_size=4, strict_img_size=False).eval()
    weights = swin_weights.to_layout(swin_weights.flatten(make_params(PADDED)), "timm")
    model.load_state_dict({name: torch.tensor(x) for name, x in weights.items()}, strict=False)
    return model


def export(
    model: Any, path: Path, side: int = 64, batch: int = 1, dynamo: bool = False, **words: Any
) -> Path:
    """Writes an ONNX file; returns its path."""
    words |= {"verbose": False, "external_data": False} if dynamo else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = torch.randn(batch, 3, side, side, dtype=next(model.parameters()).dtype)
        torch.onnx.export(model, (images,), str(path), dynamo=dynamo, **words)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clean export and the checkpoint of the network."""
    folder = tmp_path_factory.mktemp("exported")
    swin_weights.save(folder / "w.npz", make_params(CONFIG))
    export(make_ours(), folder / "clean.onnx")
    return folder


@pytest.fixture
def locate(tmp_path: Path, capsys: Out) -> Locate:
    """Runs the command in this process; returns what it wrote, its exit code and what it said."""

    def run(file: Path, *words: str, process: str = "--in-process") -> dict[str, Any]:
        written = tmp_path / "found.json"
        written.unlink(missing_ok=True)
        words = ("locate", str(file), "--image", PHOTO, "--json", str(written), *words)
        code = main([*words, *filter(None, [process])])
        out, err = capsys.readouterr()
        found = json.loads(written.read_text()) if written.exists() else {}
        return {**found, "code": code, "out": out, "err": err}

    return run


def list_wrong_parts(found: dict[str, Any]) -> dict[str, list[str]]:
    """Returns the steps beyond their budgets, with their parts that are."""
    return {
        step["step"]: [part["part"] for part in step["parts"] if not part["holds"]]
        for step in found["steps"]
        if step["beyond"]
    }


def plant(model: Any, fault: str) -> None:
    """Changes a network by one fault, or by two."""
    blocks = [block for stage in model.layers for block in stage.blocks]
    with torch.no_grad():
        if fault == "weight":
            blocks[7].mlp.fc1.weight[0, 0] += 0.25
        if fault == "eps":
            blocks[5].norm2.eps = 1e-3
        if fault == "table":
            table = blocks[2].attn.relative_position_bias_table
            table.copy_(table.roll(1, 0))
        if fault == "two":
            blocks[3].norm1.eps = 1e-2
            blocks[9].attn.qk_scale = 1.0
        if fault == "no block":
            for norm in (model.patch_embed.norm, model.layers[1].downsample.norm, model.norm):
                norm.eps = 1e-2


FAULTS = {
    "weight": {"block 7": ["MLP"]},
    "eps": {"block 5": ["norm2"]},
    "table": {"block 2": ["attention"]},
    "two": {"block 3": ["norm1"], "block 9": ["attention"]},
    "no block": {"embedding": [], "merge 1": [], "head": []},
}
"""The faults, and the steps and parts that are named for each."""

OTHERS = {
    "weight": "layers.2.blocks.3.mlp.fc1.weight",
    "table": "layers.1.blocks.0.attn.relative_position_bias_table",
}
"""The weight that a fault changes, where it changes one."""


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_and_no_other(
    fault: str, locate: Locate, folder: Path, tmp_path: Path, deep: bool
) -> None:
    model = make_ours()
    plant(model, fault)
    for dynamo in (False, True) if deep else (fault == "table",):
        file = export(model, tmp_path / f"{fault}.onnx", dynamo=dynamo)
        found = locate(file, "--checkpoint", str(folder / "w.npz"))
        assert (found["code"], list_wrong_parts(found)) == (1, FAULTS[fault]), found["out"] + found["err"]
        assert found["other_weights"] == ([OTHERS[fault]] if fault in OTHERS else [])
        inside = {step["step"]: step["inside_windows"] for step in found["steps"] if step["inside_windows"]}
        wrong = {step for step, parts in FAULTS[fault].items() if "attention" in parts}
        assert {step for step, one in inside.items() if not one["holds"]} == wrong
        # Without the checkpoint the file's own weights are right by definition: only its code is compared.
        assert list_wrong_parts(locate(file)) == ({} if fault in OTHERS else FAULTS[fault])


def test_a_clean_export_has_no_fault_and_both_lines(locate: Locate, folder: Path, tmp_path: Path) -> None:
    found = locate(folder / "clean.onnx", "--svg", str(tmp_path / "depth.svg"))
    assert (found["code"], found["beyond"], found["other_weights"]) == (0, [], [])
    assert (found["convention"], found["layout"]) == ("canonical", "onnx")
    steps = 1 + sum(CONFIG.depths) + 3 + 1
    assert len(found["steps"]) == steps
    assert all(step["alone"]["rho"] > 0 and step["from_image"]["rho"] > 0 for step in found["steps"])
    assert (tmp_path / "depth.svg").read_text().count('r="3"') == 2 * steps
    assert "weights: those of" in found["out"]
    assert "173 weights recovered from the file" in found["out"]
    assert "the laws write" not in found["out"]


def test_a_file_has_a_process_of_its_own(locate: Locate, folder: Path) -> None:
    alone, here = locate(folder / "clean.onnx", process=""), locate(folder / "clean.onnx")
    assert (alone["code"], alone["steps"]) == (0, here["steps"])


def test_what_stands_between_blocks_is_named_as_such(locate: Locate, folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "clean.onnx")
    nodes = model.graph.node
    norm = next(node for node in nodes if "layers.1.blocks.1.norm1.weight" in node.input)
    given = norm.input[0]
    turned = onnx.helper.make_node("Gather", [given, "backwards"], ["turned"], axis=1)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(8)[::-1].copy(), "backwards"))
    for node in list(nodes)[list(nodes).index(norm) :]:
        node.input[:] = ["turned" if one == given else one for one in node.input]
    nodes.insert(list(nodes).index(norm), turned)
    onnx.save(model, tmp_path / "between.onnx")
    found = locate(tmp_path / "between.onnx")
    assert found["beyond"] == ["layers.1.blocks.1"]
    assert "is given something else than the step before gave" in found["out"]


def test_a_fault_that_further_outputs_switch_off_shows_in_the_logits(
    locate: Locate, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = onnx_file.make_session

    def make_session(model: Any, *args: Any, **words: Any) -> Any:
        session, scale = start(model, *args, **words), 1.01 if len(model.graph.output) == 1 else 1
        return lambda images: [session(images)[0] * np.float32(scale), *session(images)[1:]]

    monkeypatch.setattr(onnx_file, "make_session", make_session)
    found = locate(folder / "clean.onnx")
    assert (found["code"], found["beyond"]) == (1, [])
    assert "look at what a runtime fuses" in found["out"]


@pytest.mark.parametrize("words", [(), ("--convention", "timm")])
def test_a_convention_is_the_one_with_the_fewest_faults(
    words: tuple[str, ...], locate: Locate, peer: Peer, tmp_path: Path
) -> None:
    model = make_timm(peer)
    model.layers[1].blocks[1].norm2.eps = 1e-2
    file = export(model, tmp_path / "timm.onnx", side=52)
    found = locate(file, *words)
    assert (found["convention"], list_wrong_parts(found)) == ("timm", {"block 3": ["norm2"]})
    assert len(list_wrong_parts(locate(file, "--convention", "canonical"))) > 1


def test_several_images_and_norms_of_several_nodes(locate: Locate, tmp_path: Path) -> None:
    file = export(make_ours(PADDED), tmp_path / "old.onnx", side=52, batch=3, opset_version=13)
    assert not any(node.op_type == "LayerNormalization" for node in onnx.load(file).graph.node)
    found = locate(file)
    assert (found["code"], found["convention"]) == (0, "canonical"), found["out"]
    assert "note: batch 3, image 52x52" in found["out"]


@pytest.mark.parametrize(("fault", "wrong"), [("", {}), ("two", {"block 9": ["attention"]})])
def test_half_precision_has_its_own_budget(
    fault: str, wrong: dict[str, list[str]], locate: Locate, tmp_path: Path
) -> None:
    model = make_ours().half()
    plant(model, fault)  # in float16 the eps of block 3 is within the budget
    found = locate(export(model, tmp_path / "half.onnx"), "--optimisation", "off")
    assert (found["code"], found["precision"]) == (int(bool(fault)), "float16"), found["out"] + found["err"]
    assert list_wrong_parts(found) == wrong


def test_a_file_of_any_size_is_asked_at_the_size_that_is_said(
    locate: Locate, peer: Peer, tmp_path: Path
) -> None:
    axes = {"x": {0: "b", 2: "h", 3: "w"}, "y": {0: "b"}}
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
    file = export(make_timm(peer), tmp_path / "any.onnx", side=52, **names)
    assert "takes several: give it as --image-size" in locate(file)["err"]
    assert locate(file, "--image-size", "52")["code"] == 0
    stale = locate(file, "--image-size", "80")  # its mask is that of 52 pixels
    assert list_wrong_parts(stale) == {"block 5": ["attention"]}
    assert "right inside the windows that it is given: look at their roll" in stale["out"]
    ours = export(make_ours(PADDED), tmp_path / "ours.onnx", side=52, **names)
    wrong = locate(ours, "--image-size", "80")
    assert (wrong["code"], wrong["err"].count("\n")) == (2, 1)
    assert "ours.onnx takes no (1, 3, 80, 80)" in wrong["err"]


def test_each_wrong_part_of_a_block_is_said_with_what_is_known_of_it(locate: Locate, tmp_path: Path) -> None:
    model = make_ours()
    block = model.layers[2].blocks[5]
    block.attn.qk_scale, block.norm2.eps = 1.0, 1e-2
    found = locate(export(model, tmp_path / "parts.onnx"))
    assert list_wrong_parts(found) == {"block 9": ["attention", "norm2"]}
    assert "what is wrong is its attention (inside the windows) and its norm2\n" in found["out"]


class MeanlessNorm(torch.nn.LayerNorm):  # type: ignore[misc, name-defined, unused-ignore]
    """A norm that does not subtract the mean."""

    def forward(self, x: Any) -> Any:
        return x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt() * self.weight + self.bias


def test_a_norm_without_a_mean_is_named(locate: Locate, tmp_path: Path) -> None:
    model = make_ours()
    model.layers[2].blocks[3].norm1.__class__ = MeanlessNorm
    assert list_wrong_parts(locate(export(model, tmp_path / "mean.onnx"))) == {"block 7": ["norm1"]}


class OtherNorm(torch.nn.LayerNorm):  # type: ignore[misc, name-defined, unused-ignore]
    """A norm in other operators than an exporter's."""

    def forward(self, x: Any) -> Any:
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred * (centred.square().mean(-1, keepdim=True) + self.eps).rsqrt() * self.weight + self.bias
        )


def test_norms_that_are_not_found_are_one_sentence(locate: Locate, folder: Path, tmp_path: Path) -> None:
    model = make_ours()
    model.layers[2].blocks[1].norm2.__class__ = OtherNorm
    file = export(model, tmp_path / "other.onnx")
    checkpoint = ("--checkpoint", str(folder / "w.npz"))
    for words, sentence in (
        ((), "give its checkpoint with --checkpoint"),
        (checkpoint, "go with 29, other.onnx has 28"),
    ):
        found = locate(file, *words)
        assert (found["code"], found["out"], found["err"].count("\n")) == (2, "", 1)
        assert sentence in found["err"]


def test_a_checkpoint_of_another_network_is_one_sentence(
    locate: Locate, folder: Path, tmp_path: Path
) -> None:
    """The weights are not recovered, so that the checkpoint alone says where its norms stand."""
    model = make_ours(SwinConfig(64, 4, 3, 8, (2, 4, 4, 2), (1, 2, 2, 4), 2, num_classes=10))
    model.head = torch.nn.Sequential(model.head, torch.nn.Softmax(-1))
    found = locate(export(model, tmp_path / "softmax.onnx"), "--checkpoint", str(folder / "w.npz"))
    assert (found["code"], found["err"].count("\n")) == (2, 1)
    assert "layers.1.downsample.norm has 64 channels, in softmax.onnx the norm" in found["err"]


def test_a_quantised_file_is_measured_and_not_judged(locate: Locate, folder: Path, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime has no quantization")
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization.quantize_dynamic(folder / "clean.onnx", tmp_path / "int8.onnx")
    logging.disable(logging.NOTSET)
    found = locate(tmp_path / "int8.onnx", "--checkpoint", str(folder / "w.npz"), "--convention", "canonical")
    assert found["code"] == 2
    assert len(found["beyond"]) == 1 + sum(CONFIG.depths) + 3
    assert "is quantised: measured, not judged" in found["out"].splitlines()[-1]
    assert "what is wrong is" not in found["out"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--image-size", "80"), "clean.onnx takes 64x64 pixels, got 80x80: leave the size out"),
        (("--config", "swin_t"), "takes 64x64 pixels, got 224x224"),
        (("--config", "{depths}"), "gives layers.0.blocks.2"),
        (("--load-weights",), "--load-weights is for an nn.Module, got an exported file"),
        (("--dtype", "float64"), "another precision needs with_precision"),
        (("--provider", "Abacus"), "a provider of this onnxruntime is one of"),
        (("--convention", "timmm"), "got 'timmm'"),
        (("--checkpoint", "{other}"), "all 65 matrices are others: export it with them"),
    ],
)
def test_what_is_refused_is_one_sentence(
    words: tuple[str, ...], sentence: str, locate: Locate, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "depths.json").write_text('{"depths": [3, 2, 6, 2]}')
    swin_weights.save(tmp_path / "other.npz", hot_parameters(parameter_shapes(CONFIG), seed=1))
    files = {"{depths}": str(tmp_path / "depths.json"), "{other}": str(tmp_path / "other.npz")}
    found = locate(folder / "clean.onnx", *(files.get(word, word) for word in words))
    assert (found["code"], found["out"], found["err"].count("\n")) == (2, "", 1)
    assert sentence in found["err"]


def test_files_of_torch_and_options_of_files_are_refused_in_one_sentence(capsys: Out) -> None:
    assert main(["locate", "model.pt2", "--image", PHOTO, "--in-process"]) == 2
    assert "model.pt2 is a file of torch: give the nn.Module" in capsys.readouterr().err
    assert main(["locate", "swin_torch", "--image", PHOTO, "--in-process", "--optimisation", "off"]) == 2
    assert "--optimisation is of an exported file, swin_torch is none" in capsys.readouterr().err


def test_a_field_that_a_file_does_not_show_is_said(locate: Locate, tmp_path: Path) -> None:
    config = SwinConfig(64, 4, 3, 8, (2, 2), (1, 2), 2, qk_scale=0.5, num_classes=10)
    file = export(make_ours(config), tmp_path / "scaled.onnx")
    (tmp_path / "scale.json").write_text('{"qk_scale": 0.5}')
    assert locate(file)["code"] == 1
    assert locate(file, "--config", str(tmp_path / "scale.json"))["code"] == 0
