"""Exported models: weights are recovered and replaced, faults are found, bad files are one sentence."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from swin_properties.adapters.answers import Declined
from swin_properties.adapters.exports import add_options
from swin_properties.adapters.exports.network import choose_images
from swin_properties.adapters.exports.notes import compare_weights, describe_weights
from swin_properties.adapters.load import load
from swin_properties.api import check
from swin_properties.cases.case import NetCase
from swin_properties.judging.implementation import load_implementation
from swin_properties.judging.one_law import run_case
from swin_properties.judging.report import LawResult, Report
from swin_properties.laws.law import LAWS
from swin_properties.reports import html, json, junit
from swin_properties.reports.terminal import verdict
from swin_reference.config import SwinConfig
from swin_weights import unflatten

torch = pytest.importorskip("torch", reason="torch is not installed")

for package in ("onnx", "onnxruntime", "onnxscript"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

import onnx  # noqa: E402

ORACLE = "swin_transformer/oracle"
CONFIG = SwinConfig(
    image_size=16, patch_size=2, embed_dim=8, depths=(2, 1), num_heads=(2, 4), window_size=4, num_classes=50
)
SIDE = 16

Peer = Callable[[str], Any]


def make_ours(seed: int = 0) -> Any:
    """Our network; every weight is random, biases and norms too."""
    from swin_torch import SwinTransformer

    torch.manual_seed(seed)
    model = SwinTransformer(CONFIG).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return model


def make_timm(peer: Peer) -> Any:
    torch.manual_seed(0)
    made = peer("timm.models.swin_transformer").SwinTransformer(
        img_size=SIDE,
        patch_size=2,
        embed_dim=8,
        depths=(2, 1),
        num_heads=(2, 4),
        window_size=4,
        num_classes=50,
    )
    return made.eval()


def export(model: Any, path: Path, dynamo: bool = False, any_batch: bool = False, **names: Any) -> str:
    """Writes an ONNX file; returns its path."""
    example = torch.randn(2 if any_batch and dynamo else 1, 3, SIDE, SIDE)
    if any_batch and dynamo:
        names["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    elif any_batch:
        names |= {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "b"}, "y": {0: "b"}}}
    if dynamo:
        names |= {"verbose": False, "external_data": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (example,), str(path), dynamo=dynamo, **names)
    return str(path)


@dataclass(frozen=True)
class Judged:
    """What was read of a file, and what the law of the logits showed on a few cases."""

    file: Any
    results: list[LawResult]

    @property
    def holds(self) -> bool:
        return all(result.status == "holds" for result in self.results)

    @property
    def seen(self) -> str:
        """What was seen where the law is broken, empty where it holds."""
        found = (result.counterexample for result in self.results if result.counterexample)
        return next((one.seen for one in found), "")


def judge(path: str, convention: str = "canonical", **options: str) -> Judged:
    implementation = load_implementation(add_options(path, options), convention=convention)
    law = LAWS[ORACLE]
    cases = [implementation.fit_case(NetCase(seed=seed, classes=50), law.needs) for seed in (0, 2)]
    return Judged(implementation.adapter, [run_case(law, implementation, case, str) for case in cases])


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Our network by the legacy exporter."""
    return export(make_ours(), tmp_path_factory.mktemp("ours") / "ours.onnx")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checkpoint of the exported network."""
    path = tmp_path_factory.mktemp("weights") / "ours.pth"
    torch.save(make_ours().state_dict(), path)
    return str(path)


def test_an_honest_export_conforms_with_the_laws_weights(ours: str, weights: str) -> None:
    report = check(
        add_options(ours, {"checkpoint": weights}), only=ORACLE, effort="quick", convention="canonical"
    )
    assert report.exit_code == 0, report
    assert report.results[0].rho is not None
    assert 0 < report.results[0].rho <= 1
    assert "the laws write weights of their own into it" in report.notes
    assert any(note.endswith("weights recovered from the file") for note in report.notes)
    assert "planted bugs" in report.caught


def test_weights_that_share_an_initializer_are_told_apart(peer: Peer, tmp_path: Path, deep: bool) -> None:
    path = export(make_timm(peer), tmp_path / "timm.onnx", dynamo=deep, any_batch=True)
    model = onnx.load(path)
    assert len(model.graph.initializer) < 63 + 10  # as constructed, norms and biases are equal
    judged = judge(path, "timm")
    assert judged.holds, judged.results
    assert any("as constructed" in note for note in judged.file.notes)
    assert "batch any, image 16x16" in judged.file.notes


def test_a_convention_is_found_by_the_one_network(ours: str) -> None:
    found = load_implementation(ours)
    assert (found.convention.name, found.chosen) == ("canonical", "identified")  # its mask is -inf


class Baked(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A network with the number of images as a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_ours()

    def forward(self, x: Any) -> Any:
        return self.inner(x) * (int(x.shape[0]) / torch.tensor(x.shape[0]))


def test_a_batch_baked_in_is_found(tmp_path: Path) -> None:
    assert "rho" in judge(export(Baked(), tmp_path / "baked.onnx", any_batch=True)).seen


def test_a_batch_that_the_graph_refuses_is_found(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swin = peer("timm.models.swin_transformer")

    def window_reverse(windows: Any, window_size: Any, H: int, W: int) -> Any:
        (mh, mw), batch = window_size, int(windows.shape[0] * window_size[0] * window_size[1] / (H * W))
        x = windows.view(batch, H // mh, W // mw, mh, mw, -1)  # as in microsoft's file
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(batch, H, W, -1)

    monkeypatch.setattr(swin, "window_reverse", window_reverse)
    assert "raised" in judge(export(make_timm(peer), tmp_path / "baked.onnx", any_batch=True), "timm").seen


def test_a_mask_of_another_image_size_is_found(peer: Peer, tmp_path: Path) -> None:
    model = make_timm(peer)
    mask = model.layers[0].blocks[1].attn_mask
    mask.copy_(mask[[3, 2, 1, 0]])  # as many windows, of another grid
    assert "rho" in judge(export(model, tmp_path / "mask.onnx"), "timm").seen


def test_weights_in_half_precision_are_found(tmp_path: Path, weights: str) -> None:
    path = export(make_ours().half().float(), tmp_path / "half.onnx")
    alone, compared = judge(path), load(add_options(path, {"checkpoint": weights}))
    assert any("rounded to half precision" in note for note in alone.file.notes)
    assert alone.holds
    law = "a file has the weights of its checkpoint, ours.pth"
    assert compared.faults == [f"{law}: its weights were rounded to half precision"]


def test_weights_that_were_not_loaded_are_found(tmp_path: Path, weights: str) -> None:
    path = export(make_ours(seed=1), tmp_path / "other.onnx")
    words = add_options(path, {"checkpoint": weights})
    report = check(words, only="swin_transformer/dtype", effort="quick", convention="canonical")
    assert report.exit_code == 1
    assert "the checkpoint was not loaded" in report.faults[0]


def test_one_weight_that_differs_is_named(weights: str, tmp_path: Path) -> None:
    model = make_ours()
    with torch.no_grad():
        model.layers[0].blocks[1].mlp.fc1.bias[0] += 1
    (fault,) = load(add_options(export(model, tmp_path / "one.onnx"), {"checkpoint": weights})).faults
    assert "1 of" in fault
    assert "layers.0.blocks.1.mlp.fc1.bias by 1" in fault


class HalfNorm(torch.nn.LayerNorm):  # type: ignore[misc, name-defined, unused-ignore]
    """A LayerNorm that computes in float16."""

    def forward(self, x: Any) -> Any:
        y = torch.nn.functional.layer_norm(
            x.half(), self.normalized_shape, self.weight.half(), self.bias.half(), self.eps
        )
        return y.float()


def test_a_norm_in_half_precision_is_found(peer: Peer, tmp_path: Path) -> None:
    model = make_timm(peer)
    model.norm.__class__ = HalfNorm
    assert "rho" in judge(export(model, tmp_path / "norm.onnx"), "timm").seen


def test_pairs_of_one_offset_with_two_biases_are_a_fault(peer: Peer, tmp_path: Path) -> None:
    model = make_timm(peer)
    index = model.layers[0].blocks[0].attn.relative_position_index
    index.view(16, 16)[3, 5] = 0
    judged = judge(export(model, tmp_path / "index.onnx"), "timm")
    assert (
        "pairs of tokens of one offset have one bias: in layers.0.blocks.0 head 0 has"
        in judged.file.faults[0]
    )
    assert Report("index.onnx", "float32", "quick", 0, faults=tuple(judged.file.faults)).exit_code == 1


def test_a_quantised_file_is_measured_and_never_conforms(ours: str, weights: str, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime has no quantization")
    path = str(tmp_path / "int8.onnx")
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization.quantize_dynamic(ours, path)
    logging.disable(logging.NOTSET)
    with pytest.raises(ValueError, match="give its checkpoint with --checkpoint"):
        load(path)
    judged = judge(path, checkpoint=weights)
    assert judged.file.quantised
    assert not judged.holds
    report = Report("int8.onnx", "float32", "quick", 0, judged.results, quantised=True)
    assert report.exit_code == 2
    assert "is quantised: measured, not judged (worst rho" in verdict(report)


class HeadAtRunTime(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A network whose head is computed from the images: a weight that stands nowhere in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_ours()

    def forward(self, x: Any) -> Any:
        one = 1 + 0 * x[0, 0, 0, 0]
        head = self.inner.head
        self.inner.head = torch.nn.Identity()
        y = self.inner(x) @ (head.weight * one).T + head.bias
        self.inner.head = head
        return y


def test_where_weights_are_not_recovered_the_checkpoint_is_asked_for(weights: str, tmp_path: Path) -> None:
    path = export(HeadAtRunTime(), tmp_path / "head.onnx")
    with pytest.raises(ValueError, match=r"it gives 50 numbers.*give its checkpoint with --checkpoint"):
        load(path)
    judged = judge(path, checkpoint=weights)
    assert judged.holds, judged.results
    assert judged.file.own_weights is not None
    own = dict(judged.file.weights)
    own["head.bias"] = own["head.bias"] + 1
    images = np.zeros((1, 3, SIDE, SIDE), np.float32)
    with pytest.raises(Declined, match="other weights cannot be written"):
        judged.file.swin_transformer(images, unflatten(own), CONFIG)


def test_a_float16_file_is_judged_by_its_own_budget(ours: str, tmp_path: Path) -> None:
    model = onnx.load(ours)
    convert_to_half(model)
    onnx.save(model, tmp_path / "half.onnx")
    judged = judge(str(tmp_path / "half.onnx"))
    assert judged.file.precision == "float16"
    assert judged.holds, judged.results


def convert_to_half(model: Any) -> None:
    """Makes every float32 of a model a float16."""
    for tensor in [
        *model.graph.initializer,
        *(n.attribute[0].t for n in model.graph.node if n.op_type == "Constant"),
    ]:
        if tensor.data_type == 1:
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(
                    onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name
                )
            )
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == 1:
                attribute.i = 10
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = 10
    del model.graph.value_info[:]


def test_a_program_of_torch_export_and_a_traced_file_are_judged(tmp_path: Path) -> None:
    model, x = make_ours(), torch.randn(2, 3, SIDE, SIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model, (x,)), tmp_path / "ours.pt2")
        torch.jit.trace(model, x).save(str(tmp_path / "ours.pt"))
        program = judge(str(tmp_path / "ours.pt2"))
        with pytest.raises(ValueError, match="give --image-size"):
            load(str(tmp_path / "ours.pt"))
        traced = judge(str(tmp_path / "ours.pt"), image_size="16")
    assert program.holds, program.results
    assert traced.holds, traced.results


def test_bad_files_are_one_sentence(ours: str, tmp_path: Path) -> None:
    content = Path(ours).read_bytes()
    bad = {}

    def write(name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)

    write("cut.onnx", content[: len(content) // 2])
    write("empty.onnx", b"")
    write("text.onnx", b"no protobuf at all")
    new = onnx.load(ours)
    new.opset_import[0].version = 999
    onnx.save(new, tmp_path / "new.onnx")
    outside = onnx.load(ours)
    onnx.save(
        outside, tmp_path / "apart.onnx", save_as_external_data=True, location="w.bin", size_threshold=16
    )
    (tmp_path / "w.bin").unlink()
    apart = onnx.load(tmp_path / "apart.onnx", load_external_data=False)
    for tensor in apart.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../etc/passwd"
    write("outside.onnx", apart.SerializeToString())
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(one, 1, [1, 3, 16, 16]) for one in "xy"]
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "g", value[:1], value[1:])),
        tmp_path / "relu.onnx",
    )
    write("broken.pt2", content)
    write("broken.pt", content)
    bad = {
        "cut": "parses as a model|are whole",
        "empty": "parses as a model",
        "text": "parses as a model",
        "new": "does not take new.onnx",
        "apart": "'w.bin' with .* is missing",
        "outside": "lies in the folder of outside.onnx",
        "relu": "it has no attention.*give its checkpoint",
    }
    for name, sentence in bad.items():
        with pytest.raises(ValueError, match=sentence) as caught:
            load(str(tmp_path / f"{name}.onnx"))
        assert "\n" not in str(caught.value), name
    for name in ("broken.pt2", "broken.pt", "none.onnx"):
        with pytest.raises(ValueError, match=r"is not|is an existing file"):
            load(str(tmp_path / name))


def test_the_command_takes_a_file_and_its_options(command: Any, ours: str, weights: str) -> None:
    words = [
        "check",
        ours,
        "--checkpoint",
        weights,
        "--only",
        "swin_transformer/dtype",
        "--effort",
        "quick",
        "-j",
        "1",
    ]
    done = command(*words, "--convention", "canonical")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "file: batch 1, image 16x16" in done.stdout
    wrong = command("check", "swin_reference", "--checkpoint", weights)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "--checkpoint is of an exported file" in wrong.stderr
    provider = command("check", ours, "--provider", "Abacus", "--in-process")
    assert provider.returncode == 2
    assert "a provider of this onnxruntime is one of" in provider.stderr


def test_the_mask_tells_conventions_apart_that_agree_on_sizes(peer: Peer, tmp_path: Path) -> None:
    found = load_implementation(export(make_timm(peer), tmp_path / "timm.onnx"))
    assert found.adapter.mask_value == "-100"
    assert found.convention.mask_value == -100
    assert "timm" in f"{found.convention.name} {found.chosen}"


def test_every_report_says_what_is_wrong_in_a_file() -> None:
    report = Report("a.onnx", "float32", "quick", 0, notes=("batch 1",), faults=("two weights differ",))
    for text in (junit.text(report), html.page(report), json.text(report)):
        assert "two weights differ" in text
    assert 'failures="1"' in junit.text(report)


def test_what_weights_show_by_themselves() -> None:
    rough = {"a.weight": np.full((2, 2), 0.1, np.float32), "norm.weight": np.full(2, 0.5, np.float32)}
    assert not any("half" in note for note in describe_weights(rough, "float32"))
    halved = {name: x.astype(np.float16).astype(np.float32) for name, x in rough.items()}
    assert any("half" in note for note in describe_weights(halved, "float32"))
    assert compare_weights(rough, rough, "w.pth") == []
    assert "different networks" in compare_weights(rough, {"b": rough["a.weight"]}, "w.pth")[0]


def test_a_dynamic_side_is_asked_at_several_sizes() -> None:
    sizes = {"patch": (2, 2), "window": (4, 4), "depths": (2, 1)}
    assert choose_images((None, 16), sizes) == [(32, 16), (48, 16), (34, 16)]
