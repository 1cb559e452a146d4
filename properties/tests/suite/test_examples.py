"""The examples of adapters conform, a planted fault breaks each, and the pages show their lines."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, heavy
from swin_properties.adapters import load
from swin_properties.cases.recipes import RECIPES
from swin_reference.parameters import block_shapes, hot_parameters
from swin_weights import flatten

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
C_PAGE = DOCS / "judge-functions.md"
SHOWN = re.compile(r"\]\(([^)]+\.(?:py|c))\)[^`]*?:\n\n```(?:python|c)\n(.*?)```", re.DOTALL)

TORCH, NCHW, C = "examples/torch_module.py", "examples/functions_nchw.py", "examples/c_library/adapter.py"
COSINE = "examples/cosine_attention.py"
RIGHT = {
    TORCH: ("shifted_window_attention,swin_block", 14),
    NCHW: ("window_partition,layer_norm,mlp,patch_embed,patch_merging", 20),
    COSINE: ("cosine_window_attention", 20),
    C: ("window_partition,window_reverse,layer_norm,shifted_window_attention", 20),
}
"""What each example must offer, and how many laws hold at least."""

FAULTS = {
    "torch without mask": (TORCH, ".masked_fill(~self.mask(height, width), -torch.inf)", "[None]"),
    "torch without residual": (TORCH, "return x + self.mlp", "return self.mlp"),
    "merge order": (NCHW, "for dw in (0, 1) for dh in (0, 1)", "for dh in (0, 1) for dw in (0, 1)"),
    "eps": (NCHW, "np.float32(epsilon)", "np.float32(1e-6)"),
    "scale without clamp": (COSINE, ".clamp(max=4.605170185988092)", ""),
    "offset divided by the window": (COSINE, "max(mh - 1, 1)", "mh"),
    "C without mask": (C, "if (region[key] != region[query])", "if (region[key] < 0)"),
    "C with offset key - query": (C, "(dh + mh - 1)", "(mh - 1 - dh)"),
}
"""Planted faults: the file, what stands there, and what is put in its place."""

FALLEN = {
    "torch without mask": "shifted_window_attention",
    "torch without residual": "swin_block",
    "merge order": "patch_merging",
    "eps": "layer_norm",
    "scale without clamp": "cosine_window_attention",
    "offset divided by the window": "cosine_window_attention",
    "C without mask": "shifted_window_attention",
    "C with offset key - query": "shifted_window_attention",
}
"""The callable whose laws it breaks."""


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy of the examples, to change and to build in."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("*.so"))
    return tmp_path


def build(folder: Path) -> None:
    """Builds the C library by the line that the page shows."""
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed: the C example is not built")
    (line,) = re.findall(r"^gcc .*", C_PAGE.read_text(), re.MULTILINE)
    subprocess.run(shlex.split(line), cwd=folder, check=True)


@pytest.mark.parametrize("example", RIGHT)
def test_an_example_conforms(example: str, examples: Path, command: Command, deep: bool) -> None:
    if example == C:
        build(examples)
    require, least = RIGHT[example]
    effort = "default" if deep else "quick"
    run = command("check", example, "--require", require, "--effort", effort, cwd=examples)
    assert run.returncode == 0, run.stdout + run.stderr
    counts = re.search(r"\((\d+) laws hold, 0 broken", run.stdout)
    assert counts
    assert int(counts[1]) >= least


@pytest.mark.parametrize(
    "precision", ["bfloat16", pytest.param("float64", marks=heavy), pytest.param("float16", marks=heavy)]
)
def test_the_torch_example_conforms_in_every_precision(precision: str, command: Command, deep: bool) -> None:
    laws = "swin_block/*" if deep else "swin_block/[bo]*"
    run = command("check", TORCH, "--only", laws, "--dtype", precision, "--effort", "quick", cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_an_example_with_a_fault_breaks_a_law(fault: str, examples: Path, command: Command) -> None:
    (example, right, wrong), callable_ = FAULTS[fault], FALLEN[fault]
    path = examples / example.replace("adapter.py", "swin.c")
    assert path.read_text().count(right) == 1
    path.write_text(path.read_text().replace(right, wrong))
    if example == C:
        build(examples)
    words = ("--only", f"{callable_}/oracle", "--effort", "quick", "--shrink", "1")
    run = command("check", example, *words, cwd=examples)
    assert run.returncode == 1, run.stdout + run.stderr
    assert re.search(rf"^{callable_}/oracle +broken", run.stdout, re.MULTILINE)


def test_an_absent_c_library_is_said_in_one_sentence(examples: Path, command: Command) -> None:
    run = command("check", C, cwd=examples)
    assert (run.returncode, run.stdout) == (2, "")
    assert len(run.stderr.splitlines()) == 1
    assert "libswin.so is not built: gcc -O2 -shared -fPIC -o libswin.so swin.c -lm" in run.stderr


@pytest.mark.parametrize("name", ["shifted_window_attention", "swin_block"])
def test_the_gradients_of_the_torch_example_are_those_of_swin_torch(name: str) -> None:
    x, cotangent = np.random.default_rng(0).standard_normal((2, 1, 5, 7, 6))
    block = hot_parameters(block_shapes(6, 2, (2, 3), 12), seed=0)
    params = block if name == "swin_block" else block["attn"]

    def gradients(implementation: str) -> dict[str, Any]:
        adapter = load.load(implementation).with_precision("float64")
        of_x, of_params, *sizes = adapter.vjp(name, cotangent, x, params, 2, (2, 3), (1, 2))
        assert sizes == [None, None, None]
        return flatten({"x": of_x} | of_params)

    mine, ours = gradients(str(ROOT / TORCH)), gradients("swin_torch")
    assert mine.keys() == ours.keys()
    for key, gradient in mine.items():
        np.testing.assert_allclose(gradient, ours[key], rtol=1e-12, atol=1e-12, err_msg=key)


def test_pages_show_lines_of_the_files_they_name() -> None:
    shown = [found for page in DOCS.glob("*.md") for found in SHOWN.findall(page.read_text())]
    assert {path for path, _ in shown} >= {f"../{example}" for example in RIGHT if example != COSINE}
    for path, block in shown:
        lines = iter([line.strip() for line in (DOCS / path).read_text().splitlines()])
        for line in filter(None, map(str.strip, block.splitlines())):
            assert line in lines, f"{path} has no line {line!r}, or not in this order"  # consumes the lines


def test_the_examples_own_page_names_every_file_and_no_other() -> None:
    folder = ROOT / "examples"
    page = (folder / "README.md").read_text()
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in (".py", ".c")}
    assert set(re.findall(r"\]\(([^.)][^)]*)\)", page)) == files
    for command in re.findall(r"^    (.*)", page, re.MULTILINE):
        named = set(re.findall(r"examples/(\S+\.(?:py|c))\b", command))
        before = " vectors " in command or command.startswith("./vectors ")  # the lines around an example
        assert named or before, f"a command line names an example: {command}"
        assert named <= files


def test_the_page_names_every_recipe() -> None:
    table = re.findall(r"^\| `(\w+)` \|", (DOCS / "read-a-report.md").read_text(), re.MULTILINE)
    assert table == list(RECIPES)
