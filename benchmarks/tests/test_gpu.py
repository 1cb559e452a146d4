"""The GPU run without a GPU: complete, with few packages installed, killed, and with invented clocks."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.cases.case import Case
from benchmarks.cases.rivals import load_rival
from benchmarks.cases.verdicts import explain_adapter_fault
from benchmarks.gpu import __main__, goals, laws, page, record, schedule
from benchmarks.gpu.clock import Clock, Deadline, InventedClock
from benchmarks.gpu.part import Part
from benchmarks.gpu.record import Record
from benchmarks.machine.checkout import ROOT
from benchmarks.standing import measuring
from benchmarks.standing.goals import read
from swin_torch import SwinBlock, swin_t
from swin_torch.attention.counting import count_as_on_a_gpu
from swin_torch.backends import triton as kernels
from swin_torch.backends.triton import choices
from swin_torch.blocks.ways import recorded

AROUND_PRODUCTS = "fused attention between products"
DEEP = os.environ.get("SWIN_ORACLE_PROFILE") == "deep"

triton = pytest.importorskip("triton", reason="triton is not installed")

# fmt: off
BARE = [
    "numpy", "numpy.libs", "scipy", "scipy.libs", "torch", "torchgen", "functorch", "triton",
    "hypothesis", "sortedcontainers", "_hypothesis_globals.py", "sympy", "mpmath", "networkx",
    "jinja2", "markupsafe", "filelock", "fsspec", "typing_extensions.py",
]
# fmt: on
"""NumPy, SciPy, torch and hypothesis, and what these need."""


@pytest.fixture
def use_choices() -> Iterator[None]:
    """Restores the committed choices after the test."""
    yield
    choices.use()


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns a Python in whose environment only `BARE` is installed."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    ours, theirs = Path(sysconfig.get_paths()["purelib"]), next(folder.glob("lib/*/site-packages"))
    for name in BARE:
        if (ours / name).exists():
            (theirs / name).symlink_to(ours / name)
    for path in ours.glob("*.dist-info"):
        if path.name.partition("-")[0] in BARE:
            (theirs / path.name).symlink_to(path)
    return str(folder / "bin" / "python")


def start_run(python: str, out: Path, *words: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(
        [python, "-m", "benchmarks.gpu", "--out", str(out), *words],
        cwd=ROOT,
        env=environment | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def assert_whole(out: Path) -> dict[str, Any]:
    """Checks that every file is complete and that the page can be made; returns the parts."""
    for path in out.glob("[!.]*.json"):
        assert json.loads(path.read_text())
    assert "# On a GPU" in page.make_text([out])
    return page.read_parts(out)


def test_a_rehearsal_in_a_bare_environment_is_whole(bare: str, tmp_path: Path) -> None:
    run = start_run(bare, tmp_path)
    output, _ = run.communicate(timeout=500)
    found = assert_whole(tmp_path)
    assert run.returncode == 0, output
    assert list(found) == list(schedule.SHARES)
    assert all(part["finished"] and "ended" not in part for part in found.values()), output
    for package in ("jaxtyping", "rich", "PIL", "safetensors", "timm"):
        assert package in found["here"]["found"]["missing"]
        assert output.index(f"{package} is not installed") < output.index("ceilings: at most")
    assert found["here"]["found"]["card"] is None
    assert found["ceilings"]["found"].keys() == {"bfloat16", "float16", "tf32", "float32"}
    real = found["laws"]["found"]["real sizes"]
    assert [one["status"] for one in real] == ["held"] * len(laws.REDUCED)
    assert found["laws"]["found"]["quick effort"]["bfloat16"]["held"] == 1
    assert len(found["search"]["found"]) == 5
    assert not found["search"]["left_out"]
    assert [one["goals"] != [] for one in found["goals"]["found"].values()] == [True] * len(goals.REHEARSED)
    of_networks = [one for name, one in found["goals"]["found"].items() if "inference" in name]
    assert [sorted(one["seconds"]) for one in of_networks] == [
        ["roofline", "swin_torch", "swin_torch:plain"]
    ] * 2
    assert not [one for one in of_networks if any("@cuda" in who for who in one["refused"])]
    launches = {"Swin-T at 224": 72, "SwinV2-T at 256": 364}
    for name, count in launches.items():
        assert found["counts"]["found"][f"{name}, inference, launches on a GPU"]["count"] == count
    tuned = choices.read(tmp_path / "tuned.json")["interpreter"]
    assert tuned.keys() == {"attention", "linear", "block", "from"}
    assert choices.FILE.read_text() == "{}\n" or "interpreter" not in choices.read(choices.FILE)
    assert page.NOT_YET in page.make_text([tmp_path])


@pytest.mark.skipif(not DEEP, reason="the whole rehearsal with peers is part of the profile deep")
def test_a_rehearsal_with_peers_is_whole(tmp_path: Path) -> None:
    run = start_run(sys.executable, tmp_path)
    output, _ = run.communicate(timeout=500)
    found = assert_whole(tmp_path)
    assert run.returncode == 0, output
    assert all(part["finished"] and not part.get("ended") for part in found.values()), output


@pytest.mark.parametrize("moment", ["here", "laws", *(range(10) if DEEP else ())])
def test_a_run_that_is_killed_leaves_whole_files(moment: str | int, bare: str, tmp_path: Path) -> None:
    """Kills the run when a part's file appears, or, in the profile deep, after random seconds."""
    run = start_run(bare, tmp_path)
    if isinstance(moment, int):
        time.sleep(random.Random(moment).uniform(1.0, 60.0))
    else:
        while not record.find_path(tmp_path, moment).exists():
            assert run.poll() is None
            time.sleep(0.02)
        time.sleep(random.Random(moment).uniform(0.0, 3.0))
    children = children_of(run.pid)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=60)
    assert_whole(tmp_path)
    end = time.monotonic() + 5.0
    while [pid for pid in children if is_alive(pid)]:
        assert time.monotonic() < end, "a part outlives the run"
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(word) for task in tasks for word in task.read_text().split()]
    return found + [grandchild for child in found for grandchild in children_of(child)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def schedule_parts(out: Path, minutes: float, now: Callable[[], float]) -> tuple[list[str], dict[str, float]]:
    """Returns the unfinished parts and the seconds that each part was given; parts end at once."""
    given: dict[str, float] = {}

    def start(part: str, folder: Path, seconds: float) -> str:
        given[part] = seconds
        Record(folder, part).finish()
        return ""

    return schedule.run(out, minutes, now, start), given


def test_a_clock_that_stands_still_gives_each_part_its_share(tmp_path: Path) -> None:
    unfinished, given = schedule_parts(tmp_path, 8.0, lambda: 7.0)
    assert (unfinished, list(given)) == ([], list(schedule.SHARES))
    assert given["here"] <= schedule.FIRST_FILE


def test_a_clock_that_leaps_ends_the_run_and_every_part_has_a_file(tmp_path: Path) -> None:
    readings = iter([0.0, 1.0, 40.0, *[500.0] * 99])
    unfinished, given = schedule_parts(tmp_path, 8.0, lambda: next(readings))
    assert list(given) == ["here", "ceilings"]
    assert unfinished == ["laws", "search", "goals", "counts"]
    found = assert_whole(tmp_path)
    assert [part.get("ended", "")[:16] for part in found.values()] == ["", "", *["no time was left"] * 4]


@pytest.mark.parametrize("seed", range(20))
def test_no_clock_lets_the_parts_take_more_than_the_time(seed: int, tmp_path: Path) -> None:
    """Each part takes all its time, on a clock that jumps at random."""
    draw, passed = random.Random(seed), [0.0]
    taken: list[float] = []

    def start(part: str, folder: Path, seconds: float) -> str:
        Record(folder, part)
        taken.append(seconds)
        passed[0] += seconds
        return ""

    def now() -> float:
        passed[0] += draw.choice([0.0, 0.0, 1.0, 20.0])
        return passed[0]

    minutes = draw.choice([0.5, 2.0, 8.0])
    schedule.run(tmp_path, minutes, now, start)
    assert sum(taken) <= 60 * minutes
    assert len(assert_whole(tmp_path)) == len(schedule.SHARES)


def test_a_part_that_takes_too_long_is_killed_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow"  # Python imports it at its start: a quick machine must not finish in time
    slow.mkdir()
    (slow / "sitecustomize.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(slow))
    started_at = time.monotonic()
    reason = schedule.start_part("laws", tmp_path, 2.0)
    assert reason == "it was killed after 2 s"
    assert time.monotonic() - started_at < 20
    record.end(tmp_path, "laws", reason)
    assert any("killed after 2 s" in line for line in page.list_left_out(page.read_parts(tmp_path)))


def test_a_part_that_fails_costs_itself_alone(tmp_path: Path) -> None:
    assert schedule.start_part("no_such_part", tmp_path, 60.0) == "it ended with exit code 1"


def test_a_thing_that_fails_is_left_out_with_its_reason(tmp_path: Path) -> None:
    clock = Clock()
    readings = iter([0.0, 1.0, 2.0, 99.0])
    part = Part(Record(tmp_path, "counts"), make_deadline(readings), clock, tmp_path, True)

    def fail() -> None:
        raise ModuleNotFoundError("No module named 'timm.x'", name="timm.x")

    part.do_each({"one": fail, "two": lambda: part.record.add("two", 2), "three": fail})
    data = record.read(record.find_path(tmp_path, "counts"))
    assert data["left_out"] == {"one": "timm is not installed", "three": "no time was left"}
    assert data["found"] == {"two": 2}


def test_after_an_error_of_cuda_the_part_goes_on_in_a_new_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Replaced(BaseException):
        pass

    given: list[str] = []

    def replace_process(_: str, words: list[str]) -> None:
        given.extend(words)
        raise Replaced

    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(os, "execv", replace_process)
    part = Part(Record(tmp_path, "counts"), make_deadline(iter([0.0] * 9)), Clock(), tmp_path, True)
    work = {"one": lambda: part.record.add("one", 1), "two": fail, "three": fail}
    with pytest.raises(Replaced):
        part.do_each(work)
    assert given[1:] == ["-m", "benchmarks.gpu.part", "counts", str(tmp_path), "50.0", "goes-on"]
    again = Part(Record(tmp_path, "counts", True), make_deadline(iter([0.0] * 9)), Clock(), tmp_path, True)
    again.do_each(work | {"three": lambda: again.record.add("three", 3)})
    assert again.record.data["found"] == {"one": 1, "three": 3}
    assert again.record.data["left_out"].keys() == {"two"}


def make_deadline(readings: Iterator[float]) -> Any:
    return Deadline.within(50.0, lambda: next(readings))


def test_times_of_a_rehearsal_are_invented_and_each_run_is_run_once() -> None:
    ran: list[str] = []
    timings = InventedClock(3).measure({name: partial(ran.append, name) for name in "ab"}, lambda: None)
    assert ran == ["a", "b"]
    again = InventedClock(3).measure({"a": lambda: None, "b": lambda: None}, lambda: None)
    assert timings.times == again.times


def test_a_law_that_ends_its_process_is_broken_and_the_next_is_asked(tmp_path: Path) -> None:
    asked = laws.LawProcess("bfloat16", reduced=True)
    asked.process.kill()
    asked.process.join()
    answer = asked.answer(laws.Task("bfloat16", "swin_block/residual"))
    asked.close()
    assert (answer["status"], answer["seen"]) == ("broken", "the process ended with exit code -9")
    queues = {"bfloat16": deque([laws.Task("bfloat16", "swin_block/residual")])}
    part = Part(Record(tmp_path, "laws"), make_deadline(iter([0.0] * 9)), Clock(), tmp_path, True)
    findings = laws.Findings(part, queues)
    findings.keep(laws.Task("bfloat16", "swin_block/dropped"), answer)
    laws.work(part, findings, ["bfloat16"])
    found = record.read(record.find_path(tmp_path, "laws"))["found"]["quick effort"]["bfloat16"]
    assert (found["held"], list(found["broken"])) == (1, ["swin_block/dropped"])
    assert page.list_missed(tmp_path) == [
        "swin_block/dropped is broken in bfloat16: the process ended with exit code -9"
    ]


def test_every_law_is_asked_once_in_each_precision_and_the_kernels_first() -> None:
    from swin_properties.laws import choosing

    asked = [task.law for task in laws.list_tasks("tf32", reduced=False) if task.case is None]
    assert sorted(asked) == sorted(law.name for law in choosing.choose_laws())
    assert asked[0].startswith("shifted_window_attention/")
    for law, case in laws.REAL:
        (found,) = choosing.choose_laws(law)
        found.kind.parse(case)


def test_swin_v2_is_measured_and_asked_beside_swin() -> None:
    found, wanted, limits = read()
    on_gpu = [m for m in found.values() if m.needs == "gpu"]
    kinds = {version: {m.kind for m in on_gpu if m.size.startswith("V2") == version} for version in (0, 1)}
    assert kinds[1] == kinds[0]
    for m in on_gpu:
        assert any(m.name in goal.measurements for goal in wanted)
        assert 0 < goals.estimate_least(m, (790e12, 4.3e12)) < 1
    counted = {limit.count.removesuffix("-v2"): limit.count for limit in limits}
    assert set(counted.values()) == {f"{count}-v2" for count in counted}
    asked = {law for law, _ in laws.REAL}
    for callable_ in ("swin_block", "swin_transformer", "shifted_window_attention"):
        of_v2 = callable_.replace("swin_", "swin_v2_").replace("shifted_", "shifted_cosine_")
        assert {f"{callable_}/oracle", f"{of_v2}/oracle"} <= asked
    assert {"swin_block/gradient", "swin_v2_block/gradient"} <= asked


def test_the_rivals_of_swin_v2_on_a_gpu_are_swin_v2s(monkeypatch: pytest.MonkeyPatch) -> None:
    endings = {1: "", 2: "-v2"}
    monkeypatch.setattr(measuring, "find_peers", lambda version=1: (f"peer:timm{endings[version]}@cuda",))
    for m in read()[0].values():
        if m.needs == "gpu" and m.kind in ("inference", "training"):
            ours, *rivals = measuring._choose_names(m)
            assert ours == "swin_torch:cuda"
            assert rivals
            assert all(("-v2@" in rival) == m.size.startswith("V2") for rival in rivals), m.name


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
def test_timm_s_swin_v2_is_timed_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def compile_(module: Any, **_: Any) -> Any:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    rival = load_rival("peer:timm-v2, compiled")
    small = Case("swin_v2_transformer", "V2-tiny")
    assert explain_adapter_fault(rival, "timm", small) == ""
    assert {type(module).__name__ for module in compiled} == {"SwinTransformerV2"}


@pytest.mark.parametrize("words", [["--minutes", "9"], ["--minutes", "0"]])
def test_minutes_beyond_the_time_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(["--out", str(tmp_path), *words]) == 2
    assert "up to 8 minutes" in capsys.readouterr().err


def test_an_out_that_is_no_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert __main__.main(["--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def write_files_of_a_card(folder: Path, share: float = 0.4) -> None:
    """Writes the files that a run on a GPU leaves if it is cut off."""
    here = Record(folder, "here")
    for name, value in {
        "card": "NVIDIA H200",
        "capability": "9.0",
        "date": "2026-12-01",
        "commit": "0123456789",
        "versions": {"torch": "2.11.0"},
        "missing": {},
    }.items():
        here.add(name, value)
    here.finish()
    goal = {"against": ["sdpa"], "must": 2.0, "aim": 3.0, "moonshot": 5.0, "measurements": []}
    seen = {"ours": "fused", "theirs": "sdpa", "ratio": 1.5, "quartiles": [1.4, 1.6], "reached": "below must"}
    Record(folder, "goals").add(
        "shifted window attention",
        {
            "seconds": {"fused": 2e-4, "sdpa": 3e-4},
            "refused": {},
            "goals": [goal | seen | {"of_roofline": share}],
        },
    )


@pytest.mark.usefixtures("use_choices")
def test_a_search_that_goes_on_keeps_what_was_found_before(tmp_path: Path) -> None:
    from benchmarks.gpu import search

    text = choices.make_text({"interpreter": {"from": "a card", "block": {"a": "library's products"}}})
    (tmp_path / "tuned.json").write_text(text)
    found = search.load_earlier(tmp_path, "interpreter")
    part = Part(Record(tmp_path, "search"), make_deadline(iter([0.0] * 9)), Clock(), tmp_path, True)
    found.setdefault("linear", {})["b"] = choices.MOVING
    search.write(part, "interpreter", found)
    assert choices.read(tmp_path / "tuned.json")["interpreter"] == {
        "from": "an interpreted rehearsal, commit unknown",
        "block": {"a": "library's products"},
        "linear": {"b": choices.MOVING},
    }
    assert choices._in_use["interpreter"]["block"] == {"a": "library's products"}


def test_choices_of_an_earlier_run_are_not_this_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "run", lambda *_: [])
    (tmp_path / "tuned.json").write_text("{}")
    assert __main__.main(["--out", str(tmp_path)]) == 0
    assert not (tmp_path / "tuned.json").exists()


def test_training_beside_a_compiled_rival_is_measured_last_and_apart() -> None:
    """Compiling its training step once took all the time that was left."""
    found, _, _ = read()
    on_gpu = [name for name, measurement in found.items() if measurement.needs == "gpu"]
    assert on_gpu[-1] == "gpu-training-compiled"
    assert {"gpu-inference", "gpu-training-compiled", "gpu-backward-stage1"} <= set(goals.list_compiled())
    assert "gpu-training" not in goals.list_compiled()
    assert {goals.is_compiled(rival) for rival in found["gpu-training-compiled"].beside} == {True}


def test_the_page_explains_a_miss_by_its_share_of_the_floor(tmp_path: Path) -> None:
    write_files_of_a_card(tmp_path)
    output = page.make_text([tmp_path])
    assert "## NVIDIA H200, 2026-12-01" in output
    said = "1.50x sdpa, 2x wanted; ours runs at 40% of the card's roofline, the rival at 27%."
    assert f"- shifted window attention: {said}" in output
    assert "- goals did not finish: it was cut off." in output
    assert "- laws: there is no file." in output
    assert page.NOT_YET not in output
    assert len(page.list_missed(tmp_path)) == 1


def test_a_run_is_kept_with_its_choices_and_a_rehearsal_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(page, "PAGE", tmp_path / "gpu.md")
    monkeypatch.setattr(choices, "FILE", tmp_path / "tuned.json")
    (tmp_path / "tuned.json").write_text(choices.make_text({"8.0": {"block": {"a": "five launches"}}}))
    run = tmp_path / "run"
    run.mkdir()
    assert page.main([str(run)]) == 2
    write_files_of_a_card(run)
    (run / "tuned.json").write_text(choices.make_text({"9.0": {"linear": {"b": choices.MOVING}}}))
    (run / ".goals.json.7").write_text("{")  # what a cut leaves beside the files
    assert page.main([str(run)]) == 0
    kept = tmp_path / "results" / "2026-12-01-NVIDIA-H200-0123456789"
    assert {path.name for path in kept.iterdir()} == {"here.json", "goals.json", "tuned.json"}
    merged = choices.read(tmp_path / "tuned.json")
    assert merged == {"8.0": {"block": {"a": "five launches"}}, "9.0": {"linear": {"b": choices.MOVING}}}
    assert "## NVIDIA H200" in (tmp_path / "gpu.md").read_text()
    Record(run, "here").add("card", None)
    assert page.main([str(run)]) == 0
    assert "it is not kept" in capsys.readouterr().out


def test_the_committed_page_is_what_the_committed_results_say() -> None:
    folders = sorted(path for path in page.RESULTS.glob("*") if path.is_dir())
    assert page.make_text(folders) == page.PAGE.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"9.0": {"odd": {}}}',
        '{"9.0": {"linear": {"a": {"rows": 1}}}}',
        '{"9.0": {"block": {"a": "b"}}}',
    ],
)
def test_choices_that_are_none_are_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "tuned.json").write_text(text)
    with pytest.raises(ValueError, match="a file of choices holds attention, linear and block"):
        choices.use(tmp_path / "tuned.json")


@pytest.mark.usefixtures("use_choices")
def test_the_kernels_take_what_was_measured_and_else_what_arithmetic_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swin_torch.backends.triton import launch
    from swin_torch.geometry.plan import Plan

    given: list[dict[str, Any]] = []
    monkeypatch.setattr(launch, "run", lambda *_, **constants: given.append(constants))
    qkv, table = torch.zeros(1, 8, 8, 48, dtype=torch.bfloat16), torch.zeros(49, 1)
    plan = Plan((8, 8), (8, 8), (4, 4), (0, 0), 1, False)
    key = choices.make_attention_key("forward", plan, qkv)
    measured = choices.Attention(16, 0, 8, 7, 3)
    path = tmp_path / "tuned.json"
    path.write_text(choices.make_text({"interpreter": {"attention": {key: measured}}}))
    for _ in range(2):
        launch.forward(qkv, table, None, plan, 1.0, -1.0)
        choices.use(path)
    assert [(one["num_warps"], one["num_stages"]) for one in given] == [(1, 3), (8, 7)]


@pytest.mark.usefixtures("use_choices")
def test_a_block_goes_the_way_that_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "is_asked_for", lambda _: True)
    block: Any = next(m for m in swin_t(embed_dim=96).modules() if isinstance(m, SwinBlock)).bfloat16()
    x = torch.zeros(1, 7, 7, 96, dtype=torch.bfloat16)
    block.choose("fast")
    for way in choices.WAYS:
        choices.put("interpreter", "block", choices.make_way_key(x), way)
        with torch.no_grad(), count_as_on_a_gpu(), recorded() as taken:
            block(x)
        assert taken[0].way == {"five launches": "five Triton kernels"}.get(way, AROUND_PRODUCTS)
