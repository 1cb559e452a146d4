"""Writes the files of a run: checks before the run that they can be written, and never leaves half a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from swin_reference.outside import refusal


def check_paths(paths: Iterable[str], inputs: Iterable[str | None] = ()) -> None:
    """Makes sure that every path can be written, that no two name one file, and that none is an input.

    Errors: ``ValueError`` in one sentence.
    """
    read = {os.path.realpath(path) for path in inputs if path and os.path.isfile(path)}
    seen: set[Path] = set()
    for path in paths:
        try:
            target, beside = _targets(path)
            other = target.exists() and not target.is_file()
        except (OSError, RuntimeError, ValueError) as error:  # a circle of links, no folder, no path
            raise _cannot_write(path, error) from None
        if other:
            raise refusal(
                f"a report is written to a file, {path or 'an empty path'} is not a file: give another path"
            )
        if target in seen:
            raise refusal(f"each report has its own file, {path} is given twice: give another path")
        if str(target) in read:
            raise refusal(f"a report has its own file, {path} is read as well: give another path")
        seen.add(target)
        try:
            beside.touch()
            beside.unlink()
        except OSError as error:
            raise _cannot_write(path, error) from None


def _cannot_write(path: str, error: Exception) -> ValueError:
    reason = getattr(error, "strerror", None) or error
    return refusal(f"a report's file can be written, {path} cannot: {reason}: give another path")


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
