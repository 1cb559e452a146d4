"""What comes from outside: files, JSON and words are read within bounds, and told in one short sentence."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

LONGEST = 300
"""The most characters of a sentence about something from outside."""

LARGEST_TEXT = 16 * 2**20
"""The most bytes of a file of text: a configuration, an index, a list."""

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What a path may name that is no regular file: it may block, never end, or change while it is read."""


def escape(text: str, keep: str = "") -> str:
    """Returns a text with the characters that do not print as escapes, but for those to ``keep``.

    >>> print(escape("red: \\x1b[31m"))
    red: \\x1b[31m
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


def shorten(text: str, longest: int = LONGEST) -> str:
    """Returns a text in one printable line; of a long one, the beginning and the end.

    >>> shorten("no\\nfile" + 400 * "!", 20)
    'no file!!! ... !!!!!'
    """
    if len(text) > 4 * longest:
        text = f"{text[: 2 * longest]} ... {text[-longest:]}"
    line = escape(" ".join(text.split()))
    if len(line) <= longest:
        return line
    end = (longest - 5) // 3
    return f"{line[: longest - 5 - end]} ... {line[-end:]}"


@contextmanager
def one_sentence(sentence: str) -> Iterator[None]:
    """Turns whatever a reader raises into a ``ValueError``: the sentence, and the reason.

    A sentence that was cut has a note with more of it.

    >>> with one_sentence("x.json does not read as JSON"): json.loads("")
    Traceback (most recent call last):
    ...
    ValueError: x.json does not read as JSON: Expecting value: line 1 column 1 (char 0)
    """
    try:
        yield
    except Exception as error:
        more = getattr(error, "__notes__", [])
        raise refusal(f"{sentence}: {_reason(error)}", *more) from None


def refusal(sentence: str, more: str = "") -> ValueError:
    """Returns the error for something from outside; a sentence that was cut has a note with ``more`` of it.

    >>> refusal("a file is small, x is not")
    ValueError('a file is small, x is not')
    """
    error = ValueError(shorten(sentence))
    if more or len(sentence) > LONGEST:
        error.add_note(shorten(more or sentence, 40 * LONGEST))
    return error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def open_file(path: str | Path, what: str) -> BinaryIO:
    """Opens a regular file for reading: no folder, FIFO or device.  ``what`` it is begins the sentence.

    Errors: ``ValueError`` for a path that names no regular file, or one that cannot be opened.

    >>> open_file("/dev", "an image")
    Traceback (most recent call last):
    ...
    ValueError: an image is a regular file, /dev is a folder: give a file
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
        descriptor = os.open(path, flags) if kind == stat.S_IFREG else -1
    except FileNotFoundError:
        raise refusal(f"{what} is an existing file, got {path}: check the path") from None
    except (OSError, ValueError) as error:
        raise refusal(
            f"{what} is a file that can be read, {path} cannot, {_reason(error)}: check the path"
        ) from None
    if kind != stat.S_IFREG:
        raise refusal(f"{what} is a regular file, {path} is {KINDS.get(kind, 'none')}: give a file")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: str | Path, what: str, most: int = LARGEST_TEXT) -> bytes:
    """Returns the content of a regular file of at most so many bytes.

    Errors: ``ValueError`` as for `open_file`, and for a larger file.

    >>> read_bytes("/etc/os-release", "a text", most=1)
    Traceback (most recent call last):
    ...
    ValueError: a text has at most 1 bytes, /etc/os-release has more: check the path
    """
    with open_file(path, what) as file, one_sentence(f"{path} does not read"):
        content = file.read(most + 1)
    if len(content) > most:
        raise refusal(f"{what} has at most {most} bytes, {path} has more: check the path")
    return content


def read_json(path: str | Path, what: str) -> Any:
    """Returns the value in a file of JSON, in UTF-8; no mapping has a key twice, and no number is infinite.

    Errors: ``ValueError`` as for `read_bytes`, and for a file that does not parse.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "tiny.json"
    >>> _ = path.write_text('{"a": 1, "a": 2}'); read_json(path, "a list")
    Traceback (most recent call last):
    ...
    ValueError: a list holds JSON, tiny.json does not parse: it has the key 'a' twice
    """
    content = read_bytes(path, what)
    with one_sentence(f"{what} holds JSON, {Path(path).name} does not parse"):
        return json.loads(
            content.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it has the key {key!r} twice")
        found[key] = value
    return found


def _finite(word: str) -> float:
    number = float(word)
    if number - number != 0:
        _refuse_constant(word)
    return number


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number in JSON")


def parse_integers(name: str, word: str, most: int = 2) -> tuple[int, ...]:
    """Returns the integers of a word such as ``4`` or ``4x7``: at least one, at most so many.

    Errors: ``ValueError`` for another word.

    >>> parse_integers("--size", "4x7"), parse_integers("--size", "8")
    ((4, 7), (8,))
    """
    parts = word.split("x") if len(word) <= LONGEST else []
    if not 1 <= len(parts) <= most or not all(re.fullmatch("-?[0-9]{1,18}", part) for part in parts):
        count = {1: "one integer", 2: "one or two integers joined by x"}.get(most, "integers joined by x")
        raise refusal(f"{name} is {count}, got {shorten(word, 60)!r}: write {4 if most == 1 else '4 or 4x7'}")
    return tuple(int(part) for part in parts)
