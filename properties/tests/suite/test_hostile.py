"""Whatever an implementation does to its process: the verdict, the exit code and the files stay true."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import DEEP, Command, heavy
from swin_properties import check
from swin_properties.adapters.process import Process
from swin_properties.judging.jobs import choose_jobs
from swin_properties.judging.run import make_request
from swin_properties.judging.sequence import find_shortest

PREFIX = """
import atexit, ctypes, gc, os, random, resource, signal, sys, threading, time, warnings
import numpy as np
import swin_reference as s
precision = "float64"
right = s.layer_norm
"""

DIES = {
    "exit 0": ("os._exit(0)", "ended itself with exit code 0"),
    "exit 3": ("os._exit(3)", "ended itself with exit code 3"),
    "segfault": ("ctypes.string_at(0)", "killed by signal 11"),
    "abort": ("os.abort()", "killed by signal 6"),
    "killed": ("os.kill(os.getpid(), 9)", "killed by signal 9"),
    "terminated": ("os.kill(os.getpid(), 15)", "killed by signal 15"),
    "hangup": ("os.kill(os.getpid(), 1)", "killed by signal 1 "),
    "alarm": ("signal.alarm(1); time.sleep(9)", "killed by signal 14"),
    "its group killed": ("os.killpg(0, 9)", "killed by signal 9"),
    "stack overflow in C": (
        "sys.setrecursionlimit(10**9); f = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: f()); f()",
        "killed by signal",
    ),
    "sleeps": ("time.sleep(1000)", "did not answer within"),
    "works for ever": ("while True: pass", "did not answer within"),
    "deaf and asleep": ("signal.signal(15, signal.SIG_IGN); time.sleep(1000)", "did not answer within"),
    "stops itself": ("os.kill(os.getpid(), signal.SIGSTOP)", "did not answer within"),
    "closes every descriptor": ("os.closerange(0, 256)", "process"),
    "closes its replies": ("[os.close(n) for n in (3, 4, 5, 6) if n_is_open(n)]", "process"),
    "text among the replies": ("[os.write(n, b'hello, world\\n') for n in replies()]", "wrote a text"),
    "garbage among the replies": ("[os.write(n, bytes(range(200, 256))) for n in replies()]", "process"),
    "a reply too long": ("[os.write(n, bytes([0, 0, 0, 0, 0, 1, 0, 0])) for n in replies()]", "the most is"),
    "a flood of replies": (
        "while True: [os.write(n, bytes([0, 0, 32, 0, 0, 0, 0, 0]) + bytes(1 << 16)) for n in replies()]",
        "no message",
    ),
    "a flood of words": ("while True: os.write(2, b'x' * 4096)", "did not answer within"),
    "memory": ("kept = [np.ones(1 << 20) for _ in range(400)]; time.sleep(1000)", "MB of memory"),
    "a copy that answers": ("os.fork() and os._exit(0)", "ended itself with exit code 0"),
    "two copies that hang": ("os.fork(); os.fork(); time.sleep(1000)", "did not answer within"),
    "leaves its session and dies": ("os.setsid() if os.fork() == 0 else os._exit(4)", "exit code 4"),
}
"""What ends the process, or makes it silent, in the midst of a call; and what is said of it."""

RAISES = {
    "SystemExit": ("sys.exit(0)", "raised SystemExit"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
    "GeneratorExit": ("raise GeneratorExit", "raised GeneratorExit"),
    "a skip of pytest": ("import pytest; pytest.skip('later')", "raised Skipped: later"),
    "a failure of pytest": ("import pytest; pytest.fail('no')", "raised Failed"),
    "a skip of unittest": ("import unittest; raise unittest.SkipTest('x')", "raised SkipTest"),
    "a case that Hypothesis rejects": (
        "import hypothesis; hypothesis.reject()",
        "raised UnsatisfiedAssumption",
    ),
    "a stop of Hypothesis": ("from hypothesis.errors import StopTest; raise StopTest(1)", "raised StopTest"),
    "the suite's own end": (
        "from swin_properties.adapters.process import ProcessGone; raise ProcessGone('x')",
        "raised ProcessGone",
    ),
    "a str that raises": (
        "E = type('E', (Exception,), {'__str__': lambda self: 1 / 0}); raise E()",
        "raised E: (its message raised ZeroDivisionError)",
    ),
    "a str that exits": (
        "E = type('E', (Exception,), {'__str__': lambda self: sys.exit(0)}); raise E()",
        "raised E: (its message raised SystemExit)",
    ),
    "a long message": ("raise ValueError('x' * 10**7)", "xxx ... xxx"),
    "control characters": ("raise ValueError('\\x1b[31m\\x00')", "\\x1b[31m\\x00"),
    "a lone surrogate": ("raise ValueError('\\udc80')", "raised ValueError: \\udc80"),
    "endless recursion": ("f = lambda: f(); f()", "raised RecursionError"),
    "all memory at once": ("np.ones(10**15)", "raised"),
    "warnings as errors": ("warnings.simplefilter('error'); warnings.warn('w')", "raised UserWarning"),
    "reads its input": ("input()", "raised EOFError"),
    "floats that raise": (
        "np.seterr(all='raise'); np.float64(1) / np.float64(0)",
        "raised FloatingPointError",
    ),
}
"""What raises, in a call; and what is said of it."""

RETURNS = {
    "None": ("return None", "returned a NoneType"),
    "a list": ("return right(x, params, eps).tolist()", "returned a"),
    "a generator": ("return (one for one in x)", "returned a generator"),
    "an array of objects": ("return np.array([None])", "returned an array of object"),
    "an array of texts": ("return np.array(['x'])", "returned an array of <U1"),
    "complex numbers": ("return right(x, params, eps) + 0j", "returned an array of complex128"),
    "NaN": ("return right(x, params, eps) * np.nan", "returned NaN"),
    "another shape": ("return right(x, params, eps)[None]", "returned shape"),
    "an object that says it is an array": (
        "A = type('A', (), {'__class__': property(lambda self: np.ndarray), 'dtype': x.dtype}); return A()",
        "returned a",
    ),
    "an object that becomes an array": (
        "A = type('A', (), {'__array__': lambda self, *a, **k: right(x, params, eps)}); return A()",
        "returned a",
    ),
    "an array that answers for itself": (
        "A = type('A', (np.ndarray,), dict.fromkeys(('__eq__', '__ne__', '__sub__', '__array_ufunc__', "
        "'__array_function__', 'astype', 'view', 'tobytes'), lambda self, *a, **k: True))\n"
        "    return np.ndarray.__add__(right(x, params, eps), 1.0).view(A)",
        "rho",
    ),
    "an infinite view": ("return np.broadcast_to(x.ravel()[:1], x.shape)", "rho"),
}
"""What is no right answer; and what is said of it."""

LAW = dict.fromkeys(("an array that answers for itself", "an infinite view"), "layer_norm/oracle")

WRONG = "return right(x, params, eps) * 1.01"
PATCHES = {
    "patched NumPy": "np.array_equal = np.allclose = lambda *a, **k: True; np.isnan = lambda x: np.zeros(1)",
    "patched builtins": "import builtins as b; b.isinstance = lambda *a: True; b.max = lambda *a, **k: 0.0",
    "a patched oracle": "s.layer_norm = s.direct.layer_norm = lambda x, *a, **k: right(x, *a, **k) * 1.01",
    "patched suite": (
        "import swin_properties.judging.compare as c, swin_properties.budget.within as w; "
        "c.evaluate = lambda *a: c.CaseResult(0.0); w.within_budget = None; sys.modules.pop('swin_reference')"
    ),
    "patched laws": "from swin_properties.laws.law import LAWS; LAWS.clear()",
    "the adapter removed": "sys.modules.clear()",
    "another excepthook": "sys.excepthook = lambda *a: os._exit(0)",
}
"""What might fake the verdict of a wrong implementation."""

HARMLESS = {
    "SIGINT to itself": "os.kill(os.getpid(), 2)",
    "another folder": "os.chdir('/')",
    "its folder removed": "import tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
    "closes stdout": "sys.stdout.close()",
    "no stdout": "sys.stdout = None",
    "prints": "print('hello'); os.write(1, b'world')",
    "prints much": "os.write(1, b'x' * (1 << 20))",
    "a thread left behind": "threading.Thread(target=time.sleep, args=(1000,)).start()",
    "an exit that hangs": "atexit.register(time.sleep, 1000)",
    "an exit with code 0": "atexit.register(os._exit, 0)",
    "a child left behind": "os.fork() or time.sleep(1000)",
    "an environment of its own": "os.environ.clear(); os.environ['OMP_NUM_THREADS'] = 'x'",
    "signals of its own": "signal.signal(15, lambda *a: None)",
    "no collection": "gc.disable(); gc.freeze()",
    "its own seeds": "random.seed(0); np.random.seed(0)",
    "few descriptors": "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))",
}
"""What a right implementation may do, and conform."""

TOOLS = """
def n_is_open(n):
    try: os.fstat(n)
    except OSError: return False
    return True
def replies():
    import fcntl
    found = [n for n in range(3, 9) if n_is_open(n) and os.fstat(n).st_ino != os.fstat(2).st_ino]
    return [n for n in found if fcntl.fcntl(n, fcntl.F_GETFL) & 3 == os.O_WRONLY]
"""


def write(folder: Path, body: str, after: str = "return right(x, params, eps)") -> str:
    code = f"def layer_norm(x, params, eps=1e-5):\n    {body}\n    {after}\n"
    (folder / "hostile.py").write_text(PREFIX + TOOLS + code)
    return str(folder / "hostile.py")


@pytest.fixture(autouse=True)
def few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIN_ORACLE_MEMORY", str(900 << 20))
    monkeypatch.setattr("swin_properties.judging.own_process.TIMEOUT", 0.4)


@pytest.mark.parametrize("name", DIES)
def test_what_ends_its_process_breaks_the_law(name: str, tmp_path: Path) -> None:
    body, sentence = DIES[name]
    report = check(write(tmp_path, body), only="layer_norm/per-token", effort="quick", own_process=True)
    assert report.exit_code == 1
    found = report.results[0].counterexample
    assert found is not None
    assert sentence in found.seen
    assert len(found.seen) < 600
    assert found.reproduce.endswith("--own-process")
    assert not Process.living


@pytest.mark.parametrize("name", RAISES | RETURNS)
def test_what_gives_no_answer_breaks_the_law(name: str, tmp_path: Path) -> None:
    body, sentence = (RAISES | RETURNS)[name]
    law = LAW.get(name, "layer_norm/per-token")
    report = check(write(tmp_path, body), only=law, effort="quick", own_process=True)
    assert report.exit_code == 1
    found = report.results[0].counterexample
    assert found is not None
    assert sentence in found.seen
    assert found.seen.isprintable()


@pytest.mark.parametrize("name", PATCHES)
def test_what_is_patched_fakes_no_verdict(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, PATCHES[name], WRONG)
    report = check(path, only="layer_norm/oracle", effort="quick", own_process=True)
    assert report.exit_code == 1
    assert report.results[0].status == "broken"


@pytest.mark.parametrize("name", HARMLESS)
def test_what_harms_nobody_conforms(name: str, tmp_path: Path) -> None:
    report = check(
        write(tmp_path, HARMLESS[name]), only="layer_norm/per-token", effort="quick", own_process=True
    )
    assert report.exit_code == 0, report.results[0].counterexample
    assert not Process.living


SEVERAL = ",swin_transformer/*"
"""Laws that are not offered: with another one they are as many as two pairs share."""

BY_TWO = ("segfault", "no stdout")
"""What two pairs are asked outside the profile deep."""


def test_two_pairs_share_these_laws() -> None:
    request = make_request("swin_reference", "layer_norm/oracle" + SEVERAL, own_process=True, jobs=2)
    assert choose_jobs(request, "cpu") == 2


@pytest.mark.parametrize("name", DIES | RAISES | RETURNS | PATCHES | HARMLESS if DEEP else BY_TWO)
def test_two_pairs_give_the_same_verdict_and_exit_code(name: str, command: Command, tmp_path: Path) -> None:
    body, sentence = (DIES | RAISES | RETURNS).get(name, ((PATCHES | HARMLESS).get(name), ""))
    assert body is not None
    write(tmp_path, body, WRONG if name in PATCHES else "return right(x, params, eps)")
    law = "layer_norm/oracle" if name in PATCHES else LAW.get(name, "layer_norm/per-token")
    words = ("--effort", "quick", "--timeout", "0.4", "-j", "2", "--json", "report.json")
    run = command("check", "hostile.py", "--only", law + SEVERAL, *words)
    assert run.returncode == (0 if name in HARMLESS else 1), run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["exit_code"] == run.returncode
    status = {one["name"]: one["status"] for one in found["laws"]}
    assert status.pop(law) == ("holds" if name in HARMLESS else "broken")
    assert set(status.values()) == {"not offered"}
    if name not in HARMLESS:
        assert sentence in found["laws"][0]["counterexample"]["seen"]


STATE = """
calls, buffer = [0], np.zeros(10**6)
np.random.seed(2)  # of its first and third draw one is below 0.5; of those after seed 0, a reset, none is
def layer_norm(x, params, eps=1e-5): return right(x, params, eps)
def mlp(x, params):
    x *= 1.0; x += 1.0
    return s.mlp(x - 1.0, params)
def swin_block(*args, **kwargs):
    y = s.swin_block(*args, **kwargs)
    return y * (1.0 + 0.1 * (np.random.rand() < 0.5))
def window_attention(*args, **kwargs):
    y = s.window_attention(*args, **kwargs)
    buffer[:y.size] = y.ravel()
    return buffer[:y.size].reshape(y.shape)
def patch_merging(x, params): return x if x.shape[0] < 0 else s.patch_merging(x, params)
def shifted_window_attention(x, *args):
    calls[0] += 1
    return s.shifted_window_attention(x, *args) * (1.0 if calls[0] < 4 else 1.1)
def cyclic_shift(x, shift_size): return x if not np.any(shift_size) else s.cyclic_shift(x, shift_size)
"""


@pytest.mark.parametrize("own", [True, False], ids=["own process", "in process"])
def test_what_a_call_leaves_behind_is_seen(own: bool, tmp_path: Path) -> None:
    (tmp_path / "state.py").write_text(PREFIX + STATE)
    path = str(tmp_path / "state.py")
    seen = {}
    for law in (
        "mlp/keeps-inputs",
        "window_attention/same-twice",
        "swin_block/same-twice",
        "layer_norm/dtype",
    ):
        (seen[law],) = check(path, only=law, effort="quick", own_process=own, shrink=1.0).results
    assert {law: result.status for law, result in seen.items()} == {
        "mlp/keeps-inputs": "broken",
        "window_attention/same-twice": "broken",
        "swin_block/same-twice": "broken",
        "layer_norm/dtype": "holds",
    }


def test_what_is_broken_only_after_other_calls_is_said_so(command: Command, tmp_path: Path) -> None:
    (tmp_path / "state.py").write_text(PREFIX + STATE)
    words = ("--only", "shifted_window_attention/oracle", "--effort", "quick", "--json", "report.json")
    run = command("check", "state.py", *words)
    assert run.returncode == 1, run.stderr
    (law,) = json.loads((tmp_path / "report.json").read_text())["laws"]
    found = law["counterexample"]
    assert found["seen"].startswith("broken only after other calls: it keeps state")
    assert "--case" not in found["reproduce"]
    again = command(*found["reproduce"].split()[1:])
    assert again.returncode == 1


AFTER_OTHERS = """
precision = "float64"
import swin_reference as s
calls = dict.fromkeys(("partition", "shift", "mlp"), 0)
window_reverse = s.window_reverse
def mlp(x, params):
    calls["mlp"] += 1
    return s.mlp(x, params)
def window_partition(x, window_size):
    calls["partition"] += 1
    return s.window_partition(x, window_size)
def cyclic_shift(x, shift_size):
    calls["shift"] += 1
    return s.cyclic_shift(x, shift_size)
def layer_norm(x, params, eps=1e-5):
    return s.layer_norm(x, params, eps) * (1.1 if all(calls[name] for name in (STATE,)) else 1.0)
"""


@pytest.mark.parametrize(
    ("jobs", "state", "only", "count"),
    [
        (
            "1",
            '"partition", "shift"',
            "window_partition/inv*,mlp/per*,cyclic_shift/def*,layer_norm/variance",
            3,
        ),
        ("2", '"mlp"', "window_*/*,cyclic_shift/*,mlp/*,layer_norm/variance", 2),
    ],
)
def test_the_line_again_has_the_shortest_sequence_of_laws(
    jobs: str, state: str, only: str, count: int, command: Command, tmp_path: Path, deep: bool
) -> None:
    if not deep:
        pytest.skip("the profile deep is not asked for: a whole run, and its line again")
    (tmp_path / "after.py").write_text(AFTER_OTHERS.replace("STATE", state))
    words = ("--effort", "quick", "--json", "report.json", "-j", jobs, "--only", only)
    run = command("check", "after.py", *words)
    assert run.returncode == 1, run.stderr
    laws = {law["name"]: law for law in json.loads((tmp_path / "report.json").read_text())["laws"]}
    found = laws["layer_norm/variance"]["counterexample"]
    assert found["seen"].startswith("broken only after other calls: it keeps state")
    names = shlex.split(found["reproduce"])
    sequence = names[names.index("--only") + 1].split(",")
    assert sequence[-1] == "layer_norm/variance"
    assert len(sequence) == count
    assert command(*names[1:]).returncode == 1
    for shorter in (sequence[1:], sequence[:1] * (count - 2) + sequence[-1:]) if deep else ():
        words_of_shorter = [",".join(shorter) if name == ",".join(sequence) else name for name in names[1:]]
        assert command(*words_of_shorter).returncode == 0


def test_the_shortest_sequence_is_found_in_few_trials_and_in_time() -> None:
    laws = [f"law {number}" for number in range(200)]
    tried: list[int] = []

    def shows(some: Sequence[str]) -> bool:
        tried.append(len(some))
        return {"law 7", "law 150", "law 151"} <= set(some)

    assert find_shortest(laws, shows, math.inf) == ["law 7", "law 150", "law 151"]
    assert len(tried) < 80
    assert find_shortest(laws, lambda _: False, math.inf) is None
    assert find_shortest(laws, shows, 0.0) is None
    assert find_shortest([], shows, math.inf) is None


MANY = """
def dies(how):
    def call(*args, **kwargs): how()
    return call
window_partition = dies(lambda: os._exit(0))
window_reverse = dies(lambda: ctypes.string_at(0))
cyclic_shift = dies(os.abort)
reverse_cyclic_shift = dies(lambda: os.kill(os.getpid(), 9))
shifted_window_mask = dies(lambda: sys.exit(0))
relative_position_index = dies(lambda: os.closerange(0, 256))
mlp = dies(lambda: time.sleep(1000))
layer_norm = right
"""
DEADLY = "*/[defg]*"


def test_the_command_gives_the_same_verdicts_by_one_pair_and_by_two(
    command: Command, tmp_path: Path, deep: bool
) -> None:
    if not deep:
        pytest.skip("the profile deep is not asked for: seven kinds of ends, by one pair and by two")
    (tmp_path / "many.py").write_text(PREFIX + MANY)
    rows = {}
    for jobs in ("1", "2"):
        words = (
            "--timeout",
            "0.4",
            "--effort",
            "quick",
            "--json",
            f"{jobs}.json",
            "-j",
            jobs,
            "--only",
            DEADLY,
        )
        run = command("check", "many.py", *words)
        assert run.returncode == 1, run.stderr
        assert "Traceback" not in run.stdout + run.stderr
        laws = json.loads((tmp_path / f"{jobs}.json").read_text())["laws"]
        rows[jobs] = [(law["name"], law["status"], law["cases"], law["rho"]) for law in laws]
    assert rows["1"] == rows["2"]
    assert sum(row[1] == "broken" for row in rows["1"]) >= 7
    assert not [row for row in rows["1"] if row[0].startswith("layer_norm/") and row[1] == "broken"]


def test_a_process_that_died_twenty_times_is_asked_no_more(command: Command, tmp_path: Path) -> None:
    calls = "\n".join(
        f"{name} = lambda *a, **k: os._exit(5)"
        for name in (
            "mlp",
            "layer_norm",
            "patch_embed",
            "patch_merging",
            "window_partition",
            "cyclic_shift",
            "swin_block",
        )
    )
    (tmp_path / "dead.py").write_text(PREFIX + calls)
    run = command("check", "dead.py", "--effort", "quick", "-j", "1", "--json", "report.json")
    assert run.returncode == 1, run.stderr
    laws = json.loads((tmp_path / "report.json").read_text())["laws"]
    assert sum(law["status"] == "broken" for law in laws) == 20
    assert ["not asked: it died 20 times"] in [law["missing"] for law in laws]
    assert re.search(r"not asked: it died 20 times \(\d+ laws\)", run.stdout)
    assert "not offered: not asked" not in run.stdout


def is_running(pid: int) -> bool:
    """Tells whether a process runs; one that ended, and that its parent has not asked about, does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # without /proc, what answers a signal runs


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=heavy)])
def test_a_signal_leaves_no_child_and_no_file(number: signal.Signals, jobs: str, tmp_path: Path) -> None:
    body = f"open({str(tmp_path)!r} + f'/pid{{os.getpid()}}', 'w'); time.sleep(1000)"
    path = write(tmp_path, body)
    line = [sys.executable, "-m", "swin_properties.commands.cli", "check", path, "--json", "report.json"]
    run = subprocess.Popen(
        [*line, "-j", jobs, "--only", "l*/*"] if jobs == "1" else [*line, "-j", jobs],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 90
    while not (pids := list(tmp_path.glob("pid*"))) and time.monotonic() < end:
        time.sleep(0.1)
    assert pids
    run.send_signal(number)
    _, error = run.communicate(timeout=30)
    assert (run.returncode, error.splitlines()[-1:]) == (128 + number, ["swin-oracle: interrupted"])
    end = time.monotonic() + 20
    while any(is_running(int(pid.name[3:])) for pid in pids) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [pid for pid in pids if is_running(int(pid.name[3:]))]
    assert not list(tmp_path.glob("*report*"))


def test_a_closed_pipe_loses_neither_files_nor_the_verdict(tmp_path: Path) -> None:
    path = write(tmp_path, "pass", WRONG)
    line = [sys.executable, "-m", "swin_properties.commands.cli", "check", path, "--effort", "quick"]
    with subprocess.Popen(
        [*line, "--only", "layer_norm/*", "--json", "report.json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        error = run.stderr.read()
    assert run.returncode == 1
    assert "Traceback" not in error
    assert error.splitlines()[0].startswith(f"judging {path}: ")
    assert json.loads((tmp_path / "report.json").read_text())["exit_code"] == 1


def test_a_report_is_not_written_over_an_input(command: Command, tmp_path: Path) -> None:
    write(tmp_path, "pass")
    before = (tmp_path / "hostile.py").read_text()
    run = command("check", "hostile.py", "--html", "hostile.py")
    assert (run.returncode, run.stdout) == (2, "")
    assert re.search("hostile.py is read as well", run.stderr)
    assert (tmp_path / "hostile.py").read_text() == before
