"""Runs one part in a process that `benchmarks.gpu.schedule` starts: NAME FOLDER SECONDS [goes-on]."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from benchmarks.gpu.clock import Clock, Deadline, InventedClock
from benchmarks.gpu.record import Record

NO_TIME = "no time was left"

GOES_ON = "goes-on"
"""The word after the seconds of a part that an earlier process began."""


@dataclass(frozen=True)
class Part:
    """Holds what a part is given: its record, its time, and where it runs.

    ``reduced``: there is no GPU; the kernels are interpreted at small sizes, and times are invented.
    """

    record: Record
    deadline: Deadline
    clock: Clock
    folder: Path
    reduced: bool

    @property
    def device(self) -> str:
        """The device of the tensors."""
        return "cpu" if self.reduced else "cuda"

    def wait(self) -> None:
        """Waits until the GPU has finished its work."""
        if not self.reduced:
            import torch

            torch.cuda.synchronize()

    def do_each(self, work: Mapping[str, Callable[[], None]]) -> None:
        """Does each thing by name, in order, while time is left; what fails is left out with its reason.

        After a CUDA error every call of the process fails, so the part goes on in a new process.
        """
        for name, do in work.items():
            if self.record.has(name):
                continue
            if self.deadline.left() <= 0:
                self.record.leave_out(name, NO_TIME)
                continue
            try:
                do()
            except Exception as error:  # nobody watches the run: an error must cost this thing alone
                self.record.leave_out(name, make_reason(error))
                if "CUDA error" in str(error):
                    self.restart()

    def restart(self) -> None:
        """Replaces this process by a new one, which goes on with the same file."""
        name, seconds = str(self.record.data["part"]), f"{self.deadline.left():.1f}"
        words = [sys.executable, "-m", "benchmarks.gpu.part", name, str(self.folder), seconds, GOES_ON]
        os.execv(sys.executable, words)


def make_reason(error: Exception) -> str:
    """Returns an error's first line.

    >>> make_reason(ModuleNotFoundError("No module named 'timm'", name="timm"))
    'timm is not installed'
    >>> make_reason(ValueError("what is wrong\\nwhere more is said of it"))
    'ValueError: what is wrong'
    """
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error.name.partition('.')[0]} is not installed"
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}"[:500]


def end_with_parent() -> None:
    """Asks Linux to kill this process when its parent ends; other systems let it run on."""
    if sys.platform == "linux":
        death_signal = 1
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)


def main(words: list[str]) -> int:
    """Runs one part."""
    end_with_parent()
    name, folder, seconds = words[0], Path(words[1]), float(words[2])
    reduced = os.environ.get("TRITON_INTERPRET") == "1"
    clock = InventedClock() if reduced else Clock()
    record = Record(folder, name, goes_on=GOES_ON in words)
    deadline = Deadline.within(seconds, clock.now)
    import_module(f"benchmarks.gpu.{name}").run(Part(record, deadline, clock, folder, reduced))
    record.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
