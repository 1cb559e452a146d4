"""Copies without an adapter: each naming style is recognised and right, a fault planted in it is found."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import swin_properties
import swin_reference
import torch
from conftest import Command, heavy
from swin_properties import TorchAdapter, names_in_layout
from swin_properties.adapters import load
from swin_properties.adapters.implementation import Implementation, apply_convention
from swin_properties.budget.precision import PRECISIONS
from swin_properties.cases.case import GridCase, NetCase
from swin_properties.cases.case_v2 import with_v2
from swin_properties.commands.cli import main
from swin_properties.commands.identify import describe_judged
from swin_properties.identify import identify
from swin_properties.identify.sizes import FEW
from swin_properties.judging.one_law import run_case
from swin_properties.judging.report import LawResult
from swin_properties.laws.law import LAWS
from swin_reference.config import convention_named
from swin_reference.parameters import hot_parameters, mlp_shapes

COPIES = Path(__file__).parent / "copies"

STYLES = {
    "official": (
        "official",
        "window_partition/definition window_attention/oracle window_attention/mask swin_block/oracle "
        "swin_block/drop-path patch_merging/oracle swin_stage/oracle swin_transformer/oracle mlp/gradient",
    ),
    "detection": ("detection", "patch_embed/oracle swin_block/oracle swin_stage/oracle swin_features/oracle"),
    "timm_style": (
        "timm",
        "shifted_window_mask/definition shifted_window_attention/oracle swin_block/oracle swin_stage/oracle "
        "swin_transformer/oracle",
    ),
    "torchvision_style": (
        "torchvision",
        "shifted_window_attention/oracle mlp/oracle swin_block/oracle swin_transformer/oracle",
    ),
    "transformers_style": (
        "transformers",
        "window_attention/oracle swin_block/oracle swin_stage/oracle swin_transformer/oracle",
    ),
    "official_v2": (
        "official-v2",
        "continuous_position_bias_table/oracle cosine_window_attention/oracle swin_v2_block/oracle "
        "swin_v2_transformer/oracle",
    ),
}
"""For each file the convention of its style, and the laws that it is asked on one case."""

FOUND = {
    "timm_style": "torchvision,window=shrink-axis,mask_value=-inf",
    "torchvision_style": "torchvision,mask_value=-inf",
}
"""The convention by which a file is judged, where it is not that of its style."""

FAULTS = {
    "official": ("torch.roll(y, (self.shift", "torch.roll(y, (-self.shift", "swin_block/oracle"),
    "detection": (
        "x[:, 1::2, 0::2], x[:, 0::2, 1::2]",
        "x[:, 0::2, 1::2], x[:, 1::2, 0::2]",
        "patch_merging/oracle",
    ),
    "timm_style": ("+ Mh - 1) * (2 * Mw - 1)", "+ Mh - 1) * (2 * Mh - 1)", "relative_position_index/formula"),
    "torchvision_style": ("if Sh or Sw:", "if False:", "shifted_window_attention/oracle"),
    "transformers_style": ("q.shape[-1] ** -0.5", "k.shape[-1] ** -0.4", "window_attention/oracle"),
    "official_v2": (".clamp(max=math.log(100))", ".clamp(max=2)", "cosine_window_attention/oracle"),
}
"""For each file a planted fault: what stands there, what is put in its place, and a law that it breaks."""

CASES = with_v2(
    {
        GridCase: GridCase(grid=(8, 12), window=(4, 4), shift=(2, 2), heads=2, head_dim=4),
        NetCase: NetCase(
            image=(32, 64), patch=(2, 2), window=(4, 4), depths=(2, 1), heads=(2, 4), embed_dim=8, classes=5
        ),
    }
)
WIDE = CASES | {
    kind: replace(CASES[kind], window=(4, 2), shift=(2, 1)) for kind in CASES if issubclass(kind, GridCase)
}
"""Where windows need not be square."""


def ask(file: Path, convention: str, law: str) -> LawResult:
    """Asks a law on the one case that its callable's scope allows."""
    precision = "float32" if "v2" in convention else "float64"  # V2's offsets are computed in float32
    adapter = load.load(str(file)).with_precision(precision)
    implementation = Implementation(adapter, PRECISIONS[precision], convention_named(convention))
    cases = CASES if implementation.scope.square_windows else WIDE
    return run_case(LAWS[law], implementation, cases[LAWS[law].kind], str)


CHECKOUTS = os.environ.get("SWIN_CHECKOUTS")


@pytest.mark.parametrize("style", STYLES)
def test_a_copy_in_each_naming_style_is_right_without_an_adapter(style: str) -> None:
    convention, laws = STYLES[style]
    for law in laws.split():
        result = ask(COPIES / f"{style}.py", convention, law)
        assert result.status == "holds", (law, result.counterexample and result.counterexample.seen)
    version = "V2" if "v2" in style else "V1"
    said = load.load(str(COPIES / f"{style}.py")).recognised[0]
    assert f"is judged as a copy (Swin {version}, in the style of {convention})" in said


@pytest.mark.parametrize("style", FAULTS)
def test_a_fault_planted_in_a_copy_is_found(style: str, tmp_path: Path) -> None:
    before, after, law = FAULTS[style]
    text = (COPIES / f"{style}.py").read_text()
    assert before in text
    faulty = tmp_path / f"faulty_{style}.py"
    faulty.write_text(text.replace(before, after))
    assert ask(COPIES / f"{style}.py", STYLES[style][0], law).status == "holds"
    assert ask(faulty, STYLES[style][0], law).status == "broken"


@heavy
@pytest.mark.parametrize("style", STYLES)
def test_a_copy_keeps_every_law_that_it_is_asked(style: str, command: Command) -> None:
    run = command("check", str(COPIES / f"{style}.py"), "--effort", "quick")
    assert run.returncode == 0, run.stdout
    assert f"{FOUND.get(style, STYLES[style][0])} convention" in run.stdout


def test_a_mask_that_hides_wholly_is_told_from_a_mask_of_minus_100() -> None:
    adapter = load.load(str(COPIES / "torchvision_style.py")).with_precision("float32")
    implementation = Implementation(adapter, PRECISIONS["float32"], convention_named("canonical"))
    assert identify.find_convention(implementation)[0].name == "torchvision,mask_value=-inf"
    follows = identify.Identity([identify.Answer(FEW[0], ("torchvision",))])
    said = describe_judged(implementation, follows)
    assert said.startswith("Its mask is -inf, torchvision's is -100: ")
    leaking = Implementation(
        apply_convention(convention_named("torchvision"), swin_reference),
        PRECISIONS["float32"],
        convention_named("canonical"),
    )
    assert describe_judged(leaking, follows) == ""


def test_the_first_line_says_what_a_file_was_taken_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--in-process", "--effort", "quick", "--only", "mlp/gelu", "--convention", "official"]
    assert main(["check", str(COPIES / "official.py"), *words]) == 0
    out = capsys.readouterr().out
    assert "is judged as a copy" in out.splitlines()[0]
    assert "window_attention: WindowAttention(dim=x.shape[-1], window_size=two(window_size)" in out
    assert "shifted_window_attention is not offered: WindowAttention attends inside windows" in out
    (tmp_path / "plain_adapter.py").write_text(ADAPTER)
    assert main(["check", str(tmp_path / "plain_adapter.py"), *words]) == 0
    assert (
        "is judged as an adapter: its functions get NumPy arrays" in capsys.readouterr().out.splitlines()[0]
    )


ADAPTER = """
from swin_reference import mlp
"""

BOTH = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("copied_official", {str(COPIES / "official.py")!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
WindowAttention, SwinTransformerBlock, Mlp = module.WindowAttention, module.SwinTransformerBlock, module.Mlp
from swin_reference import window_partition
"""


def test_an_attribute_adapter_comes_first_then_classes_then_functions(tmp_path: Path) -> None:
    copy, named = tmp_path / "both_kinds.py", tmp_path / "named_kind.py"
    copy.write_text(BOTH)
    named.write_text(BOTH + "\nimport swin_reference\nadapter = swin_reference\n")
    assert type(load.load(str(copy))).__name__ == "Copy"
    assert callable(load.load(f"{copy}?as=adapter").window_partition)
    copy.write_text(BOTH + "\nfrom swin_reference import mlp\n")
    assert callable(load.load(str(copy)).mlp)  # it takes params, which no class of a copy is given
    assert load.load(str(named)).__name__ == "swin_reference"
    assert type(load.load(f"{named}?as=copy")).__name__ == "Copy"


def test_functions_beside_classes_that_are_not_understood_are_no_copy(tmp_path: Path) -> None:
    file = tmp_path / "functions_and_classes.py"
    file.write_text(
        "from torch import nn\n"
        "class WindowAttention(nn.Module):\n    def __init__(self, unknown): ...\n"
        "class PatchMerging(nn.Module):\n    def __init__(self, unknown): ...\n"
        "def mlp(x, weights): ...\n"
    )
    assert load.load(str(file)).__name__ == "functions_and_classes"
    with pytest.raises(ValueError, match="none is understood: WindowAttention needs unknown"):
        load.load(f"{file}?as=copy")


def test_a_class_a_network_and_a_factory_are_copies(tmp_path: Path) -> None:
    file = tmp_path / "networks.py"
    file.write_text(
        (COPIES / "official.py").read_text()
        + "\ndef make():\n    sizes = (8, 8), (2, 2), 3, 5, 8, (2,), (2,), 2, 2.0\n"
        + "    return SwinTransformer(*sizes)\n\nnetwork = make()\n"
    )
    for name in ("SwinTransformer", "make", "network"):
        adapter = load.load(f"{file}:{name}").with_precision("float64")
        implementation = Implementation(adapter, PRECISIONS["float64"], convention_named("official"))
        case = implementation.fit_case(NetCase(), ["swin_transformer"])
        assert run_case(LAWS["swin_transformer/oracle"], implementation, case, str).status == "holds"
        assert ("depths=2" in str(implementation.scope)) == (name != "SwinTransformer")


def test_the_adapter_of_a_copy_is_written_and_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for style in ("detection", "official_v2"):
        assert main(["adapter", str(COPIES / f"{style}.py")]) == 0
        written = capsys.readouterr().out
        assert "# takes: (B, H, W, C)" in written
        assert "is not offered: " in written
        file = tmp_path / f"adapter_of_{style}.py"
        file.write_text(written)
        made, known = runpy.run_path(str(file))["adapter"], load.load(str(COPIES / f"{style}.py"))
        assert made.scope == known.scope
        grid = np.arange(4 * 6 * 3, dtype=np.float32).reshape(1, 4, 6, 3)
        np.testing.assert_array_equal(made.window_partition(grid, 2), known.window_partition(grid, 2))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("needs.py", "import no_such_package_at_all", "pip install no_such_package_at_all"),
        ("needs_mmcv.py", "import mmcv_of_another_name.runner", "imports mmcv_of_another_name, which is not"),
        ("none.py", "x = 1", "a copy has two or more classes with the names of a public Swin"),
        ("weights.pth", "", "`predict` and `locate` take it as --checkpoint"),
    ],
)
def test_what_is_no_copy_is_one_sentence(
    name: str, text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text)
    assert main(["adapter", str(tmp_path / name)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("end", ["", ".py", ".pt"])
def test_a_name_too_long_for_a_file_is_one_sentence(end: str) -> None:
    with pytest.raises(ValueError, match=r"an implementation is|an implementation's file|an exported file"):
        load.load("a" * 300 + end)


def test_a_damaged_archive_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "damaged.pt"
    with ZipFile(file, "w") as archive:
        archive.writestr("damaged/data.pkl", "")
    file.write_bytes(file.read_bytes().replace(b"PK\1\2", b"PK\0\0"))
    with pytest.raises(ValueError, match=r"damaged\.pt is not"):
        load.load(str(file))


def test_what_cannot_be_called_is_not_offered_with_the_reason(tmp_path: Path) -> None:
    text = (COPIES / "official.py").read_text()
    text = text.replace(
        "def __init__(self, input_resolution, dim):", "def __init__(self, input_resolution, dim, how):"
    )
    text = text.replace("downsample(input_resolution, dim)", "downsample(input_resolution, dim, 1)")
    file = tmp_path / "unknown_parameter.py"
    file.write_text(text)
    copy = load.load(str(file))
    assert not callable(getattr(copy, "patch_merging", None))
    reason = "PatchMerging needs how: the name of an argument does not tell what to pass"
    assert f"patch_merging is not offered: {reason}" in copy.recognised
    assert callable(copy.swin_transformer)


def test_an_index_that_is_not_kept_is_not_offered_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "own_index.py"
    text = (COPIES / "official.py").read_text()
    file.write_text(text.replace("relative_position_index", "own_index"))
    reason = "ValueError: a WindowAttention keeps no relative_position_index"
    assert f"relative_position_index is not offered: {reason}" in load.load(str(file)).recognised


def test_neighbours_of_a_file_are_found(tmp_path: Path) -> None:
    package = tmp_path / "nets_of_mine" / "models"
    package.mkdir(parents=True)
    (package / "layers_of_mine.py").write_text("depth = 2\n")
    (package / "net_relative.py").write_text("from .layers_of_mine import depth\n")
    (package / "net_absolute.py").write_text("from models.layers_of_mine import depth\n")
    for name in ("net_relative", "net_absolute"):
        file = str(package / f"{name}.py")
        line = f"from swin_properties.adapters.load import open_named; print(open_named({file!r}))"
        run = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=False)
        assert f"{name}.py" in run.stdout, run.stderr


PROGRAM = [sys.executable, "-c", "from swin_properties.adapters import serve; serve.main('swin_reference')"]


def test_a_list_is_a_program(command: Command) -> None:
    report = swin_properties.check(PROGRAM, only="layer_norm/eps", effort="quick")
    assert report.exit_code == 0
    with pytest.raises(ValueError, match="the command of a program"):
        swin_properties.check([1])
    run = command("identify", "--in-process", "--", *PROGRAM)
    assert run.returncode == 2
    assert "a program has a process of its own" in run.stderr


@pytest.mark.parametrize("word", ["adapter", "laws"])
def test_what_takes_no_program_says_so(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word, "--", "./mine"]) == 2
    assert "takes no program after --" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["peer:timm"], "peer:timm is a peer"),
        (["a.onnx"], "a.onnx is an exported"),
        (["--", "./mine"], "a program"),
    ],
)
def test_what_is_no_python_is_not_taken_for_a_copy(
    words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--as", "copy", "--in-process", *words]) == 2
    said = capsys.readouterr().err
    assert "--as says how Python code is taken" in said
    assert what in said


class Wrapped(torch.nn.Module):
    """A module with torchvision's names behind a prefix."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers = torch.nn.Linear(channels, 2 * channels), torch.nn.GELU(), torch.nn.Identity()
        self.body = torch.nn.Sequential(*layers, torch.nn.Linear(2 * channels, channels))


def test_names_of_a_layout_behind_a_prefix_load_a_module() -> None:
    flat = hot_parameters(mlp_shapes(4, 8), np.random.default_rng(0))
    params = {k: {n: torch.from_numpy(x) for n, x in v.items()} for k, v in flat.items()}
    module = TorchAdapter("float64").loaded(
        Wrapped(4), params, names_in_layout("torchvision", "mlp", "body.")
    )
    assert module.body[3].weight is params["fc2"]["weight"]
    with pytest.raises(ValueError, match=r"missing body\.0\.weight.*extra net\.0\.weight"):
        TorchAdapter("float64").loaded(Wrapped(4), params, names_in_layout("torchvision", "mlp", "net."))


def list_public() -> list[Any]:
    """Returns the public copies that a verdict is expected of, each skipped where there are no checkouts."""
    if CHECKOUTS is None:
        skip = pytest.mark.skip(
            reason="public copies are loaded from checkouts: set SWIN_CHECKOUTS to their folder"
        )
        return [pytest.param("", marks=skip)]
    rows = [
        line.split("\t") for line in (Path(CHECKOUTS) / "LIST.tsv").read_text().splitlines() if line.strip()
    ]
    return [str(Path(CHECKOUTS) / name.replace("/", "+") / file) for name, _, file in rows]


@pytest.mark.parametrize("file", list_public())
def test_a_public_copy_is_judged_or_says_why_not(file: str, command: Command) -> None:
    run = command("check", file, "--effort", "quick", "--only", "mlp/oracle,patch_merging/oracle", "-j", "1")
    assert run.returncode in (0, 1, 2)
    assert "Traceback" not in run.stderr
    if run.returncode == 2:
        assert run.stderr.splitlines()[-1].startswith("swin-oracle: ")
