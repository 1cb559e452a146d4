"""All that is claimed on a GPU, in one command: laws, goals beside judged peers, shares of the floor.

python -m benchmarks.gpu

Where there is no GPU the same script goes the same way at a reduced size: the kernels run under Triton's
interpreter, on the CPU.  Times mean nothing then, and nothing is written.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
from swin_properties import check, output
from swin_properties.paired import Paired, measured

import swin_torch
from benchmarks import block_ways, floors, goals, machine, standing, standing_counts, standing_page
from benchmarks.attention_core import Case, Sizes, stages
from benchmarks.cases import NETWORKS
from benchmarks.goals import Goal, Limit, Measurement

RESULTS = Path(__file__).parent / "results"
PRECISIONS = "float32", "tf32", "float16", "bfloat16"
REDUCED = Sizes(14, 16, 1, 7, 3)
"""A grid that the interpreter goes through in seconds."""


def main(words: list[str]) -> int:
    """Runs all of it; 1 where a law falls, or a ratio or count that must be reached is not."""
    if words:
        print("gpu takes no words: run it alone", file=sys.stderr)
        return 2
    reduced = not torch.cuda.is_available()
    if reduced:
        os.environ["TRITON_INTERPRET"] = "1"
        print("no GPU: the same at a reduced size, interpreted; times mean nothing\n", flush=True)
    report = {"machine": machine.described(), "cuda": torch.version.cuda, "laws": dict(laws(reduced))}
    report["operator"] = dict(operator(reduced))
    report["blocks"] = dict(blocks(reduced))
    measurements, wanted, limits = goals.read()
    if not reduced:
        report["goals"] = list(reached(measurements, wanted))
        report["networks"] = dict(shares_of_networks())
    report["counts"] = list(counts(limits))
    good = passed(report)
    if not reduced:
        path = RESULTS / f"gpu-{date.today().isoformat()}-{machine.commit().rstrip('+')}.json"
        output.write(str(path), json.dumps(report, indent=1) + "\n")
        print(f"written to {path}")
    print("all that must be reached is" if good else "not all that must be reached is")
    return int(not good)


def laws(reduced: bool) -> Iterator[tuple[str, Any]]:
    """The verdict in every precision: all laws, or under the interpreter two that the kernels decide."""
    for precision in ("float32", "bfloat16") if reduced else PRECISIONS:
        name, only = ("swin_torch:fused", "swin_block/[or]*") if reduced else ("swin_torch:cuda", None)
        found = check(name, dtype=precision, effort="quick", only=only)
        rho = max((result.rho or 0.0 for result in found.results), default=0.0)
        fell = [result.law for result in found.of("fell")]
        yield precision, {"held": len(found.of("held")), "fell": fell, "largest_rho": rho}
        print(
            f"{precision}: {len(found.of('held'))} laws held, largest rho {rho:.2f}; fell: {fell}", flush=True
        )


def operator(reduced: bool) -> Iterator[tuple[str, Any]]:
    """Every stage, forward and with backward: shares of the floor, shifted against unshifted."""
    device, batch = ("cpu", 1) if reduced else ("cuda", 128)
    for stage, sizes in ({"reduced": REDUCED} if reduced else stages()).items():
        shifted = Case(sizes, batch, torch.bfloat16, device)
        even = Case(sizes._replace(shift=0), batch, torch.bfloat16, device)
        apart = shifted.check("fused")
        forward, backward = floors.attention(
            batch * sizes.side**2, sizes.channels, machine.ceilings(device, torch.bfloat16)
        )
        for step, training, least in (("forward", False, forward), ("both", True, forward + backward)):
            runs = {"shifted": shifted.run("fused", training), "unshifted": even.run("fused", training)}
            paired = measured(runs, wait=machine.wait_for(device))
            seconds = paired.best("shifted")
            found = {
                "microseconds": 1e6 * seconds,
                "of_floor": least / seconds,
                "shifted_over_unshifted": paired.ratio("shifted", "unshifted"),
                "rho": apart.rho,
            }
            yield f"{stage}, {step}", found
            print(f"{stage}, {step}: " + ", ".join(f"{k} {v:.3g}" for k, v in found.items()), flush=True)


def blocks(reduced: bool) -> Iterator[tuple[str, Any]]:
    """A block by the kernels in five launches beside the library's products: shares of the floor."""
    device, batch = ("cpu", 1) if reduced else ("cuda", 128)
    ceilings = machine.ceilings(device, torch.bfloat16)
    for size in ["small"] if reduced else block_ways.STAGES:
        least = sum(floors.seconds(work, ceilings, 2) for work in block_ways.works(size, batch))
        runs = block_ways.runs(size, batch, "bfloat16", device)
        paired = measured(runs, wait=machine.wait_for(device))
        found = {
            way: {"microseconds": 1e6 * paired.best(way), "of_floor": least / paired.best(way)}
            for way in runs
        }
        yield size, found
        print(f"block, {size}: {found}", flush=True)


def reached(measurements: dict[str, Measurement], wanted: list[Goal]) -> Iterator[dict[str, Any]]:
    """The goals that need a GPU: ratios of minima in interleaved runs."""
    names = [name for name, measurement in measurements.items() if measurement.device == "cuda"]
    found: dict[str, Paired] = standing.measure(measurements, names)
    of_gpu = [goal for goal in wanted if goal.measurements[0] in names]
    print(standing_page.text(measurements, of_gpu, found, []), flush=True)
    for goal in of_gpu:
        for name in goal.measurements:
            best = {run: found[name].best(run) for run in found[name].times}
            row = standing_page.rows([goal], measurements, {name: found[name]})[0]
            yield asdict(goal) | {"measurement": name, "seconds": best, "reached": row[-1], "ratio": row[3]}


def shares_of_networks() -> Iterator[tuple[str, Any]]:
    """T, S and B: images a second of the compiled model, and the share of the floor."""
    ceilings = machine.ceilings("cuda", torch.bfloat16)
    for name in ("T-224", "S-224", "B-224"):
        config, _ = NETWORKS[name]
        model = swin_torch.fuse(swin_torch.SwinTransformer(config)).cuda().bfloat16().eval()
        images = torch.randn(128, 3, 224, 224, device="cuda", dtype=torch.bfloat16)
        compiled = torch.compile(model)

        def run(network: Any, images: Any = images) -> Any:
            with torch.no_grad():
                network(images)

        runs = {"eager": partial(run, model), "compiled": partial(run, compiled)}
        paired = measured(runs, wait=machine.wait_for("cuda"))
        least = floors.network(config, 128, ceilings)
        found = {
            n: {"images": 128 / paired.best(n), "of_floor": least / paired.best(n)} for n in paired.times
        }
        yield name, found
        print(f"{name}: {found}", flush=True)


def counts(limits: list[Limit]) -> Iterator[dict[str, Any]]:
    """Launches of a Swin-T forward, and what training keeps for backward, against their limits."""
    for limit in limits:
        count = standing_counts.COUNTS[limit.count][0]()
        yield {"what": limit.what, "count": count, "reached": limit.reached(count)}
        print(f"{limit.what}: {count:g}, {limit.reached(count)}", flush=True)


def passed(report: dict[str, Any]) -> bool:
    """Whether no law fell, and every must is reached; interpreted times are not asked."""
    if any(verdict["fell"] for verdict in report["laws"].values()):
        return False
    judged = [*report["counts"], *report.get("goals", [])]
    return not any(word in one["reached"] for one in judged for word in ("below must", "over must"))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"gpu: {error}")
