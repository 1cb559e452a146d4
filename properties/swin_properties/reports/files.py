"""Files that a run writes: known to be writable before it starts, and never half-written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def checked(paths: Iterable[str]) -> None:
    """Makes sure that each path can be written, and each is another file.

    Errors: ``ValueError`` in one sentence.
    """
    seen: set[Path] = set()
    for path in paths:
        target, beside = _places(path)
        if target.exists() and not target.is_file():
            raise ValueError(f"a report is written to a file, {path} is none: give another path")
        if target in seen:
            raise ValueError(f"each report has its own file, {path} is asked for twice: give another path")
        seen.add(target)
        try:
            beside.touch()
            beside.unlink()
        except OSError as error:
            raise ValueError(f"a report's file can be written, {path}: {error.strerror}: check it") from None


def write(path: str, text: str) -> None:
    """Writes a text beside its file, then puts it in the file's place."""
    target, beside = _places(path)
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _places(path: str) -> tuple[Path, Path]:
    target = Path(path).resolve()
    return target, target.with_name(f".{target.name}.{os.getpid()}")
