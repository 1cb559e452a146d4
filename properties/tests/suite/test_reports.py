"""What a person is told, while a run goes on and at its end."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import swin_reference
from conftest import Command, heavy
from rich.console import Console
from swin_properties import check
from swin_properties.adapters.answers import format_traceback
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.cases.case import GridCase, NetCase
from swin_properties.cases.few import move_to_few
from swin_properties.commands.cli import main
from swin_properties.judging.report import Counterexample, LawResult, Report
from swin_properties.judging.usual import USUAL, check_case
from swin_properties.laws.law import LAWS
from swin_properties.reports import html, junit, terminal
from swin_properties.reports import json as json_report

COPY = """
import torch
from torch.nn.functional import gelu, layer_norm as norm, linear, pad

precision = "float64"


def tensors(params):
    return {k: tensors(v) if isinstance(v, dict) else torch.from_numpy(v) for k, v in params.items()}


def pair(size):
    return size if isinstance(size, tuple) else (size, size)


def partition(x, window):
    (mh, mw), (B, H, W, C) = window, x.shape
    return x.view(B, H // mh, mh, W // mw, mw, C).permute(0, 1, 3, 2, 4, 5).reshape(-1, mh * mw, C)


def reverse(windows, window, H, W):
    (mh, mw), C = window, windows.shape[-1]
    return windows.view(-1, H // mh, W // mw, mh, mw, C).permute(0, 1, 3, 2, 4, 5).reshape(-1, H, W, C)


def make_index(window):
    mh, mw = window
    h, w = torch.meshgrid(torch.arange(mh), torch.arange(mw), indexing="ij")
    coords = torch.stack([h.flatten(), w.flatten()])
    dh, dw = coords[:, :, None] - coords[:, None, :]
    return (dh + mh - 1) * (2 * mw - 1) + dw + mw - 1


def make_mask(H, W, window, shift):
    regions = torch.zeros(1, H, W, 1)
    count = 0
    for h in (slice(0, H - window[0]), slice(H - window[0], H - shift[0]), slice(H - shift[0], H)):
        for w in (slice(0, W - window[1]), slice(W - window[1], W - shift[1]), slice(W - shift[1], W)):
            regions[:, h, w] = count
            count += 1
    regions = partition(regions, window)[..., 0]
    return torch.where(regions[:, None] == regions[:, :, None], 0.0, -torch.inf).double()


def attend(x, p, heads, window, mask):
    B, N, C = x.shape
    q, k, v = linear(x, **p["qkv"]).view(B, N, 3, heads, C // heads).permute(2, 0, 3, 1, 4)
    logits = (q * (C // heads) ** -0.5) @ k.mT
    logits = logits + p["relative_position_bias_table"][make_index(window)].permute(2, 0, 1)
    logits = (logits.view(-1, len(mask), heads, N, N) + mask[:, None]).view(B, heads, N, N)
    return linear((logits.softmax(-1) @ v).transpose(1, 2).reshape(B, N, C), **p["proj"])


def shifted(x, p, heads, window, shift):
    H, W = x.shape[1:3]
    x = pad(x, (0, 0, 0, -W % window[1], 0, -H % window[0]))
    height, width = x.shape[1:3]
    windows = partition(x.roll((-shift[0], -shift[1]), (1, 2)), window)
    windows = attend(windows, p, heads, window, make_mask(height, width, window, shift))
    x = reverse(windows, window, height, width).roll((shift[0], shift[1]), (1, 2))
    return x[:, :H, :W]


def layer_norm(x, params, eps=1e-5):
    return norm(torch.from_numpy(x), x.shape[-1:], **tensors(params), eps=eps).numpy()


def shifted_window_attention(x, params, num_heads, window_size, shift_size):
    x, p = torch.from_numpy(x), tensors(params)
    return shifted(x, p, num_heads, pair(window_size), pair(shift_size)).numpy()


def swin_block(x, params, num_heads, window_size, shift_size):
    x, p = torch.from_numpy(x), tensors(params)
    y = norm(x, x.shape[-1:], **p["norm1"])
    x = x + shifted(y, p["attn"], num_heads, pair(window_size), pair(shift_size))
    y = norm(x, x.shape[-1:], **p["norm2"])
    return (x + linear(gelu(linear(y, **p["mlp"]["fc1"])), **p["mlp"]["fc2"])).numpy()
"""
"""A block as it is usually written, for an adapter's file."""

MISTAKES = {
    "the scale of all channels": (
        "(q * (C // heads) ** -0.5)",
        "(q * C ** -0.5)",
        ["shifted_window_attention is the first component that is wrong", "several heads", "all channels"],
    ),
    "a roll that is not undone": (
        "height, width).roll((shift[0], shift[1]), (1, 2))",
        "height, width).roll((-shift[0], -shift[1]), (1, 2))",
        ["shifted_window_attention is the first component that is wrong", "with a shift"],
    ),
    "a residual behind its norm": (
        "x = x + shifted(y,",
        "x = y + shifted(y,",
        [
            "swin_block is the first component that is wrong",
            "what it uses, .* are right|what it uses is right",
        ],
    ),
}
"""For each mistake: the right words, the wrong ones, and what the first lines of its report say."""


SOME = (
    "shifted_window_attention/oracle,shifted_window_attention/locality,swin_block/oracle,swin_block/branches,"
    "layer_norm/oracle"
)
"""The laws that are asked outside the profile deep."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=heavy) if number else name for number, name in enumerate(MISTAKES)]
)
def test_a_mistake_in_a_copy_of_a_block_is_told_in_few_lines(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, deep: bool
) -> None:
    right, wrong, sentences = MISTAKES[name]
    assert COPY.count(right) == 1
    path = tmp_path / f"copy_{list(MISTAKES).index(name)}.py"
    path.write_text(COPY.replace(right, wrong))
    words = ["--effort", "quick", "--in-process", "--html", str(tmp_path / "report.html")]
    assert main(["check", str(path), *words, "--only", "*" if deep else SOME]) == 1
    out, _ = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) < 60, out
    first = "\n".join(lines[:15])
    for sentence in sentences:
        assert re.search(sentence, first), out
    assert re.search("usual case: batch=. grid=8x8 window=4x4", out), out
    page = (tmp_path / "report.html").read_text()
    assert page.index("is the first component that is wrong") < page.index("Where it is wrong")
    assert page.index("Tokens of the image") < page.index("Broken laws")


MINE = """
import swin_reference as s
precision = "float64"
cyclic_shift = s.cyclic_shift
def deep(x): raise ValueError("the first line\\nthe second line")
def layer_norm(x, params, eps=1e-5): return deep(x)
def mlp(x, params): return s.mlp(x, params) * (1 + 1e-3 * (len(x) > 3))
"""
QUICK = ("--effort", "quick", "--only", "layer_norm/*,mlp/oracle,cyclic_shift/definition")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_pipe_gets_each_line_as_soon_as_it_is_known(mine: Path) -> None:
    line = [sys.executable, "-m", "swin_properties.commands.cli", "check", str(mine), *QUICK]
    run = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None
    told = []
    while (text := run.stderr.readline()) and "layer_norm/oracle" not in text:
        told.append(text.strip())
        assert run.poll() is None
    assert told[0].startswith(f"judging {mine}: ")
    assert "laws in float64, judged as canonical: only a whole network" in told[0]
    out, error = run.communicate()
    assert "looking for the cause" in error
    assert out.startswith(f"{mine} is judged as an adapter: its functions get NumPy arrays\n\ncause: ")
    assert re.search(
        r"^mlp/oracle broken: \d+ cases?, rho \S+, \d+\.\d s$", "".join(told) + text + error, re.M
    )


SLOW_AT_FIRST = """
import pathlib, time
paused = pathlib.Path(__file__).with_name("paused")
def pause():
    if not paused.exists():
        paused.touch()
        time.sleep(1)
""" + MINE.replace("return deep(x)", "pause(); return deep(x)")


def test_a_terminal_shows_the_law_that_is_asked_and_then_the_report_alone(mine: Path) -> None:
    mine.write_text(SLOW_AT_FIRST)  # a quick machine has asked a law before the line is drawn
    screen, terminal = pty.openpty()
    line = [sys.executable, "-m", "swin_properties.commands.cli", "check", str(mine), *QUICK]
    run = subprocess.Popen(line, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    data = b""
    while True:
        try:
            some = os.read(screen, 1 << 16)
        except OSError:  # the terminal's other end is closed
            break
        if not some:
            break
        data += some
    os.close(screen)
    assert run.wait() == 1
    text = data.decode()
    assert "loading it" in text
    assert re.search(r"layer_norm/\S+: case \d+, \d+ s", text)
    assert re.search(r"of \d+ laws, \d+ broken", text)
    assert text.rindex("\x1b[2K") < text.index("cause:")


def test_a_closed_pipe_of_errors_loses_nothing(mine: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "swin_properties.commands.cli", "check", str(mine), "--in-process", *QUICK]
    words = ["--json", str(tmp_path / "report.json")]
    with subprocess.Popen([*line, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stderr.close()
        assert "does not conform" in run.stdout.read()
    assert run.returncode == 1
    assert json.loads((tmp_path / "report.json").read_text())["exit_code"] == 1


@pytest.mark.parametrize("where", ["--in-process", "--own-process"])
def test_a_traceback_is_told_where_it_is_asked_for(where: str, mine: Path, command: Command) -> None:
    words = ("check", str(mine), where, "--effort", "quick", "--only", "layer_norm/oracle,layer_norm/eps")
    run = command(*words, "--traceback")
    assert run.stdout.count("in deep\n") == run.stdout.count("the second line\n") == 1
    assert "swin_properties" not in run.stdout.partition("Traceback")[2].partition("ValueError")[0]
    assert run.stdout.count("is broken\n") == 1
    assert "the same in: layer_norm/" in run.stdout
    assert "Traceback" not in command(*words).stdout


def test_a_traceback_is_a_text_whatever_the_exception_does() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert isinstance(format_traceback(Odd()), str)


def test_what_a_case_needs_is_found_by_leaving_it_out() -> None:
    class Batched:
        precision = "float64"

        def cyclic_shift(self, x: Any, shift_size: Any) -> Any:
            moved = swin_reference.cyclic_shift(x, shift_size)
            return moved + (np.arange(len(x)) >= 1)[:, None, None, None] * bool(np.any(shift_size))

    report = check(Batched(), only="cyclic_shift/definition", effort="quick")
    (result,) = report.of("broken")
    found = result.counterexample
    assert found is not None
    assert found.needed in ("shift, batch of at least 2", "shift, window, batch of at least 2")
    assert found.usual is not None
    assert found.usual.case.grid == (8, 8)  # type: ignore[attr-defined]
    assert found.usual.case.batch == USUAL[1].batch == 2
    assert np.shape(found.usual.evidence.got)[1:3] == (8, 8)  # type: ignore[union-attr]
    right = check("swin_reference", only="cyclic_shift/definition", effort="quick")
    assert right.of("broken") == []


def test_a_case_that_a_law_is_never_asked_is_no_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = SimpleNamespace(precision="float64", window_partition=lambda x, *_: x)
    law = LAWS["window_partition/definition"]
    judged = Implementation(wrong, PRECISIONS["float64"])
    with pytest.raises(ValueError, match="cannot be asked grid=3x3 window=2x2"):
        check_case(law, judged, GridCase(grid=(3, 3), window=(2, 2)))
    check_case(law, judged, GridCase(grid=(4, 4), window=(2, 2)))
    words = ["--only", law.name, "--case", "grid=3x3 window=2x2"]
    assert main(["check", "swin_reference", "--in-process", *words]) == 2
    assert "--case has sizes on which the law can be asked" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("law", ["shifted_window_attention/oracle", "shifted_window_attention/exhaustive"])
def test_few_shapes_are_few(law: str) -> None:
    asked = set()

    class Counting:
        precision = "float64"

        def shifted_window_attention(self, x: Any, params: Any, *sizes: Any) -> Any:
            asked.add((x.shape, "bias" in params["qkv"], *sizes))
            return swin_reference.shifted_window_attention(x, params, *sizes)

    full = check(Counting(), only=law, effort="quick")
    assert full.exit_code == 0
    many = len(asked)
    asked.clear()
    few = check(Counting(), only=law, effort="quick", few_shapes=True)
    assert few.exit_code == 0
    assert few.of("holds")[0].cases >= 2
    assert 1 < len(asked) < many
    assert "a few sizes only" in dict(terminal.list_remarks(few))["few shapes"]
    assert few.caught == ""


def test_a_case_of_few_shapes_keeps_what_its_law_may_depend_on() -> None:
    whole = GridCase(grid=(8, 8), window=(4, 4), shift=(2, 0), recipe="flat", seed=7, batch=30)
    moved = move_to_few(whole)
    assert moved.grid == moved.padded
    assert moved.shift == (1, 1)
    assert (moved.recipe, moved.seed) == ("flat", 7)
    assert moved.batch * np.prod(moved.grid) * moved.channels >= 30 * 64
    assert move_to_few(GridCase(grid=(7, 7), window=(4, 4))).padded != (5, 3)
    spanned = move_to_few(NetCase(image=(2, 5), window=(2, 3), depths=(2,)))
    assert (spanned.grid[0] <= spanned.window[0]) != (spanned.grid[1] <= spanned.window[1])


def make_report(**fields: Any) -> Report:
    holds = LawResult("mlp/oracle", "A law.", "holds", 3, 0.5)
    absent = LawResult("mlp/gelu", "A law.", "not offered", missing=("gelu",))
    found = Counterexample(GridCase(), "mlp raised ValueError: x", "again", kind="raised", traceback="at <x>")
    raised = LawResult("mlp/per-token", "A law.", "broken", 2, 0.1, counterexample=found)
    return Report("mine", "float32", "quick", 0, [holds, absent, raised], cause="It is there.", **fields)


def test_a_page_has_no_rows_of_what_is_not_offered_and_says_raised() -> None:
    page = html.page(make_report())
    assert "mlp/<wbr>gelu" not in page
    assert "mlp/<wbr>gelu" in html.page(make_report(), every=True)
    row = page[page.rindex("per-<wbr>token" if "per-<wbr>token" in page else "per-token") :]
    assert row[: row.index("</tr>")].count("raised") == 1
    assert "0.10" not in row
    assert page.index("It is there.") < page.index("Broken laws") < page.index("The laws that were asked")
    assert "at &lt;x&gt;" in page


def test_the_pass_without_graph_optimisation_is_in_every_report() -> None:
    found = Counterexample(NetCase(), "rho 9, limit 1", "again")
    result = LawResult("swin_transformer/oracle", "A law.", "broken", 2, 9.0, counterexample=found)
    holds = LawResult("mlp/oracle", "A law.", "holds", 3, 0.5)
    report = Report("mine.onnx", "float32", "quick", 0, [holds], unoptimised=result)
    assert report.exit_code == 1
    words = json.loads(json_report.text(report))["without_graph_optimisation"]
    assert (words["status"], words["counterexample"]["seen"]) == ("broken", "rho 9, limit 1")
    assert 'name="graph optimisation off: swin_transformer/oracle"' in junit.text(report)
    assert 'failures="1"' in junit.text(report)
    told = "Graph optimisation off: swin_transformer/oracle broken on 2 cases, worst rho 9.00: rho 9, limit 1"
    assert told in html.page(report)


def print_rows(report: Report, every: bool = False) -> str:
    console = Console(file=StringIO(), width=200)
    terminal.print_report(report, console, every)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_many_laws_have_a_row_for_each_component() -> None:
    names = [name for name in LAWS if name.startswith(("mlp/", "layer_norm/"))]
    results = [LawResult(name, "A law.", "holds", 3, 0.25) for name in names]
    report = Report("mine", "float32", "quick", 0, results)
    rows = print_rows(report)
    assert re.search(r"^component +verdict +laws +cases", rows, re.MULTILINE)
    own = sum(name.startswith("mlp/") for name in names)
    assert re.search(rf"^mlp +holds +{own} +{3 * own} +0.25$", rows, re.MULTILINE)
    assert "mlp/oracle" not in rows
    assert re.search(r"^mlp/oracle +holds", print_rows(report, every=True), re.MULTILINE)


def test_a_few_broken_laws_are_told_in_full_and_all_of_them_by_name() -> None:
    names = [name for name in LAWS if name.startswith(("mlp/", "layer_norm/"))]
    results = [
        LawResult(name, "A law.", "broken", 3, 9.0, counterexample=Counterexample(GridCase(), name, "again"))
        for name in names
    ]
    report = Report("mine", "float32", "quick", 0, results, cause="It is there.", first="mlp")
    rows = print_rows(report)
    assert rows.startswith("cause: It is there.\n\nmlp/oracle is broken\n")
    assert rows.count(" is broken\n") == 3
    assert re.search(r"\n  layer_norm: oracle, .*: layer_norm/oracle\n", rows)
    assert print_rows(report, every=True).count(" is broken\n") == len(names)
