"""The command gives an implementation a process of its own; the verdict is the one of judging in process."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image
from swin_properties import check
from swin_properties.adapters.implementation import Implementation
from swin_properties.adapters.layouts import lay_out
from swin_properties.adapters.load import load
from swin_properties.adapters.remote import Launch, Remote
from swin_properties.commands.cli import main

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.mark.parametrize("words", [("swin_reference", "mlp/*"), (str(EXAMPLES / "transposed.py"), "rel*")])
def test_in_one_process_or_two_or_shared_the_verdict_is_the_same(
    words: tuple[str, str], command: Command
) -> None:
    line = ("check", words[0], "--effort", "quick", "--only", words[1])
    here, own, shared = command(*line, "--in-process"), command(*line, "-j", "1"), command(*line, "-j", "2")
    assert here.returncode == own.returncode == shared.returncode
    assert here.stdout == own.stdout == shared.stdout


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import os; os._exit(7)", "process ended itself with exit code 7: check what it imports"),
        ("import os; os._exit(0)", "process ended itself with exit code 0"),
        ("import os; print('last', file=__import__('sys').stderr); os.abort()", "its last words: last"),
        ("import nothing_of_the_kind", "imports nothing_of_the_kind, which is not installed: pip install"),
        ("raise GeneratorExit", "raised GeneratorExit"),
        ("x = 1", "offers none"),
        ("mlp = len; precision = 'fp32'", "got 'fp32'"),
        ("mlp = len; convention = 'mine'", "'mine'"),
    ],
)
def test_an_implementation_that_does_not_load(
    code: str, sentence: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "unloadable.py").write_text(code)
    run = command("check", "unloadable.py")
    assert (run.returncode, run.stdout) == (2, "")
    assert sentence in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr


ONCE = """
import pathlib, os
import swin_reference as s
mark = pathlib.Path("loaded")
if mark.exists(): os._exit(5)
mark.touch()
precision = "float64"
layer_norm = s.layer_norm
def mlp(x, params): os._exit(3)
"""


def test_a_process_that_does_not_load_again(command: Command, tmp_path: Path) -> None:
    (tmp_path / "once.py").write_text(ONCE)
    run = command("check", "once.py", "--effort", "quick", "--only", "mlp/gel*", "-j", "1")
    assert run.returncode == 1, run.stderr
    assert re.findall(r"seen: .* exit code (\d)", run.stdout) == ["3", "5"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--timeout", "0"], "over 0 and at most 86400 seconds, got 0"),
        (["--timeout", "nan"], "got nan"),
        (["--timeout", "soon"], "invalid float value: 'soon'"),
        (["--jobs", "-1"], "--jobs is 1 to 64, or 0 to leave it open, got -1"),
        (["--in-process", "--own-process"], "got both"),
        (["--in-process", "-j", "2"], "--jobs are processes"),
        (["--isolate"], "unrecognized arguments: --isolate"),
    ],
)
def test_words_that_cannot_be(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["check", "swin_reference", *words])
    except SystemExit as stopped:
        code = stopped.code  # type: ignore[assignment]
    assert code == 2
    assert sentence in capsys.readouterr().err


def test_python_says_which_words_cannot_be() -> None:
    with pytest.raises(ValueError, match="own_process takes an import string"):
        check(object(), own_process=True)
    with pytest.raises(ValueError, match="give own_process=True"):
        check("swin_reference", jobs=2)


HANGS = """
import time
import swin_reference as s
precision = "float64"
def window_partition(x, window_size):
    if x.shape[0] == 1: return s.window_partition(x, window_size)
    time.sleep(1000)
"""


def test_the_line_again_of_a_law_that_hung_hangs_again(command: Command, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    words = ("--effort", "quick", "--timeout", "0.4", "--only", "window_partition/definition")
    run = command("check", "hangs.py", *words, "--json", "report.json")
    assert run.returncode == 1, run.stderr
    (law,) = json.loads((tmp_path / "report.json").read_text())["laws"]
    broken = law["counterexample"]
    assert "did not answer within 4 s" in broken["seen"]  # the first call of a shape has ten times as long
    assert "batch=" in broken["case"]  # the case it hangs on: not the first, where it answers
    assert broken["reproduce"].endswith("--own-process --timeout 0.4")
    again = command(*shlex.split(broken["reproduce"])[1:])
    assert again.returncode == 1
    assert "did not answer within 4 s" in again.stdout


def test_a_broken_law_is_explained(command: Command) -> None:
    path = str(EXAMPLES / "no_mask.py")
    run = command("check", path, "--only", "shifted_window_attention/h*", "--effort", "quick")
    assert run.returncode == 1
    assert "[mask-dropped; seen:" in run.stdout


def test_the_judging_process_imports_neither_the_implementation_nor_its_framework(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "framework.py").write_text("import os; open(f'loaded-{os.getpid()}', 'w')")
    (tmp_path / "mine.py").write_text("import framework, swin_reference as s\nlayer_norm = s.layer_norm\n")
    words = ("--only", "layer_norm/eps", "--effort", "quick")
    assert command("check", "mine.py", *words, "-j", "1").returncode == 0
    assert len(list(tmp_path.glob("loaded-*"))) == 1
    run = command("check", "mine.py", *words, "--case", "grid=1x2 head_dim=3")
    assert run.returncode == 0, run.stderr
    assert len(list(tmp_path.glob("loaded-*"))) == 2


LAYOUTS = """
import numpy as np
precision = "float64"
def layer_norm(x, params, eps=1e-5):
    alone = x.base is None or x.base.size == x.size
    return np.resize(np.array([*x.strides, alone], float), x.shape)
"""


@pytest.mark.parametrize("layout", ["contiguous", "offset view", "other memory order"])
def test_an_array_lies_here_as_it_lies_there(layout: str, tmp_path: Path) -> None:
    (tmp_path / "layouts.py").write_text(LAYOUTS)
    x, params = np.arange(24.0).reshape(2, 3, 4), {"weight": np.ones(4), "bias": np.ones(4)}
    with closing(Remote(Launch(adapter=str(tmp_path / "layouts.py")))) as remote:
        for adapter in (load(str(tmp_path / "layouts.py")), remote):
            given = lay_out(x, layout)
            got = Implementation(adapter).layer_norm(given, params).ravel()[:4]
            assert got.tolist() == [*given.strides, float(layout != "offset view")]


def test_identify_and_predict_have_a_process_of_their_own(command: Command, tmp_path: Path) -> None:
    dies = "import os\nprecision = 'float64'\ndef swin_transformer(*args): os._exit(3)\n"
    (tmp_path / "dies.py").write_text(dies)
    run = command("identify", "dies.py")
    assert run.returncode == 1
    assert "the implementation's process ended itself with exit code 3" in run.stdout
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    (tmp_path / "small.json").write_text('{"embed_dim": 4, "depths": [1], "num_heads": [1]}')
    run = command("predict", "dies.py", "--image", "red.png", "--config", "small.json")
    assert (run.returncode, run.stdout) == (2, "")
    assert "ended itself with exit code 3" in run.stderr
