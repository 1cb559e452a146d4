"""``swin-oracle locate``: each planted fault is named, with its block and its part, and no other step is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import swin_weights
from swin_properties.commands.cli import main
from swin_reference.config import SwinConfig
from swin_reference.parameters import hot_parameters, parameter_shapes

pytest.importorskip("torch", reason="torch is not installed")

ROOT = Path(__file__).resolve().parents[3]
PHOTO = str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
CONFIG = SwinConfig(64, 4, 3, 8, (2, 2, 6, 2), (1, 2, 2, 4), 2, num_classes=10)

Out = pytest.CaptureFixture[str]
Locate = Callable[..., dict[str, Any]]

NETWORKS = '''
"""Networks with the weights of w.npz, each with a fault."""
from pathlib import Path
import torch
import swin_torch
import swin_weights
from swin_reference.config import SwinConfig
from swin_torch.geometry import functional

WEIGHTS = swin_weights.load(Path(__file__).with_name("w.npz"), image_size=64)
model = swin_torch.SwinTransformer(WEIGHTS.config)
model.load_state_dict({name: torch.tensor(x) for name, x in WEIGHTS.weights.items()})
blocks = [block for stage in model.layers for block in stage.blocks]


def clean():
    return model


def half():
    return model.to(torch.bfloat16)


@torch.no_grad()
def weight():
    blocks[7].mlp.fc1.weight[0, 0] += 0.25
    return model


def eps():
    blocks[5].norm2.eps = 1e-3
    return model


def first_eps():
    blocks[4].norm1.eps = 1e-3
    return model


@torch.no_grad()
def table():
    table = blocks[2].attn.relative_position_bias_table
    table.copy_(table.roll(1, 0))
    return model


def two():
    blocks[3].norm1.eps = 1e-2
    blocks[9].attn.qk_scale = 1.0
    return model


def no_mask():
    attend = blocks[7].attn.forward
    blocks[7].attn.forward = lambda x, mask=None: attend(x)
    return model


def rolled_back():
    class Block(swin_torch.SwinBlock):
        def forward(self, x, shift_size=0, kept=None):
            return super().forward(x, 0, kept)
    blocks[7].__class__ = Block
    return model


@torch.no_grad()
def merge():
    model.layers[1].downsample.reduction.weight.neg_()
    return model


def embedding():
    model.patch_embed.norm.eps = 1e-2
    return model


def head():
    model.norm.eps = 1e-2
    return model


def between():
    class Stage(swin_torch.SwinStage):
        def apply_blocks(self, x, kept=None):
            for number, block in enumerate(self.blocks):
                x = block(x, 0) if number % 2 == 0 else block(x.flip(1), 1)
            return x
    model.layers[1].__class__ = Stage
    return model


def in_place():
    class Block(swin_torch.SwinBlock):
        def forward(self, x, shift_size=0, kept=None):
            return x.copy_(super().forward(x, shift_size, kept) * 1.01)
    blocks[6].__class__ = Block
    return model


def unwatched():
    class Block(swin_torch.SwinBlock):
        def forward(self, x, shift_size=0, kept=None):
            y = super().forward(x, shift_size, kept)
            return y if self._forward_hooks else y * 1.01
    blocks[6].__class__ = Block
    return model


class Backbone(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed, self.layers = model.patch_embed, model.layers
        for stage, channels in enumerate(WEIGHTS.config.channels):
            setattr(self, f"norm{stage}", torch.nn.LayerNorm(channels))
        self.norm3 = model.norm

    def forward(self, images):
        x, maps = self.patch_embed(images), []
        for stage, layer in enumerate(self.layers):
            x = layer.apply_blocks(x)
            maps.append(getattr(self, f"norm{stage}")(x).permute(0, 3, 1, 2))
            x = layer.downsample(x)
        return tuple(maps)


def backbone():
    blocks[7].norm1.eps = 1e-3
    return Backbone()


def wrapped():
    return torch.nn.ModuleDict({"module": model})


def twice():
    class Stage(swin_torch.SwinStage):
        def apply_blocks(self, x, kept=None):
            return super().apply_blocks(super().apply_blocks(x, kept), kept)
    model.layers[1].__class__ = Stage
    return model


def other():
    return swin_torch.SwinTransformer(WEIGHTS.config)


def mixed():
    model.head.half()
    return model


def renamed():
    return torch.nn.Linear(2, 3)


def raises():
    raise OSError("no such file")


def needs(config):
    return model


def dies():
    class Block(swin_torch.SwinBlock):
        def forward(self, x, shift_size=0, kept=None):
            import os
            os._exit(3)
    blocks[6].__class__ = Block
    return model
'''

PEERS = '''
"""Public networks, as their users make them: they are given the weights by --load-weights."""
from swin_properties.adapters.peers.base import vision_operators
vision_operators()


def timm():
    from timm.models.swin_transformer import SwinTransformer
    return SwinTransformer(64, 4, 3, 10, "avg", 8, (2, 2, 6, 2), (1, 2, 2, 4), window_size=2)


def torchvision():
    from torchvision.models.swin_transformer import SwinTransformer
    return SwinTransformer([4, 4], 8, [2, 2, 6, 2], [1, 2, 2, 4], [2, 2], num_classes=10)


def transformers():
    from transformers.models.swin.configuration_swin import SwinConfig
    from transformers.models.swin.modeling_swin import SwinForImageClassification
    sizes = dict(image_size=64, embed_dim=8, depths=[2, 2, 6, 2], num_heads=[1, 2, 2, 4], window_size=2)
    return SwinForImageClassification(SwinConfig(**sizes, num_labels=10))


def timm_eps():
    model = timm()
    model.layers[2].blocks[3].norm2.eps = 1e-3
    return model


def torchvision_eps():
    model = torchvision()
    model.features[5][3].norm1.eps = 1e-3
    return model


def transformers_eps():
    model = transformers()
    model.swin.encoder.layers[2].blocks[3].layernorm_before.eps = 1e-3
    return model
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights, and files of networks that hold them."""
    folder = tmp_path_factory.mktemp("locate")
    params = hot_parameters(parameter_shapes(CONFIG))
    swin_weights.save(folder / "w.npz", params)
    swin_weights.save(folder / "headless.npz", {name: x for name, x in params.items() if name != "head"})
    (folder / "networks.py").write_text(NETWORKS)
    (folder / "peers.py").write_text(PEERS)
    return folder


@pytest.fixture
def locate(folder: Path, tmp_path: Path) -> Locate:
    """Runs the command in this process; returns what it wrote, and its exit code."""

    def run(implementation: str, *words: str, process: str = "--in-process") -> dict[str, Any]:
        written = tmp_path / "found.json"
        written.unlink(missing_ok=True)
        given = ("--checkpoint", str(folder / "w.npz"), "--image-size", "64", "--image", PHOTO)
        line = ["locate", implementation, *given, "--json", str(written), *words]
        code = main([*line, process] if process else line)
        return {"code": code, **(json.loads(written.read_text()) if written.exists() else {})}

    return run


def list_wrong_parts(found: dict[str, Any]) -> dict[str, list[str]]:
    """Returns the parts beyond their budget of each step that is beyond its own."""
    steps = [step for step in found["steps"] if step["beyond"]]
    return {
        step["step"]: list(dict.fromkeys(part["part"] for part in step["parts"] if not part["holds"]))
        for step in steps
    }


@pytest.mark.parametrize(
    ("network", "wrong", "sentence"),
    [
        ("weight", {"block 7": ["MLP"]}, "than the oracle was given: layers.2.blocks.3.mlp.fc1.weight"),
        ("eps", {"block 5": ["norm2"]}, "what is wrong is its norm2"),
        ("first_eps", {"block 4": ["norm1"]}, "what is wrong is its norm1"),
        ("table", {"block 2": ["attention"]}, "its attention (inside the windows)"),
        ("two", {"block 3": ["norm1"], "block 9": ["attention"]}, "differs at block 3 and block 9"),
        ("no_mask", {"block 7": ["attention"]}, "its attention (inside the windows)"),  # it is given the mask
        ("rolled_back", {"block 7": ["attention"]}, "(right inside the windows that it is given: look at"),
        ("merge", {"merge 1": []}, "differs at merge 1"),
        ("embedding", {"embedding": []}, "differs at embedding"),
        ("head", {"head": []}, "differs at head"),
        ("in_place", {"block 6": ["MLP"]}, "differs at block 6"),
    ],
)
def test_each_fault_is_named_and_no_other(
    network: str, wrong: dict[str, list[str]], sentence: str, locate: Locate, folder: Path, capsys: Out
) -> None:
    found = locate(f"{folder / 'networks.py'}:{network}")
    assert list_wrong_parts(found) == wrong
    assert (found["code"], found["exit_code"]) == (1, 1)
    assert sentence in capsys.readouterr().out
    assert not found["logits"]["holds"]
    after = found["steps"][[step["step"] for step in found["steps"]].index(next(iter(wrong))) :]
    assert all(not step["from_image"]["holds"] for step in after)  # errors go on from there


@pytest.mark.parametrize(("network", "precision"), [("clean", "float32"), ("half", "bfloat16")])
def test_a_clean_network_has_no_fault(network: str, precision: str, locate: Locate, folder: Path) -> None:
    found = locate(f"{folder / 'networks.py'}:{network}")
    assert (found["code"], found["beyond"], found["other_weights"]) == (0, [], [])
    assert (found["precision"], found["device"], found["layout"]) == (precision, "cpu", "official")
    assert len(found["steps"]) == 1 + sum(CONFIG.depths) + 3 + 1
    for step in found["steps"]:
        for line in ("from_image", "alone"):
            assert 0 < step[line]["rho"] <= 1, step


def test_a_module_may_be_given_the_weights(locate: Locate, folder: Path) -> None:
    found = locate(f"{folder / 'networks.py'}:weight", "--load-weights")
    assert (found["code"], found["other_weights"]) == (0, [])


def test_what_stands_between_blocks_is_named(locate: Locate, folder: Path, capsys: Out) -> None:
    found = locate(f"{folder / 'networks.py'}:between")
    assert found["beyond"] == ["layers.1.blocks.1"]
    out = capsys.readouterr().out
    assert "beyond: its input" in out
    assert "is given something else than the step before gave" in out
    (step,) = [step for step in found["steps"] if step["beyond"]]
    assert step["alone"]["holds"]


def test_a_fault_that_hooks_switch_off_shows_in_the_logits(locate: Locate, folder: Path, capsys: Out) -> None:
    found = locate(f"{folder / 'networks.py'}:unwatched")
    assert (found["code"], found["beyond"]) == (1, [])
    assert "look at what hooks switch off" in capsys.readouterr().out


def test_names_may_have_a_prefix(folder: Path) -> None:
    from swin_properties.adapters.load import load_network

    network = load_network(f"{folder / 'networks.py'}:wrapped")
    assert (network.found.prefix, network.layout) == ("module.", "official")


@pytest.mark.parametrize("words", [(), ("--load-weights",)])
def test_a_backbone_without_logits(words: tuple[str, ...], locate: Locate, folder: Path) -> None:
    headless = ("--checkpoint", str(folder / "headless.npz"), "--convention", "canonical")
    found = locate(f"{folder / 'networks.py'}:backbone", *headless, *words)
    assert (found["layout"], found["logits"]) == ("detection", None)
    assert list_wrong_parts(found) == {"block 7": ["norm1"]}
    assert found["notes"] == ["it gives no logits (B, classes): its head is not compared"]
    assert found["steps"][-1]["name"] != "head"


@pytest.mark.parametrize("name", ["timm", "torchvision", "transformers"])
def test_public_networks_are_watched_by_the_names_of_their_layout(
    name: str, locate: Locate, folder: Path, peer: Any, deep: bool
) -> None:
    peer(name)
    words = f"{folder / 'peers.py'}:{name}"
    if deep:
        assert locate(words, "--load-weights")["code"] == 0
    found = locate(f"{words}_eps", "--load-weights")
    assert (found["layout"], found["convention"], found["other_weights"]) == (name, name, [])
    wrong = "norm2" if name == "timm" else "norm1"
    assert list_wrong_parts(found) == {"block 7": [wrong]}


# Adapters.

ADAPTER = """
import numpy as np
import swin_reference as oracle
from swin_reference.config import SwinConfig

precision = "float64"
blocks = 0
"""

SWIN_BLOCK = """
def swin_block(x, params, num_heads, window_size, shift_size):
    global blocks
    blocks += 1
    y = oracle.swin_block(x, params, num_heads, window_size, shift_size)
    return {wrong}
"""

PARTS = """
from swin_reference import layer_norm, mlp

def shifted_window_attention(x, params, num_heads, window_size, shift_size):
    y = oracle.shifted_window_attention(x, params, num_heads, window_size, shift_size)
    return {wrong}
"""

FEATURES = """
def swin_features(images, params, config):
    maps = oracle.swin_features(images, params, config)
    wrong = {wrong}
    merged = oracle.patch_merging(wrong, params["layers"][2]["downsample"])
    stage = params["layers"][3]
    return [*maps[:2], wrong, oracle.swin_stage(merged, stage, 2, config.num_heads[3], config.window_size)]
"""


def test_an_adapter_with_features_alone_shows_its_stages(locate: Locate, tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "mine.py"
    file.write_text(ADAPTER + FEATURES.format(wrong="maps[2] * 1.01"))
    found = locate(str(file))
    assert (found["code"], found["beyond"]) == (1, ["layers.2"])
    assert "it offers no swin_block: only stages can be told apart" in found["notes"]
    assert "differs at stage 2" in capsys.readouterr().out


def test_an_adapter_with_blocks_is_asked_block_by_block(locate: Locate, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(ADAPTER + SWIN_BLOCK.format(wrong="y * 1.01 if blocks == 8 else y"))
    found = locate(str(file))
    assert found["beyond"] == ["layers.2.blocks.3"]
    assert "it offers no swin_features: what is between its blocks is not compared" in found["notes"]


def test_the_parts_of_an_adapters_block_are_asked_alone(locate: Locate, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    wrong = "y * 1.01 if blocks == 8 else y"
    file.write_text(ADAPTER + SWIN_BLOCK.format(wrong=wrong) + PARTS.format(wrong=wrong))
    assert list_wrong_parts(locate(str(file))) == {"block 7": ["attention"]}
    file.write_text(ADAPTER + SWIN_BLOCK.format(wrong=wrong) + PARTS.format(wrong="y"))
    assert list_wrong_parts(locate(str(file))) == {"block 7": []}


def test_blocks_that_are_right_in_a_stage_that_is_wrong(locate: Locate, tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "mine.py"
    right = SWIN_BLOCK.format(wrong="y") + FEATURES.format(wrong="maps[2] * 1.01")
    file.write_text(ADAPTER + right)
    assert locate(str(file))["beyond"] == ["layers.2"]
    assert "its blocks are right when they are asked alone" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["swin_torch", "swin_reference", "peer:timm", "peer:transformers"])
def test_adapters_that_are_right_have_no_fault(name: str, locate: Locate, peer: Any, deep: bool) -> None:
    if not deep and name != "peer:timm":
        pytest.skip("the profile deep is not asked for: other adapters take as long as one")
    if name.startswith("peer:"):
        peer(name.removeprefix("peer:"))
    found = locate(name)
    assert (found["code"], found["beyond"], found["notes"]) == (0, [], [])
    assert len(found["stages"]) == len(CONFIG.depths)


# The command.


def test_the_picture_has_both_lines_and_a_ring_for_each_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((words, file),) = re.findall(r"swin-oracle (locate .*) --svg (\S+)", (ROOT / "Makefile").read_text())
    monkeypatch.chdir(ROOT)
    assert main([*words.split(), "--in-process", "--svg", str(tmp_path / "depth.svg")]) == 1
    picture = (tmp_path / "depth.svg").read_text()
    old, new = (re.sub(r"\d+(\.\d+)?", "#", text) for text in ((ROOT / file).read_text(), picture))
    assert new == old, f"{file} is old: run `make pictures`"  # but for digits, which a machine decides
    steps = 1 + sum(CONFIG.depths) + 3 + 1
    assert picture.count('r="3"') == 2 * steps
    assert picture.count('r="8" fill="none"') == 2
    assert len(re.findall(r"font-weight=\"bold\">block (3|9)<", picture)) == 2


def test_a_network_has_a_process_of_its_own(locate: Locate, folder: Path, capsys: Out, deep: bool) -> None:
    assert locate(f"{folder / 'networks.py'}:weight", process="")["beyond"] == ["layers.2.blocks.3"]
    if not deep:
        return
    capsys.readouterr()
    assert locate(f"{folder / 'networks.py'}:dies", process="")["code"] == 2
    assert "ended itself with exit code 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "words", "sentence"),
    [
        ("twice", (), "each block runs once, layers.1.blocks.0 runs twice"),
        ("other", (), "matrices are others: load them where it is made, or give --load-weights"),
        ("mixed", (), "torch.float16, torch.float32: convert it"),
        ("renamed", (), "none of its 2 names is of one"),
        ("raises", (), "raised OSError: no such file"),
        ("needs", (), "missing a required argument: 'config'"),
        ("clean", ("--convention", "timmm"), "got 'timmm'"),
        ("clean", ("--dtype", "float31"), "got 'float31'"),
        ("clean", ("--image-size", "0"), "at least one pixel"),
        ("clean", ("--device", "mps"), "a device is one that torch sees, here cpu"),
        ("clean", ("--svg", "/nowhere/x.svg"), "a report's file can be written"),
        ("absent", (), "has no 'absent'"),
    ],
)
def test_what_is_refused_is_one_sentence(
    network: str, words: tuple[str, ...], sentence: str, locate: Locate, folder: Path, capsys: Out
) -> None:
    if "mps" in words and torch_sees("mps"):
        pytest.skip("torch sees mps here")
    assert locate(f"{folder / 'networks.py'}:{network}", *words)["code"] == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert sentence in err


def torch_sees(device: str) -> bool:
    import torch

    return bool(torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available())


def test_an_adapter_without_maps_is_refused(locate: Locate, tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from swin_reference import mlp\nprecision = 'float64'\n")
    assert locate(str(file))["code"] == 2
    assert "offers neither swin_block nor swin_features" in capsys.readouterr().err
    file.write_text(ADAPTER + "def swin_features(images, params, config):\n    return [np.ones(3)]\n")
    assert locate(str(file))["code"] == 2
    assert "swin_features returned 1 maps" in capsys.readouterr().err
    assert locate(str(file), "--load-weights")["code"] == 2
    assert "--load-weights is for an nn.Module" in capsys.readouterr().err


# Devices.


@pytest.mark.parametrize("command", ["check", "predict", "locate"])
def test_a_device_that_is_not_there_is_one_sentence(command: str, folder: Path, capsys: Out) -> None:
    if torch_sees("cuda"):
        pytest.skip("torch sees a GPU here")
    words = ["--only", "layer_norm/eps"]
    if command != "check":
        words = ["--checkpoint", str(folder / "w.npz"), "--image-size", "64", "--image", PHOTO]
    assert main([command, "swin_torch", "--in-process", "--device", "cuda", *words]) == 2
    assert "a device is one that torch sees, here cpu" in capsys.readouterr().err
    assert main([command, "swin_reference", "--in-process", "--device", "cuda", *words]) == 2
    assert "another device needs with_device, swin_reference has none" in capsys.readouterr().err


def test_reports_name_the_device() -> None:
    import torch
    from swin_properties import TorchAdapter, check
    from swin_properties.judging.run import make_request
    from swin_properties.reports import terminal

    class Mine(TorchAdapter):
        """Says that it is on a device, and computes where it can."""

        def layer_norm(self, x: Any, params: Any, eps: float = 1e-5) -> Any:
            return torch.nn.functional.layer_norm(x, x.shape[-1:], params["weight"], params["bias"], eps)

        def with_device(self, name: str) -> Any:
            other = super().with_device("cpu")
            other.device, other._tensor = name, self._tensor
            return other

    report = check(Mine(), only="layer_norm/eps", effort="quick", device="cuda")
    assert (report.exit_code, report.device) == (0, "cuda")
    assert "in float32 on cuda: conforms" in terminal.verdict(report)
    again = make_request("mine.py", device="cuda").make_command("float32", "")
    assert again == "swin-oracle check mine.py --dtype float32 --device cuda"


def test_digests_tell_shapes_and_numbers() -> None:
    from swin_properties.adapters.digests import digest

    x = np.arange(4.0)
    assert not np.array_equal(digest(x), digest(x.reshape(2, 2)))
    assert not np.array_equal(digest(x), digest(np.nextafter(x, 9)))


V2_NETWORKS = """
import swin_torch
import torch
from swin_reference import hot_parameters, parameter_v2_shapes, SwinV2Config
from swin_weights import flatten

CONFIG = SwinV2Config(64, 4, 3, 8, (2, 2), (1, 2), 2, num_classes=10)


def clean():
    model = swin_torch.SwinV2Transformer(CONFIG)
    weights = flatten(hot_parameters(parameter_v2_shapes(CONFIG), seed=0))
    model.load_state_dict({name: torch.tensor(x) for name, x in weights.items()})
    return model


def eps():
    model = clean()
    model.layers[1].blocks[0].norm2.eps = 1e-2
    return model


"""


@pytest.mark.parametrize(("fault", "block", "part"), [("clean", "", ""), ("eps", "block 2", "norm2")])
def test_a_fault_of_v2_is_named(fault: str, block: str, part: str, tmp_path: Path, capsys: Out) -> None:
    (tmp_path / "v2.py").write_text(V2_NETWORKS)
    config = {"image_size": 64, "embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 2}
    config |= {"num_classes": 10, "pretrained_window_sizes": []}
    (tmp_path / "v2.json").write_text(json.dumps(config))
    words = ["--config", str(tmp_path / "v2.json"), "--image", PHOTO, "--in-process"]
    code = main(["locate", f"{tmp_path / 'v2.py'}:{fault}", *words])
    said = capsys.readouterr().out
    assert code == int(bool(block)), said
    beyond = [line for line in said.splitlines() if "is beyond its budget" in line]
    assert len(beyond) == int(bool(block))
    assert all(line.startswith(block) and f"what is wrong is its {part}" in line for line in beyond)


def test_an_adapter_of_v2_is_asked_block_by_block(tmp_path: Path, capsys: Out) -> None:
    config = {"image_size": 64, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2}
    config |= {"num_classes": 10, "pretrained_window_sizes": [3, 0]}
    (tmp_path / "v2.json").write_text(json.dumps(config))
    words = ["--config", str(tmp_path / "v2.json"), "--image", PHOTO, "--in-process", "--dtype", "float64"]
    assert main(["locate", "swin_torch", *words]) == 0
    assert "within its budget throughout" in capsys.readouterr().out
