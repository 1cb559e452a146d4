"""Exported Swin V2: files of torch with the laws' weights, ONNX files with those of a checkpoint."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from swin_properties.adapters.exports import add_options
from swin_properties.api import check
from swin_properties.judging.implementation import load_implementation
from swin_reference.config_v2 import SwinV2Config

torch = pytest.importorskip("torch", reason="torch is not installed")

for package in ("onnx", "onnxruntime"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

Peer = Callable[[str], Any]

SIDE = 16
SIZES: dict[str, Any] = {"embed_dim": 8, "depths": (2, 1), "num_heads": (2, 4), "window_size": 4}
ORACLE = "swin_v2_transformer/oracle"


def make_timm(peer: Peer, **words: Any) -> Any:
    """timm's network; every weight is random, biases and norms too."""
    torch.manual_seed(0)
    network = peer("timm.models.swin_transformer_v2").SwinTransformerV2
    return make_random(network(img_size=SIDE, patch_size=2, num_classes=50, **SIZES, **words))


def make_random(model: Any) -> Any:
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return model.eval()


def export(model: Any, path: Path) -> str:
    """Writes a file by the end of its name; returns its path."""
    x = torch.randn(1, 3, SIDE, SIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix == ".pt2":
            torch.export.save(torch.export.export(model, (x,)), path)
        elif path.suffix == ".pt":
            torch.jit.trace(model, x).save(path)
        else:
            torch.onnx.export(model, (x,), str(path), dynamo=False)
    return str(path)


def judge(path: str, **options: str) -> Any:
    return check(add_options(path, options), only=ORACLE, effort="quick", shrink=1.0)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_honest_files_of_torch_conform_with_the_laws_weights(peer: Peer, tmp_path: Path) -> None:
    model = make_timm(peer)
    program = judge(export(model, tmp_path / "timm.pt2"))
    traced = judge(export(model, tmp_path / "timm.pt"), image_size="16")
    for report in (program, traced):
        assert report.exit_code == 0, report.results
        assert "the laws write weights of their own into it" in report.notes
        assert "planted bugs in this network" in report.caught
        assert report.convention in ("official-v2", "timm-v2", "torchvision-v2")  # the mask is -100


def test_our_network_conforms_and_its_window_is_read_from_its_softmax(tmp_path: Path) -> None:
    from swin_torch import SwinV2Transformer

    torch.manual_seed(0)
    config = SwinV2Config(image_size=SIDE, patch_size=2, num_classes=50, **SIZES)
    model = make_random(SwinV2Transformer(config))
    report = judge(export(model, tmp_path / "ours.pt2"))
    assert report.exit_code == 0, report.results
    assert "window=4x4" in load_implementation(str(tmp_path / "ours.pt2")).adapter.scope["network"]


def test_a_trace_of_our_network_computes_its_bias_tables(tmp_path: Path) -> None:
    from swin_torch import SwinV2Transformer

    torch.manual_seed(0)
    config = SwinV2Config(image_size=SIDE, patch_size=2, num_classes=50, **SIZES)
    model, x = make_random(SwinV2Transformer(config)), torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(x)  # which keeps its tables
        traced = torch.jit.trace(model, x)  # it raises where a second recording has other operations
        held = dict(traced.named_parameters())
        for name, weight in model.named_parameters():
            if "cpb_mlp" in name:
                held[name].copy_(weight.mul_(2))
        assert torch.equal(traced(x), torch.jit.trace(model, x)(x))
        traced.save(tmp_path / "ours.pt")
        with pytest.raises(
            ValueError, match=r"shows its window in .*, ours\.pt does not: export it to \.pt2"
        ):
            load_implementation(f"{tmp_path / 'ours.pt'}?image_size={SIDE}")


def test_a_checkpoint_as_constructed_is_told(peer: Peer, tmp_path: Path) -> None:
    network = peer("timm.models.swin_transformer_v2").SwinTransformerV2
    model = network(img_size=SIDE, patch_size=2, num_classes=50, **SIZES).eval()
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    words = {"checkpoint": str(tmp_path / "timm.pth")}
    file = load_implementation(add_options(export(model, tmp_path / "timm.onnx"), words)).adapter
    assert any("no block adds anything" in note for note in file.notes)


def test_pretrained_windows_are_read_from_the_offsets(peer: Peer, tmp_path: Path) -> None:
    report = judge(export(make_timm(peer, pretrained_window_sizes=(8, 8)), tmp_path / "timm.pt2"))
    assert report.exit_code == 0, report.results
    assert "pretrained=8x8" in report.scope


def test_an_onnx_file_is_judged_with_its_checkpoint(peer: Peer, tmp_path: Path) -> None:
    model = make_timm(peer)
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    path = export(model, tmp_path / "timm.onnx")
    with pytest.raises(ValueError, match="give its checkpoint with --checkpoint"):
        load_implementation(path)
    report = judge(path, checkpoint=str(tmp_path / "timm.pth"))
    assert report.exit_code == 0, report.results
    assert "own_weights" in report.scope


def test_a_bias_of_half_its_height_is_found(peer: Peer, tmp_path: Path, monkeypatch: Any) -> None:
    sigmoid = torch.sigmoid
    monkeypatch.setattr(torch, "sigmoid", lambda x: sigmoid(x) / 2)
    report = judge(export(make_timm(peer), tmp_path / "timm.pt2"))
    assert report.exit_code == 1


def test_locate_takes_no_file_of_v2(peer: Peer, tmp_path: Path, command: Any) -> None:
    pil = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    pil.new("RGB", (SIDE, SIDE)).save(photo := tmp_path / "photo.png")
    model = make_timm(peer)
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    words = "--checkpoint", str(tmp_path / "timm.pth"), "--image", str(photo)
    said = command("locate", export(model, tmp_path / "timm.onnx"), *words)
    assert said.returncode == 2
    assert "holds a Swin V2: judge it by swin-oracle check, or give the nn.Module" in said.stderr
