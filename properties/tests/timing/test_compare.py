"""Two revisions side by side: verdicts exact on given times, the command on adapters that sleep."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from swin_properties.adapters import contract
from swin_properties.commands import cli
from swin_reference.config import CONVENTIONS
from swin_timing.interleaved import Timings
from swin_timing.revisions import judging, process, worker
from swin_timing.revisions.expression import parse_expression
from swin_timing.revisions.inputs import QUESTIONS

BUSY = [sys.executable, "-c", "while True: pass"]
MINE = """
import time
class Adapter:
    def layer_norm(self, x, params, eps=1e-5): time.sleep(0.003)
    def mlp(self, x, params): time.sleep({mlp})
    {more}
adapter = Adapter()
"""
NAME = ("--implementation", "mine:adapter")
COPY = Path(__file__).parents[1] / "suite" / "copies" / "official.py"

Repository = Callable[..., None]


def measured(ratio: float, anchor: float = 0.0) -> Timings:
    """Fifteen rounds with this ratio of minima and this spread of the anchor."""
    base = tuple(2.0 + turn for turn in range(15))
    return Timings({"base": base, "head": tuple(ratio * x for x in base)}, (1.0,) * 14 + (1.0 + anchor,))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Makes a commit of an adapter that sleeps, in the folder that the test runs in."""
    monkeypatch.chdir(tmp_path)

    def commit(mlp: float = 0.003, more: str = "", text: str = "") -> None:
        (tmp_path / "mine.py").write_text(text or MINE.format(mlp=mlp, more=more))
        author = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
        for words in (("init", "-q"), ("add", "mine.py"), (*author, "commit", "-q", "-m", "A step")):
            subprocess.run(["git", *words], check=True, cwd=tmp_path)

    return commit


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is never disturbed, whatever runs beside the test."""
    monkeypatch.setattr("swin_timing.interleaved.make_anchor", lambda *_: lambda: (1.0, 1.0))
    monkeypatch.setattr("swin_timing.interleaved.read_core_seconds", lambda: (1.0, 1.0))
    monkeypatch.setattr(process, "PAIRS", 2)


@pytest.fixture
def busy() -> Iterator[None]:
    """This process and two busy loops share one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    loops = [subprocess.Popen(BUSY) for _ in range(2)]
    time.sleep(0.2)  # until they loop
    yield
    for loop in loops:
        loop.kill()
        loop.wait()
    os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("measurements", "verdict"),
    [
        ([], ""),
        ([measured(1.05)], "same"),
        ([measured(1.051)], ""),
        ([measured(1.051), measured(1.051)], "slower"),
        ([measured(1.051), measured(1.05)], "same"),
        ([measured(1.051), measured(1 / 1.051)], "same"),
        ([measured(1 / 1.051)] * 2, "faster"),
        ([measured(1 / 1.05)], "same"),
        ([measured(1.0, anchor=0.25)], "same"),
        ([measured(1.0, anchor=0.26)], ""),
        ([measured(9.0, anchor=0.26)] * 2, ""),
        ([measured(9.0, anchor=0.26)] * 3, "inconclusive"),
        ([measured(9.0, anchor=0.26)] * 2 + [measured(1.0)], "same"),
        ([measured(9.0, anchor=0.26)] * 2 + [measured(9.0)], "inconclusive"),
        ([measured(9.0), measured(1.0, anchor=0.26), measured(9.0)], "slower"),
        ([measured(9.0), measured(1.0, anchor=0.26), measured(1.0)], "same"),
    ],
)
def test_the_verdict_of_given_times(measurements: list[Timings], verdict: str) -> None:
    assert judging.judge(measurements) == verdict


@pytest.mark.parametrize(("seconds", "each"), [(0.049, 16), (0.051, 4)])
def test_pairs_share_the_rounds_of_long_runs(
    seconds: float, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ready(process.Pair):
        def prepare(self, *_: object) -> float:
            return seconds

    monkeypatch.setattr(
        process.interleaved, "measure_interleaved", lambda groups, _, rounds, *__: (len(groups), rounds)
    )
    pairs: Any = [Ready.__new__(Ready) for _ in range(4)]
    for pair in pairs:
        pair.processes = {}
    case = QUESTIONS[0].for_implementation("mine")
    assert process.measure(pairs, case, True, lambda: (1.0, 1.0), 16) == (4, each)


@pytest.mark.parametrize(
    ("expression", "meant"),
    [
        ("a", "abc ab a"),
        ("a and b", "abc ab"),
        ("a and not c", "ab a"),
        ("not a or c", "abc d"),
        ("not (a or d)", ""),
        ("not not B", "abc ab"),
        ("d or a and c", "abc d"),
    ],
)
def test_an_expression_means_what_it_means_to_pytest(expression: str, meant: str) -> None:
    matches = parse_expression(expression)
    assert [name for name in ("abc", "ab", "a", "d") if matches(name)] == meant.split()


@pytest.mark.usefixtures("quiet")
def test_the_command_names_the_case_that_became_slower(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository(mlp=0.003)
    repository(mlp=0.006)
    words = ("compare", "HEAD~1", "HEAD", *NAME, "-k", "stage3", "--json", "run.json")
    assert cli.main([*words]) == 1
    assert (
        "1 slower, 1 same of 2 cases; slower: inference[mlp-stage3-mine:adapter]" in capsys.readouterr().out
    )
    run = json.loads((tmp_path / "run.json").read_text())
    (found,) = [case for case in run["benchmarks"] if "mlp" in case["name"]]
    assert found["stats"]["min"] >= 0.006
    assert 0.003 <= found["extra_info"]["base_min"] < 0.006
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert run["commit_info"]["id"] == head.stdout.strip()
    # pytest-benchmark reads it.
    read = [sys.executable, "-m", "pytest_benchmark", "compare", "run.json"]
    listed = subprocess.run(read, capture_output=True, text=True, check=True)
    assert "inference[mlp-stage3-mine:adapter]" in listed.stdout


@pytest.mark.usefixtures("quiet")
def test_the_working_tree_stands_for_a_head_that_is_not_named(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository(mlp=0.006)
    (tmp_path / "mine.py").write_text("from untracked import adapter\n")
    (tmp_path / "untracked.py").write_text(MINE.format(mlp=0.003, more=""))
    assert cli.main(["compare", "HEAD", *NAME, "-k", "mlp and stage3"]) == 0
    assert "HEAD -> the working tree: 1 faster of 1 cases" in capsys.readouterr().out


@pytest.mark.usefixtures("quiet")
def test_prepare_is_used_by_both_or_by_none(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    prepares = "def prepare(self, name, *args): return lambda: time.sleep({})"
    for seconds in ("", "0.001", "0.002"):
        repository(more=prepares.format(seconds) if seconds else "")
    words = (*NAME, "-k", "mlp and stage3")
    assert cli.main(["compare", "HEAD~2", "HEAD", *words]) == 0
    assert "1 same of 1" in capsys.readouterr().out
    assert cli.main(["compare", "HEAD~1", "HEAD", *words]) == 1


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", ["mine.py", "mine", "mine.py?as=copy"])
def test_a_copy_without_an_adapter_is_timed_as_it_is_judged(
    repository: Repository, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    copy = COPY.read_text()
    right = "return self.fc2("
    assert right in copy
    repository(text=copy)
    repository(text=copy.replace(right, f"__import__('time').sleep(0.02); {right}"))
    words = ("compare", "HEAD~1", "HEAD", "--implementation", name, "-k", "mlp and stage3")
    assert cli.main([*words]) == 1
    assert f"1 slower of 1 cases; slower: inference[mlp-stage3-{name}]" in capsys.readouterr().out


@pytest.mark.parametrize("disturbed_by", ["an anchor that waits", "busy loops"])
def test_on_a_disturbed_machine_the_answer_is_inconclusive(
    disturbed_by: str,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    deep: bool,
) -> None:
    if disturbed_by == "busy loops":
        if not deep:
            pytest.skip("the profile deep is not asked for: half a minute beside busy loops")
        request.getfixturevalue("busy")
    else:
        request.getfixturevalue("quiet")
        monkeypatch.setattr("swin_timing.interleaved.make_anchor", lambda *_: lambda: (2.0, 1.0))
    monkeypatch.setattr(process, "PAIRS", 1)  # every process starts slowly beside busy loops
    repository(mlp=0.003)
    repository(mlp=0.006)
    assert cli.main(["compare", "HEAD~1", "HEAD", *NAME, "-k", "mlp and stage3"]) == 3
    assert "1 inconclusive of 1 cases; the machine was disturbed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("HEAD", "nowhere"), "a revision is a commit, branch or tag of .*, got 'nowhere'"),
        (("-k", "nothing", "HEAD"), "-k matches a case, 'nothing' matches none of"),
        (("-k", "mlp and", "HEAD"), "-k is words joined by and, or, not"),
        (("-k", "swin_block", "HEAD"), "both revisions offer a case, these offer none"),
        (("--rounds", "14", "HEAD"), "over at least 15 rounds, got 14"),
        (("--rounds", "many", "HEAD"), "invalid int value: 'many'"),
        (("--implementation", "yours", "HEAD"), "yours is not in HEAD: there is no module yours"),
        (("--implementation", "mine:fast", "HEAD"), "mine:fast is not in HEAD: mine has no fast"),
        (("--implementation", "no.py", "HEAD"), "no.py is not in HEAD: there is no file no.py"),
        (("--implementation", "numpy", "HEAD"), "numpy is not in the tree but at"),
        (("HEAD", "HEAD~1"), "mine of HEAD~1 raised ModuleNotFoundError: .*nothing_of_the_kind"),
        (("HEAD", "HEAD~2"), r"inference\[mlp-stage1-mine\] of HEAD~2 raised KeyError: 'weight': leave"),
        (("HEAD", "HEAD~3"), "HEAD~3 raised an end of its process: exit code 7, saying bye"),
        (("--json", "no/run.json", "HEAD"), "a report's file can be written"),
    ],
)
def test_bad_input_is_one_sentence(
    repository: Repository, command: Command, words: tuple[str, ...], sentence: str
) -> None:
    repository(text="import os\nprint('bye', flush=True)\nos._exit(7)")
    repository(text="def mlp(x, params):\n    return params['weight']")
    repository(text="import nothing_of_the_kind")
    repository()
    name = () if "--implementation" in words else ("--implementation", "mine")
    run = command("compare", *name, *words)
    assert run.returncode == 2, run.stdout + run.stderr
    assert run.stderr.count("\n") == 1
    assert re.search(sentence, run.stderr), run.stderr


def test_outside_a_repository_there_is_nothing_to_compare(command: Command, tmp_path: Path) -> None:
    run = command("compare", "HEAD")
    assert run.returncode == 2
    assert run.stderr.startswith(f"swin-oracle: revisions are compared in a git repository, {tmp_path}")


HEEDING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from swin_properties.commands.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""The command, heeding Ctrl-C: a shell's background job, as these tests may be, is deaf to it."""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(
    repository: Repository, tmp_path: Path, how: signal.Signals
) -> None:
    repository(mlp=0.2)
    aside = tmp_path / "aside"
    aside.mkdir()
    line = [sys.executable, "-c", HEEDING, "compare", "HEAD", *NAME, "--json", "run.json"]
    run = subprocess.Popen(line, env=os.environ | {"TMPDIR": str(aside)}, stderr=subprocess.PIPE, text=True)
    while not list(aside.glob("*/head/mine.py")):
        assert run.poll() is None
        time.sleep(0.05)
    time.sleep(1.0)  # into the measurement, or near
    run.send_signal(how)
    _, said = run.communicate(timeout=20)
    assert (run.returncode, said) == (130, "swin-oracle: interrupted\n")
    assert not list(aside.iterdir())
    assert not (tmp_path / "run.json").exists()


def test_the_worker_imports_nothing_that_a_tree_may_hold() -> None:
    source = Path(worker.__file__).read_text()
    found = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [x.name for x in node.names]
        )
    }
    assert found - set(sys.stdlib_module_names) == {"numpy"}


def test_every_case_is_made_as_its_callable_takes_it() -> None:
    adapter = __import__("swin_torch").adapter
    for question in QUESTIONS:
        args = worker.make_inputs(list(question.arguments), np.random.default_rng(0), np.dtype(np.float32))
        result: Any = getattr(adapter, question.call)(*args)
        if question.call == "vjp":
            result, args = result[0], args[2:]  # the gradient of x
            assert result.shape == args[0].shape
        else:
            assert result.shape == contract.result_shape(question.call, tuple(args), CONVENTIONS["canonical"])
        assert np.isfinite(result).all()


def test_operators_and_saved_bytes_are_counted_exactly() -> None:
    x = torch.ones(3, requires_grad=True)

    def work() -> None:
        x.grad = None
        x.view(3, 1).mul(x.view(3, 1)).exp().sum().backward()

    # mul, exp, sum; ones_like, one to take exp back, two and their sum for mul.  mul keeps x, which is given,
    # and exp what it gives.
    assert worker.count_operators(work, torch) == {"operators": 8, "saved bytes": 12}
    assert worker.count_operators(lambda: None, torch) == {}
    assert worker.count_operators(work, None) == {}
