"""Writes the files of a run: checks before the run that they can be written, and never leaves half a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def check_paths(paths: Iterable[str], inputs: Iterable[str] = ()) -> None:
    """Makes sure that every path can be written, that no two name one file, and that none is an input.

    Errors: ``ValueError`` in one sentence.
    """
    read = {Path(path).resolve() for path in inputs if Path(path).is_file()}
    seen: set[Path] = set()
    for path in paths:
        target, beside = _targets(path)
        if target.exists() and not target.is_file():
            raise ValueError(f"a report is written to a file, {path} is not a file: give another path")
        if target in read:
            raise ValueError(
                f"a report is written beside its inputs, {path} is one of them: give another path"
            )
        if target in seen:
            raise ValueError(f"each report has its own file, {path} is given twice: give another path")
        seen.add(target)
        try:
            beside.touch()
            beside.unlink()
        except OSError as error:
            raise ValueError(
                f"a report's file can be written, {path} cannot: {error.strerror}: give another path"
            ) from None


def write(path: str, text: str) -> None:
    """Writes a text to a temporary file beside its path, then moves it there."""
    target, beside = _targets(path)
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _targets(path: str) -> tuple[Path, Path]:
    target = Path(path).resolve()
    return target, target.with_name(f".{target.name}.{os.getpid()}")
