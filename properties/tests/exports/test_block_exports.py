"""One exported block: its sizes are found, its weights are replaced, and its faults are named."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from swin_properties.api import check, make_runner
from swin_properties.judging.implementation import load_implementation
from swin_properties.judging.run import choose_asked, make_request

torch = pytest.importorskip("torch", reason="torch is not installed")

for package in ("onnx", "onnxruntime", "onnxscript"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

Peer = Callable[[str], Any]

GRID, WINDOW, CHANNELS, HEADS = 8, 4, 12, 3
ASKED = "swin_block/oracle,swin_block/locality,swin_block/branches"


class Module(torch.nn.Module):
    """Our block as a module with one input."""

    def __init__(self, shift: int = 2) -> None:
        super().__init__()
        from swin_torch import SwinBlock

        torch.manual_seed(0)
        self.block = SwinBlock(CHANNELS, HEADS, WINDOW, 4 * CHANNELS)
        self.shift = (shift, shift)
        make_random(self)

    def forward(self, x: Any) -> Any:
        return self.block(x, self.shift)


def make_random(module: Any) -> None:
    """Gives each weight a random number, the norms and biases too."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))


def make_timm(peer: Peer, shift: int = 2, **words: Any) -> Any:
    block = peer("timm.models.swin_transformer").SwinTransformerBlock
    torch.manual_seed(0)
    made = block(
        CHANNELS, (GRID, GRID), num_heads=HEADS, window_size=WINDOW, shift_size=shift, **words
    ).eval()
    make_random(made)
    return made


def export(module: Any, path: Path, dynamo: bool = False, shape: tuple[int, ...] | None = None) -> str:
    """Writes a file of one block; returns its path."""
    example = torch.randn(shape or (1, GRID, GRID, CHANNELS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix == ".pt2":
            torch.export.save(torch.export.export(module.eval(), (example,)), path)
        else:
            words = {"verbose": False, "external_data": False} if dynamo else {}
            torch.onnx.export(module.eval(), (example,), str(path), dynamo=dynamo, **words)
    return str(path)


def judge(path: str, **options: str) -> Any:
    return check(path, only=ASKED, effort="quick", shrink=1.0, **options)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("form", ["legacy", "dynamo", "pt2"])
def test_an_honest_block_conforms(peer: Peer, tmp_path: Path, form: str, shift: int) -> None:
    end = "pt2" if form == "pt2" else "onnx"
    path = export(make_timm(peer, shift), tmp_path / f"block.{end}", dynamo=form == "dynamo")
    report = judge(path)
    assert report.exit_code == 0, report.results
    assert f"grid 8x8, window 4x4, shift {shift}x{shift} by its numbers, 3 heads of 4" in report.notes[0]
    assert "the laws write weights of their own into it" in report.notes
    assert "planted bugs in this block" in report.caught
    assert all(result.cases >= 5 for result in report.results)


def test_our_block_conforms_by_the_definition_of_the_mask(tmp_path: Path) -> None:
    report = judge(export(Module(), tmp_path / "block.onnx"))
    assert report.exit_code == 0, report.results
    assert not report.convention.endswith("-100")


def test_a_block_of_tokens_in_a_row_is_judged(peer: Peer, tmp_path: Path) -> None:
    square = export(InARow(make_timm(peer), (8, 8)), tmp_path / "square.onnx", shape=(2, 64, CHANNELS))
    assert judge(square).exit_code == 0
    block = make_timm(peer)
    block.dynamic_mask = True  # which makes the mask for the grid that it is given
    wide = export(InARow(block, (4, 12)), tmp_path / "wide.onnx", shape=(2, 48, CHANNELS))
    with pytest.raises(ValueError, match=r"do not tell the grid, wide\.onnx takes 48 tokens: give its sides"):
        load_implementation(wide)
    with pytest.raises(ValueError, match="takes 48 tokens, not 8x8"):
        load_implementation(f"{wide}?image_size=8")
    assert judge(f"{wide}?image_size=4x12").exit_code == 0


def test_a_block_without_its_mask_is_found(peer: Peer, tmp_path: Path) -> None:
    block = make_timm(peer)
    block.attn_mask.zero_()
    report = judge(export(block, tmp_path / "block.onnx"))
    assert report.exit_code == 1
    assert "shift 2x2" in report.notes[0]
    assert "mask" in report.cause, report.cause


def test_a_roll_of_the_wrong_sign_is_found(peer: Peer, tmp_path: Path, monkeypatch: Any) -> None:
    roll = torch.roll
    monkeypatch.setattr(
        torch, "roll", lambda x, shifts, dims: roll(x, tuple(abs(one) for one in shifts), dims)
    )
    report = judge(export(make_timm(peer), tmp_path / "block.onnx"))
    assert report.exit_code == 1


def test_a_block_with_an_index_that_is_none_keeps_its_own_weights(peer: Peer, tmp_path: Path) -> None:
    block = make_timm(peer)
    index = block.attn.relative_position_index
    index[0, 1] = index[0, 2]
    file = load_implementation(path := export(block, tmp_path / "block.onnx")).adapter
    assert file.own_weights is not None
    assert any("pairs of tokens of one offset have one bias" in fault for fault in file.faults)
    report = judge(path)
    assert report.exit_code == 1
    found = [result.counterexample for result in report.of("broken")]
    assert {one.case.recipe for one in found} == {"own"}
    assert {(one.usual, one.needed) for one in found} == {(None, "")}  # there is no other size


def test_of_a_block_its_own_laws_are_asked(peer: Peer, tmp_path: Path) -> None:
    request = make_request(export(make_timm(peer), tmp_path / "block.onnx"))
    asked = choose_asked(request, make_runner(request))
    assert {law.name.partition("/")[0] for law in asked} == {"swin_block"}
    assert len(asked) > 10


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_what_is_no_single_block_is_one_sentence(peer: Peer, tmp_path: Path) -> None:
    two = torch.nn.Sequential(make_timm(peer, 0), make_timm(peer))
    with pytest.raises(ValueError, match="export one block alone, or the whole network"):
        load_implementation(export(two, tmp_path / "two.onnx"))
    path = export(make_timm(peer), tmp_path / "block.onnx")
    with pytest.raises(ValueError, match="holds one block with weights of its own: leave --checkpoint"):
        load_implementation(f"{path}?checkpoint=w.pth")
    torch.jit.trace(make_timm(peer), torch.randn(1, GRID, GRID, CHANNELS)).save(tmp_path / "block.pt")
    with pytest.raises(ValueError, match=r"does not say what it takes, block\.pt holds one block"):
        load_implementation(str(tmp_path / "block.pt"))


class Sum(torch.nn.Module):
    """A block that is given two grids of tokens."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Any, y: Any) -> Any:
        return self.block(x + y)


class InARow(torch.nn.Module):
    """A block of tokens in a row, of one grid."""

    def __init__(self, block: Any, grid: tuple[int, int]) -> None:
        super().__init__()
        self.block, self.grid = block, grid

    def forward(self, x: Any) -> Any:
        return self.block(x.reshape(x.shape[0], *self.grid, CHANNELS)).reshape(x.shape[0], -1, CHANNELS)


def test_a_block_of_two_inputs_is_one_sentence(peer: Peer, tmp_path: Path) -> None:
    x = torch.randn(1, GRID, GRID, CHANNELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Sum(make_timm(peer)), (x, x), str(tmp_path / "two.onnx"), dynamo=False)
        torch.export.save(torch.export.export(Sum(make_timm(peer)), (x, x)), tmp_path / "two.pt2")
    with pytest.raises(ValueError, match=r"alone, two\.onnx takes 2 inputs: export it so"):
        load_implementation(str(tmp_path / "two.onnx"))
    with pytest.raises(ValueError, match="it takes 2 inputs, a network or a block takes one"):
        load_implementation(str(tmp_path / "two.pt2"))


def test_a_grid_that_the_block_is_not_made_for_is_one_sentence(peer: Peer, tmp_path: Path) -> None:
    words = {"input_names": ["x"], "dynamic_axes": {"x": {1: "tokens"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row, x = InARow(make_timm(peer), (8, 8)).eval(), torch.randn(1, 64, CHANNELS)
        torch.onnx.export(row, (x,), str(path := tmp_path / "row.onnx"), dynamo=False, **words)
    with pytest.raises(ValueError, match=r"do not tell the grid, .* takes any number of tokens"):
        load_implementation(str(path))
    with pytest.raises(ValueError, match="this file does not take those of 4x8"):
        load_implementation(f"{path}?image_size=4x8")


def test_locate_says_that_it_takes_networks(peer: Peer, tmp_path: Path, command: Any) -> None:
    pil = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    pil.new("RGB", (16, 16)).save(photo := tmp_path / "photo.png")
    path = export(make_timm(peer), tmp_path / "block.onnx")
    said = command("locate", path, "--image", str(photo))
    assert said.returncode == 2
    assert "holds one block: judge it by swin-oracle check, or give" in said.stderr
