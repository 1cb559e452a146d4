"""An implementation in its own process may hang or die: its law is broken, and the run goes on."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from conftest import Command
from swin_properties.commands.cli import main

RUDE = """
import ctypes, os, time
import swin_reference as s
class Adapter:
    precision = "float64"
    layer_norm = staticmethod(s.layer_norm)
    def window_partition(self, x, window_size):
        if x.shape[0] == 1: return s.window_partition(x, window_size)
        time.sleep(1000)
    def cyclic_shift(self, x, shift_size): os._exit(3)
    def relative_position_index(self, window_size): ctypes.string_at(0)
    def mlp(self, x, params): os.kill(os.getpid(), 9)
adapter = Adapter()
"""
LAWS = (
    "window_partition/definition",
    "cyclic_shift/definition",
    "relative_position_index/formula",
    "mlp/gelu",
)


def test_what_hangs_or_dies_breaks_a_law_and_the_run_goes_on(command: Command, tmp_path: Path) -> None:
    (tmp_path / "rude.py").write_text(RUDE)
    words = ("--effort", "quick", "--isolate", "--timeout", "5", "--json", "report.json")
    run = command("check", "rude.py", *words, "--only", "*_*/[def]*", "--require", "swin_block")
    assert run.returncode == 1, run.stderr
    assert "required but not offered: swin_block" in run.stdout
    assert "Traceback" not in run.stderr
    laws = {law["name"]: law for law in json.loads((tmp_path / "report.json").read_text())["laws"]}
    for name, sentence in zip(
        LAWS,
        ("did not answer within 5 s", "ended itself with exit code 3", "was killed by signal 11"),
        strict=False,
    ):
        assert laws[name]["status"] == "broken"
        assert sentence in laws[name]["counterexample"]["seen"]
    assert laws["layer_norm/eps"]["status"] == "holds"
    broken = laws[LAWS[0]]["counterexample"]
    assert "batch=" in broken["case"]  # the case it hangs on: not the first, where it answers
    again = command(*shlex.split(broken["reproduce"])[1:])
    assert again.returncode == 1
    assert "did not answer within 5 s" in again.stdout


def test_a_killed_process_names_the_signal(command: Command, tmp_path: Path) -> None:
    (tmp_path / "rude.py").write_text(RUDE)
    run = command("check", "rude.py", "--effort", "quick", "--isolate", "--only", "mlp/gelu")
    assert run.returncode == 1, run.stderr
    assert "seen: the implementation's process was killed by signal 9 (Killed)" in run.stdout
    assert re.search(r"mlp/gelu +broken +1\b", run.stdout)


def test_isolated_or_not_the_verdict_is_the_same(command: Command) -> None:
    words = ("check", "swin_reference", "--effort", "quick", "--only", "layer_norm/*")
    direct, isolated = command(*words), command(*words, "--isolate")
    assert isolated.returncode == 0, isolated.stderr
    assert direct.stdout == isolated.stdout


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import os; os._exit(7)", "process ended itself with exit code 7: check what it imports"),
        ("import nothing_of_the_kind", "raised ModuleNotFoundError"),
        ("x = 1", "offers none"),
    ],
)
def test_an_implementation_that_does_not_load(
    code: str, sentence: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "unloadable.py").write_text(code)
    run = command("check", "unloadable.py", "--isolate")
    assert (run.returncode, run.stdout, len(run.stderr.splitlines())) == (2, "", 1)
    assert sentence in run.stderr


ONCE = """
import pathlib, os
import swin_reference as s
mark = pathlib.Path("loaded")
if mark.exists(): os._exit(5)
mark.touch()
precision = "float64"
layer_norm = s.layer_norm
def mlp(x, params): os._exit(3)
def patch_merging(x, params): os._exit(4)
"""


def test_a_process_that_does_not_load_again(command: Command, tmp_path: Path) -> None:
    (tmp_path / "once.py").write_text(ONCE)
    run = command("check", "once.py", "--isolate", "--effort", "quick", "--only", "mlp/gel*")
    assert run.returncode == 1, run.stderr
    assert re.findall(r"seen: .* exit code (\d)", run.stdout) == ["3", "5"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--timeout", "5"], "add --isolate"),
        (["--isolate", "--timeout", "0"], "over 0 and at most 86400 seconds, got 0"),
        (["--isolate", "--timeout", "nan"], "got nan"),
        (["--isolate", "--timeout", "soon"], "invalid float value: 'soon'"),
    ],
)
def test_a_timeout_that_cannot_be(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["check", "swin_reference", *words])
    except SystemExit as stopped:
        code = stopped.code  # type: ignore[assignment]
    assert code == 2
    assert sentence in capsys.readouterr().err


def test_a_broken_law_is_explained_in_the_same_process(command: Command) -> None:
    path = Path(__file__).resolve().parents[3] / "examples" / "no_mask.py"
    only = ("--only", "shifted_window_attention/h*", "--effort", "quick")
    run = command("check", str(path), *only, "--isolate")
    assert run.returncode == 1
    assert "[mask-dropped; seen:" in run.stdout
