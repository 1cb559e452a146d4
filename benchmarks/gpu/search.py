"""Searches how to launch each kernel: judges and times a list of choices, the most promising first.

The best choices are written to ``tuned.json`` beside the parts' files, by compute capability;
`benchmarks.gpu.page` copies them into swin_torch.  Other processes compile the choices ahead of the one that
measures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from swin_properties.reports import files

from benchmarks.gpu import captured, record
from benchmarks.gpu.part import NO_TIME, Part, end_with_parent, make_reason
from benchmarks.gpu.targets import Choice, Target, list_targets
from swin_torch.backends.triton import choices, launch

GAIN = 1.02
"""A choice must be this many times as fast as today's to replace it: less may be chance."""

REHEARSED = 2
"""The number of choices of each kernel that a rehearsal tries."""

TUNED = "tuned.json"


def run(part: Part) -> None:
    """Searches target after target while time is left."""
    helpers = [] if part.reduced else start_compilers(os.cpu_count() or 2)
    capability = choices.find_capability(torch.device(part.device))
    found = load_earlier(part.folder, capability)
    try:
        for target in list_targets(part.device, part.reduced):
            part.do_each({target.name: partial(search, part, target, capability, found)})
    finally:
        for helper in helpers:
            helper.kill()


def load_earlier(folder: Path, capability: str) -> dict[str, Any]:
    """Returns what an earlier process of this part found, and puts it into use."""
    use(folder)
    path = folder / TUNED
    tables = choices.read(path).get(capability, {}) if path.exists() else {}
    return {table: entries for table, entries in tables.items() if table != "from"}


def search(part: Part, target: Target, capability: str, found: dict[str, Any]) -> None:
    """Judges and times a target's choices, and records the best."""
    started = part.clock.now()
    runs: dict[str, Callable[[], object]] = {}
    refused: dict[str, str] = {}
    few = target.candidates[:REHEARSED] if part.reduced else target.candidates
    by_name = {describe(choice): choice for choice in few}
    for name, choice in by_name.items():
        if part.deadline.left() <= 0:
            refused[name] = NO_TIME
            continue
        choices.put(capability, target.table, target.key, choice)
        try:
            target.check()
            target.launch()
            part.wait()
        except Exception as error:  # a choice that does not compile or fit, or is wrong, is refused
            refused[name] = make_reason(error)
            if "CUDA error" in refused[name]:
                raise
            continue
        runs[name] = partial(launch_with, capability, target, choice)
    if not runs:
        raise ValueError(f"no choice is right: {refused}")
    if part.reduced:
        timings = part.clock.measure(runs, part.wait)
    else:  # a launch from Python, which may take longer than the kernel, is not measured
        with captured.on_side_stream() as stream:
            graphs = {name: captured.capture(launch, stream) for name, launch in runs.items()}
            timings = part.clock.measure(graphs, part.wait)
    seconds = {name: timings.best(name) for name in runs}
    today = next(iter(by_name))
    best = min(seconds, key=lambda name: seconds[name])
    gain = seconds.get(today, float("inf")) / seconds[best]
    kept = best if gain >= GAIN else today
    choices.put(capability, target.table, target.key, by_name[kept])
    if kept == today and NO_TIME in refused.values():  # one that was not tried may be better
        raise ValueError(NO_TIME)
    found.setdefault(target.table, {})[target.key] = by_name[kept]
    write(part, capability, found)
    microseconds = {name: round(1e6 * value, 2) for name, value in seconds.items()}
    answer: dict[str, Any] = {"today": today, "kept": kept, "times as fast": gain if kept != today else 1.0}
    answer["took"] = part.clock.now() - started
    part.record.add(target.name, answer | {"microseconds": microseconds, "refused": refused})
    print(f"{target.name}: {kept}, {answer['times as fast']:.2f}x today's", flush=True)


def launch_with(capability: str, target: Target, choice: Choice) -> None:
    """Launches a target with a choice."""
    choices.put(capability, target.table, target.key, choice)
    target.launch()


def write(part: Part, capability: str, found: dict[str, Any]) -> None:
    """Writes what was found so far into the file of choices."""
    path = record.find_path(part.folder, "here")
    known = record.read(path)["found"] if path.exists() else {}
    origin = f"{known.get('card') or 'an interpreted rehearsal'}, commit {known.get('commit', 'unknown')}"
    files.write(str(part.folder / TUNED), choices.make_text({capability: found | {"from": origin}}))


def use(folder: Path) -> None:
    """Makes the kernels use what a search found, if there was one."""
    if (folder / TUNED).exists():
        choices.use(folder / TUNED)


def start_compilers(cores: int) -> list[Any]:
    """Starts processes that compile the choices into Triton's cache, ahead of the one that measures."""
    context, number = get_context("spawn"), max(1, min(12, cores - 3))
    helpers = [
        context.Process(target=compile_ahead, args=(mine, number), daemon=True) for mine in range(number)
    ]
    for helper in helpers:
        helper.start()
    return helpers


def compile_ahead(mine: int, processes: int) -> None:
    """Compiles this process's share of all choices, in the order in which they are measured."""
    end_with_parent()

    def warm_up(kernel: Any, programs: tuple[int, ...], *args: Any, **kwargs: Any) -> None:
        kernel.warmup(*args, grid=programs, **kwargs)

    launch.run = warm_up
    capability = choices.find_capability(torch.device("cuda"))
    number = 0
    for target in list_targets("cuda", reduced=False):
        if target.table == "block":
            continue
        for choice in target.candidates:
            number += 1
            if number % processes == mine:
                choices.put(capability, target.table, target.key, choice)
                with suppress(Exception):  # the process that measures reports what is wrong with it
                    target.launch()


def describe(choice: Choice) -> str:
    """Returns a choice in words.

    >>> describe("five launches"), describe(choices.MOVING)
    ('five launches', 'rows 128, columns 64, step 32, num_warps 8, num_stages 3, programs 2')
    """
    if isinstance(choice, str):
        return choice
    return ", ".join(f"{name} {number}" for name, number in choice._asdict().items())
