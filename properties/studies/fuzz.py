"""``make fuzz``: damaged and odd inputs of every kind, by seed, each read within a limit of time and memory.

An input must be refused in one short sentence, or be taken where the damage leaves the same content.  A
fault is anything else: a traceback, a silent pass, a hang, a sentence that is long or does not print, or much
memory.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from studies.fuzz_inputs import KINDS
from swin_timing.machine_load import read_peak_bytes

SECONDS = 20.0
"""How long one input may take, on a busy machine."""

MEMORY = 2**30
"""How many more bytes the process may hold after an input than before."""

LONGEST = 300

Name = tuple[str, int]
"""A kind of input and a number, the seed of its random numbers."""


@dataclass(frozen=True)
class Found:
    """What became of an input: ``refused``, ``taken``, or a fault and what was seen."""

    verdict: str
    seen: str = ""


def read_one(name: Name) -> Found:
    """Makes one input, reads it in a folder of its own, and says what became of it."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    before = read_peak_bytes()
    try:
        with contextlib.chdir(folder):  # the command may write files there
            found = _judge(name, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    more = read_peak_bytes() - before
    return Found("memory", f"{more >> 20} MiB") if more > MEMORY else found


def _judge(name: Name, folder: Path) -> Found:
    kind, number = name
    made = KINDS[kind](Random(f"{kind} {number}"), folder)
    try:
        taken = made.read()
    except ValueError as error:
        said = str(error)
        fine = said.isprintable() and 0 < len(said) <= LONGEST
        return Found("refused") if fine else Found("sentence", ascii(said[:500]))
    except BaseException as error:  # an exit too
        return Found("traceback", f"{type(error).__name__}: {str(error)[:300]}")
    return Found("taken") if made.is_whole(taken) else Found("silent pass", ascii(taken)[:300])


def _work(connection: Connection) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.stdin.close()
    gc.freeze()
    while name := connection.recv():
        connection.send(read_one(name))


def read_all(names: list[Name], jobs: int) -> Iterator[tuple[Name, Found]]:
    """Reads every input in worker processes; one that takes too long, or ends its process, is a fault."""
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, tuple[Any, Name, float]] = {}
    rest = iter(names)

    def give(connection: Connection, process: Any, seconds: float = SECONDS) -> None:
        name = next(rest, None)
        if name is None:
            connection.send(None)
        else:
            connection.send(name)
            workers[connection] = process, name, monotonic() + seconds

    def start() -> None:
        ours, theirs = context.Pipe()
        process: Any = context.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        give(ours, process, SECONDS + 60)  # it has yet to import everything

    for _ in range(min(jobs, len(names))):
        start()
    while workers:
        ready = wait(list(workers), 1.0)
        for connection, (process, name, until) in list(workers.items()):
            if connection in ready:
                del workers[connection]
                try:
                    found = connection.recv()
                except EOFError:
                    process.join()
                    yield name, Found("traceback", f"its process ended with {process.exitcode}")
                    start()
                    continue
                yield name, found
                give(connection, process)
            elif monotonic() > until:
                del workers[connection]
                process.kill()
                process.join()
                yield name, Found("hang", f"over {SECONDS:g} s")
                start()


def make_names(count: int, kinds: list[str], first: int = 0) -> list[Name]:
    """Returns the names of so many inputs, the kinds in turn.

    >>> make_names(3, ["image", "case"])
    [('image', 0), ('case', 0), ('image', 1)]
    """
    return [(kinds[n % len(kinds)], first + n // len(kinds)) for n in range(count)]


def main(words: list[str] | None = None) -> int:
    """Reads all inputs and prints a table; the exit code is 1 if one is a fault."""
    parser = argparse.ArgumentParser(prog="fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=5000, help="how many inputs (default 5000)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input of each kind")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only inputs of this kind")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes")
    args = parser.parse_args(words)
    counts: dict[str, Counter[str]] = {}
    faults = 0
    for (kind, number), found in read_all(
        make_names(args.count, args.kind or list(KINDS), args.first), args.jobs
    ):
        counts.setdefault(kind, Counter())[found.verdict] += 1
        if found.verdict not in ("refused", "taken"):
            faults += 1
            print(f'("{kind}", {number}),  # {found.verdict}: {found.seen}', flush=True)
    for kind, counter in sorted(counts.items()):
        verdicts = ", ".join(f"{number} {word}" for word, number in counter.most_common())
        print(f"{kind}: {counter.total()} tried, {verdicts}")
    print(f"{sum(c.total() for c in counts.values())} inputs, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
