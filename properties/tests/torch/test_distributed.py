"""Two processes give one process's gradients: data parallel and fully sharded, whatever training keeps."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("this torch has no gloo: no processes to share a batch", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "distributed.py"

KEPT = ("most", "little", "halves")

PARTS_OF = {"Swin": 57, "Swin V2": 63}
"""How many parameters the network of each version has."""

LINE = re.compile(
    r"^(.+): (within|beyond) the budget, (\d+) parts; worst rho ([\d.e+-]+|inf) against the oracle \((.+)\), "
    r"([\d.e+-]+|inf) against one process \((.+)\)$",
    re.MULTILINE,
)

FAULTS = """
def forgetful_parallel(network):
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, ["norm.weight"])
    return DistributedDataParallel(network)


def forgetful_sharded(network):
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    return fully_shard(network, mesh=mesh, ignored_params={network.norm.weight})


def summing_sharded(network):
    network = shard_fully(network)
    for module in network.modules():
        if isinstance(module, distributed.fsdp.FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return network


WAYS = {
    "forgetful, parallel": forgetful_parallel,
    "forgetful, sharded": forgetful_sharded,
    "each its own": lambda network: network,
    "summing, not averaging": summing_sharded,
    "right": make_data_parallel,
}
KEEPING = ["most"]
"""
"""Planted in place of the right ways: one parameter is left out, or gradients are not averaged."""

PARTS = 'if name != "images"'
FEW = 'if name in ("norm.weight", "head.weight")'


def torchrun(script: Path, seconds: int = 300) -> subprocess.CompletedProcess[str]:
    """Runs a script in two processes, on a free port; they end with the time that they are given."""
    words = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    started = subprocess.Popen(
        [sys.executable, "-m", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        out, err = started.communicate(timeout=seconds)
    finally:
        if started.returncode is None:
            started.terminate()  # it ends those it started; each is a session of its own
            started.communicate()
    return subprocess.CompletedProcess(words, started.returncode, out, err)


def test_every_gradient_is_that_of_one_process_and_of_the_oracle() -> None:
    run = torchrun(EXAMPLE)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = LINE.findall(run.stdout)
    ways = [f"{way}, keeping {kept}" for way in ("data parallel", "fully sharded") for kept in KEPT]
    assert [line[0] for line in lines] == [f"{version}, {way}" for version in PARTS_OF for way in ways]
    for name, verdict, parts, by_oracle, _, by_one, _ in lines:
        assert (verdict, int(parts)) == ("within", PARTS_OF[name.partition(",")[0]])
        assert 0 < float(by_oracle) <= 1
        assert 0 < float(by_one) <= 1


def test_a_gradient_that_is_not_averaged_or_left_out_breaks_a_law(tmp_path: Path) -> None:
    text, planted = EXAMPLE.read_text(), tmp_path / "distributed.py"
    assert text.count(PARTS) == text.count("\n\nWAYS = ") == 1
    planted.write_text(re.sub(r"\n\nWAYS = .*\n", lambda _: FAULTS, text).replace(PARTS, FEW))
    run = torchrun(planted)
    assert run.returncode == 1
    found = {line[0].removesuffix(", keeping most"): line for line in LINE.findall(run.stdout)}
    assert len(found) == 10, run.stdout + run.stderr
    for version in PARTS_OF:
        assert found.pop(f"{version}, right")[1] == "within"
    for name, (_, verdict, _, by_oracle, oracle_part, by_one, one_part) in found.items():
        assert verdict == "beyond", name
        assert min(float(by_oracle), float(by_one)) > 1000
        if "forgetful" in name:
            assert oracle_part == one_part == "norm.weight"


@pytest.mark.parametrize("processes", [0, 3])
def test_processes_that_do_not_share_the_batch_evenly(
    processes: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("distributed", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if processes:
        monkeypatch.setenv("WORLD_SIZE", str(processes))
    assert example.main() == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert f"a batch of 8 is shared evenly by the processes of torchrun, got {processes} processes" in err
