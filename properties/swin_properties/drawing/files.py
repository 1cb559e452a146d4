"""Writing a file whole: a half-written one never remains."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def writable(path: str, ending: str) -> Path:
    """The path of a file that is to be written.

    Errors: ``ValueError`` for another ending, a missing folder, or a place that cannot be written.
    """
    file = Path(path)
    if file.suffix.lower() != ending:
        raise ValueError(f"the file to write ends in {ending}, got {path}: name it *{ending}")
    if not file.parent.is_dir():
        raise ValueError(f"the file to write is in a folder that exists, got {path}: make the folder first")
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise ValueError(f"the file to write must be writable, {path} is not: choose another place")
    return file


def write(file: Path, text: str) -> None:
    """Writes the text beside the file, then puts it in its place in one step.

    Errors: ``ValueError`` when that fails; nothing half-written is left.
    """
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
                out.write(text)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(beside, 0o666 & ~mask)  # as any file is made; mkstemp's are private
            os.replace(beside, file)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        raise ValueError(f"the file to write must be writable, {file} gave {error.strerror}") from None
