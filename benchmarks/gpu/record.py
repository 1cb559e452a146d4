"""Writes a part's file.  It is complete at every moment, because it is written again with every finding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swin_properties.reports import files

CALLED = "seconds of a call from Python"
"""What a measurement is recorded by, beside the seconds of the same run as a CUDA graph."""


class Record:
    """Records what a part found, by name, and what it left out, with the reasons.

    >>> from tempfile import mkdtemp
    >>> record = Record(Path(mkdtemp()), "counts")
    >>> record.add("launches", 72)
    >>> record.leave_out("peak memory", "needs a GPU")
    counts: peak memory is left out: needs a GPU
    >>> record.finish()
    >>> read(record.path)["found"], read(record.path)["finished"]
    ({'launches': 72}, True)
    """

    def __init__(self, folder: Path, part: str, goes_on: bool = False) -> None:
        """Writes the file at once, so that every part has one; ``goes_on`` continues an earlier one."""
        self.path = find_path(folder, part)
        self.data: dict[str, Any] = {"part": part, "finished": False, "found": {}, "left_out": {}}
        if goes_on:
            self.data = read(self.path)
        self._write()

    def has(self, name: str) -> bool:
        """Returns whether something was found or left out already."""
        return name in self.data["found"] or name in self.data["left_out"]

    def add(self, name: str, value: Any) -> None:
        """Records what was found."""
        self.data["found"][name] = value
        self._write()

    def leave_out(self, name: str, reason: str) -> None:
        """Records what was not measured, and why."""
        self.data["left_out"][name] = reason
        self._write()
        print(f"{self.data['part']}: {name} is left out: {reason}", flush=True)

    def finish(self) -> None:
        """Records that the part is finished."""
        self.data["finished"] = True
        self._write()

    def _write(self) -> None:
        files.write(str(self.path), json.dumps(self.data, indent=1) + "\n")


def find_path(folder: Path, part: str) -> Path:
    """Returns the file of a part."""
    return folder / f"{part}.json"


def read(path: Path) -> dict[str, Any]:
    """Returns what a part's file holds.

    Errors: ``ValueError`` for a file that is not a part's.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        missing = {"part", "finished", "found", "left_out"} - set(data)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"a part's file is JSON, {path} does not read ({error}): remove it") from None
    if missing:
        raise ValueError(f"a part's file has {', '.join(sorted(missing))}, {path} has not: remove it")
    return dict(data)


def end(folder: Path, part: str, reason: str) -> None:
    """Records in a part's file why it did not finish: it was killed, or never started."""
    path = find_path(folder, part)
    data = read(path) if path.exists() else Record(folder, part).data
    data["ended"] = reason
    files.write(str(path), json.dumps(data, indent=1) + "\n")
