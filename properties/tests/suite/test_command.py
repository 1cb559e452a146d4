"""The command from the outside, as a process: verdicts, exit codes, sentences."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import swin_weights
import torch
from conftest import Command
from swin_properties.commands.cli import main
from swin_properties.laws.law import LAWS
from swin_reference.config import config_from
from swin_reference.parameters import initial_parameters

PHOTO = str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")

FAULTS = {
    "mask-dropped": ("shifted_*", "F.shifted_window_mask = lambda *a: torch.zeros_like(mask(*a))"),
    "roll-flipped": ("*shift*", "F.cyclic_shift, F.reverse_cyclic_shift = roll(1), roll(-1)"),
    "bias-transposed": ("[rw]*", "F.relative_position_bias = lambda *a: bias(*a).mT"),
    "merge-swapped": (
        "*_merging/*",
        "F.merge_neighbours = lambda x: torch.cat([merge(x).chunk(4, -1)[i] for i in (0, 2, 1, 3)], -1)",
    ),
}
"""The laws of the callables that each fault is in, and its code."""
FAULTY = """
import torch
from swin_torch import Adapter, functional as F
from swin_torch.geometry.sizes import pair
mask, bias, merge = F.shifted_window_mask, F.relative_position_bias, F.merge_neighbours
def roll(sign):
    return lambda x, shift: x.roll([sign * s for s in pair(shift)], (1, 2))
{fault}
adapter = Adapter()
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_classic_fault_breaks_a_law_on_a_small_case(
    fault: str, command: Command, tmp_path: Path, deep: bool
) -> None:
    laws, code = FAULTS[fault]
    (tmp_path / "faulty.py").write_text(FAULTY.format(fault=code))
    run = command("check", "faulty.py", "--effort", "quick", "--in-process", "--only", "*" if deep else laws)
    assert run.returncode == 1, run.stderr
    broken = re.findall(r"(\S+) is broken\n(?:  .*\n)*?  smallest case: (.*)", run.stdout)
    assert broken
    for law, case in broken:
        # On two windows a roll by +s instead of -s is as symmetric under flips as the right one.
        most = 3 if law.endswith("/flip") else 2
        assert "=" in case  # not the case in which every size is 1: no window, nothing to get wrong
        sizes = dict(word.split("=") for word in case.split())
        if "grid" in sizes and "window" in sizes:  # 1x1 where they are not written
            for side, window in zip(sizes["grid"].split("x"), sizes["window"].split("x"), strict=True):
                assert -(-int(side) // int(window)) <= most, (law, case)


def test_the_line_that_a_broken_law_prints_reproduces_it_alone(command: Command, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY.format(fault=FAULTS["bias-transposed"][1]))
    run = command("check", "faulty.py", "--only", "relative_position_bias/definition")
    assert run.returncode == 1
    (line,) = re.findall(r"again: swin-oracle (.*)", run.stdout)
    again = command(*shlex.split(line))
    assert again.returncode == 1
    seen = re.findall(r"\n  seen: (.*)", run.stdout)
    assert seen == re.findall(r"\n  seen: (.*)", again.stdout)
    assert "1 broken" in again.stdout


def test_the_same_run_twice_says_the_same(command: Command) -> None:
    words = ("check", "swin_reference", "--effort", "quick", "--only", "window_attention/*")
    first, second = command(*words), command(*words)
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["check", "no.such.module"], "is importable, no.such.module raised ModuleNotFoundError"),
        (["check", "json"], "offers at least one callable of the adapter, json offers none"),
        (["check", "swin_torch:nothing"], "an attribute that exists, swin_torch has no 'nothing'"),
        pytest.param(
            ["check", "swin_torch:cuda"],
            "PyTorch sees none here: check swin_torch",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        (["check", "absent.py"], "file exists, got absent.py"),
        (["check", ":adapter"], "a module, module:attribute or file.py"),
        (["check"], "a program after --, got neither"),
        (["check", "swin_reference", "--only", "mlp/gelo"], "did you mean mlp/gelu"),
        (["check", "swin_reference", "--dtype", "fp32"], "one of float64, .*got 'fp32'"),
        (["check", "swin_reference", "--dtype", "float16"], "float64 or float32, got 'float16'"),
        (["check", "swin_reference", "--effort", "huge"], "invalid choice: 'huge'"),
        (["check", "swin_reference", "--seed", "-1"], "at least 0, got -1"),
        (["check", "swin_reference", "--require", "swin_blok"], "got swin_blok"),
        (["check", "swin_reference", "--case", "batch=1"], "--case asks one law"),
        (
            ["check", "swin_reference", "--only", "mlp/gelu", "--case", "batches=1"],
            "has the words batch.*got batches",
        ),
        (["predict", "swin_reference", "--image", "absent.jpg"], "an existing file, got absent.jpg"),
        (["predict", "swin_reference", "--image", __file__], "a file that Pillow reads"),
        (["predict", "swin_reference", "--image", PHOTO, "--config", "swin_x"], "got 'swin_x'"),
        (
            ["predict", "swin_reference", "--image", PHOTO, "--checkpoint", "x.npz"],
            "an existing file, got x.npz",
        ),
        (["frobnicate"], "invalid choice"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(words)
    except SystemExit as stopped:
        code = stopped.code  # type: ignore[assignment]
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert re.search(sentence, err)


def test_bad_input_has_no_traceback_as_a_process(command: Command) -> None:
    for name in ("no.such.module", "json"):
        run = command("check", name)
        assert (run.returncode, run.stdout, len(run.stderr.splitlines())) == (2, "", 1)


CASE = "grid={grid} window={window} shift={shift}"


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"window": "0x1"}, "at least 1x1"),
        ({"shift": "2x0"}, "0 <= shift < window"),
        ({"grid": "0x4"}, "at least 1"),
        ({"grid": "4xx4"}, "integers joined by x"),
    ],
)
def test_a_case_that_cannot_be(
    sizes: dict[str, str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASE.format(**({"grid": "2x2", "window": "2x2", "shift": "0x0"} | sizes))
    assert main(["check", "swin_reference", "--only", "mlp/gelu", "--case", case]) == 2
    assert re.search(sentence, capsys.readouterr().err)


BAD_MANNERS = """
import numpy as np, swin_reference as s, sys
class Adapter:
    precision = "float64"
    def window_partition(self, x, window_size): raise RuntimeError("boom")
    def cyclic_shift(self, x, shift_size): return s.cyclic_shift(x, shift_size).tolist()
    def reverse_cyclic_shift(self, x, shift_size): return s.reverse_cyclic_shift(x, shift_size)[:, :1]
    def layer_norm(self, x, params): return np.full_like(x, np.nan)
    def mlp(self, x, params): sys.exit(0)
    def patch_merging(self, x, params): return s.patch_merging(x, params) + 0j
    def relative_position_index(self, window_size): return s.relative_position_index(window_size)
adapter = Adapter()
"""


def test_bad_manners_break_laws_and_the_run_goes_on(command: Command, tmp_path: Path) -> None:
    (tmp_path / "rude.py").write_text(BAD_MANNERS)
    run = command("check", "rude.py", "--effort", "quick", "--in-process", "--all")
    assert run.returncode == 1
    assert "Traceback" not in run.stdout + run.stderr
    for sentence in (
        "window_partition raised RuntimeError: boom",
        "cyclic_shift returned a list: adapters return NumPy arrays",
        "reverse_cyclic_shift returned shape",
        "layer_norm returned NaN, first at (0, 0, 0, 0)",
        "mlp raised SystemExit",
        "patch_merging returned an array of complex128",
    ):
        assert sentence in run.stdout
    assert re.search(r"relative_position_index/formula +holds", run.stdout)


def test_a_tensor_breaks_the_law(command: Command, tmp_path: Path) -> None:
    code = "import torch\ndef layer_norm(x, params): return torch.zeros(x.shape)\n"
    (tmp_path / "tensors.py").write_text(code)
    run = command("check", "tensors.py", "--effort", "quick", "--only", "layer_norm/oracle")
    assert run.returncode == 1
    assert "layer_norm returned a torch.Tensor: adapters return NumPy arrays" in run.stdout


def test_what_is_required_must_be_offered(command: Command, tmp_path: Path) -> None:
    code = (
        "import swin_torch\nclass Adapter(swin_torch.Adapter):\n    swin_block = None\nadapter = Adapter()\n"
    )
    (tmp_path / "partial.py").write_text(code)
    words = ("check", "partial.py", "--effort", "quick", "--only", "*[kp]/oracle")
    without = command(*words, "--require", "swin_stage,mlp", "--all")
    assert without.returncode == 0, without.stdout
    assert re.search(r"swin_block/oracle +not offered", without.stdout)
    assert re.search(r"mlp/oracle +holds", without.stdout)
    required = command(*words, "--require", "swin_block")
    assert required.returncode == 1
    assert "required but not offered: swin_block" in required.stdout


def test_one_photograph_through_swin_t(command: Command, deep: bool) -> None:
    for dtype in ("float32", "float64") if deep else ("float32",):
        run = command("predict", "swin_torch", "--dtype", dtype, "--image", PHOTO)
        assert run.returncode == 0, run.stderr
        rho = float(re.findall(r"rho ([\d.]+)", run.stdout)[0])
        assert 0 < rho <= 1
        expected, got = re.findall(r"five largest logits (.*)", run.stdout)
        assert re.findall(r"\d+(?=:)", expected) == re.findall(r"\d+(?=:)", got) != []


def test_predict_reads_a_checkpoint_and_a_custom_configuration(command: Command, tmp_path: Path) -> None:
    values = '{"embed_dim": 8, "depths": [2, 1], "num_heads": [2, 4], "image_size": 30, "window_size": 4}'
    (tmp_path / "tiny.json").write_text(values)
    params = initial_parameters(config_from(json.loads(values)))
    swin_weights.save(tmp_path / "tiny.npz", params)
    words = ("predict", "swin_torch", "--image", PHOTO, "--config", "tiny.json", "--checkpoint")
    run = command(*words, "tiny.npz", "--dtype", "float64")
    assert run.returncode == 0, run.stderr
    assert 0 < float(re.findall(r"rho ([\d.]+)", run.stdout)[0]) <= 1
    assert "weights: tiny.npz" in run.stdout
    del params["norm"]
    flat = swin_weights.flatten(params) | {"extra": params["head"]["bias"]}
    np.savez(tmp_path / "wrong.npz", **flat)
    run = command(*words, "wrong.npz")
    assert run.returncode == 2
    assert "missing norm.weight, norm.bias; extra extra" in run.stderr


def test_the_catalogue_lists_every_law_with_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["laws"]) == 0
    out = capsys.readouterr().out
    where = LAWS["relative_position_index/formula"].where
    assert f"relative_position_index/formula (exact, {where}): The index is" in out
