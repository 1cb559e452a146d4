"""A set of vectors on disk: a folder with a manifest, and a file for each vector."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from swin_timing.message import Message, decode

from swin_properties.adapters.process import clean
from swin_properties.vectors.loops import BROKEN, Verdict, compare

MANIFEST = "manifest.json"
SCHEMA = 1
"""The version of the manifest: it grows when readers of the last would not understand the next."""

LARGEST_FILE = 64 << 20
"""The most bytes of a file that is read."""

TEXTS = ("id", "file", "sha256", "precision", "command", "callable", "law", "case")
"""The texts of an entry."""


@dataclass(frozen=True)
class Entry:
    """What the manifest says of a vector; ``hunts`` names the planted bugs that it shows.

    ``command`` is the request's: the callable, or ``vjp`` for its gradients.
    """

    id: str
    file: str
    sha256: str
    bytes: int
    precision: str
    command: str
    callable: str
    law: str
    case: str
    hunts: list[str]


def write_manifest(folder: Path, entries: Iterable[Entry], suite: str) -> None:
    """Writes the manifest, with the versions that the bytes depend on."""
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
    }
    content = {
        "schema": SCHEMA,
        "suite": suite,
        "versions": versions,
        "vectors": [asdict(entry) for entry in entries],
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")


def read_file(path: Path) -> bytes:
    """Returns the bytes of a regular file that is not too large.

    Errors: ``ValueError`` in one sentence.
    """
    name = clean(str(path))
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise ValueError(f"a vector is in a regular file, {name} is none: check the path")
        if about.st_size > LARGEST_FILE:
            raise ValueError(f"a vector has at most {LARGEST_FILE} bytes, {name} has {about.st_size}")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"a file of a set can be read, {name} cannot: {error.strerror}: check the path"
        ) from None


def read_manifest(folder: Path) -> list[Entry]:
    """Returns the entries of a set, once the manifest and the files fit each other.

    Errors: ``ValueError`` in one sentence for a manifest that is missing, does not parse or has other fields,
    and for a file that is missing or has other bytes.
    """
    name = clean(str(folder / MANIFEST))
    text = read_file(folder / MANIFEST)
    try:
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {SCHEMA}")
        entries = [make_entry(one) for one in content["vectors"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"a set of vectors has a manifest, {name} is none: {clean(str(error), 120)}: write the set anew"
        ) from None
    if len({entry.id for entry in entries}) != len(entries) or not entries:
        raise ValueError(f"a set has vectors with an id each, {name} has not: write the set anew")
    for entry in entries:
        if hashlib.sha256(read_file(folder / entry.file)).hexdigest() != entry.sha256:
            raise ValueError(
                f"a vector is as its manifest says, {clean(entry.file)} has other bytes: write the set anew"
            )
    return entries


def make_entry(one: Any) -> Entry:
    """Returns an entry from what JSON gave.

    Errors: ``ValueError`` for fields that are missing, too many or of another type.
    """
    if not isinstance(one, dict) or set(one) != {*TEXTS, "bytes", "hunts"}:
        raise ValueError("an entry has other fields")
    if not all(isinstance(one[text], str) for text in TEXTS) or type(one["bytes"]) is not int:
        raise ValueError("an entry has a field of another type")
    if not isinstance(one["hunts"], list) or not all(isinstance(bug, str) for bug in one["hunts"]):
        raise ValueError("hunts is a list of texts")
    if not re.fullmatch(r"[\w.-]+", one["file"]) or one["file"].startswith("."):
        raise ValueError("a file is a plain name")
    return Entry(**one)


def read_vector(folder: Path, entry: Entry) -> Message:
    """Returns a vector.

    Errors: ``ValueError`` in one sentence for a file that is no message.
    """
    try:
        return decode(read_file(folder / entry.file))
    except ValueError as error:
        raise ValueError(f"a vector is a message, {clean(entry.file)} is none: {clean(str(error))}") from None


@dataclass(frozen=True)
class Judged:
    """A vector, the verdict on its reply, and why it is broken or declined."""

    entry: Entry
    verdict: Verdict
    why: str = ""
    declined: str = ""


def judge(folder: Path, entries: Iterable[Entry], replies: Path) -> Iterator[Judged]:
    """Judges the replies to a set; a reply that is missing or cannot be read is broken."""
    for entry in entries:
        vector = read_vector(folder, entry)
        try:
            reply = decode(read_file(replies / entry.file))
        except ValueError as error:
            yield Judged(entry, BROKEN, clean(str(error)))
            continue
        yield judge_reply(entry, vector, reply)


def judge_reply(entry: Entry, vector: Message, reply: Message) -> Judged:
    """Judges one reply by its vector's two loops."""
    if "declined" in reply.words:
        return Judged(entry, Verdict(0.0, 0.0), declined=clean(reply.words["declined"]))
    if "error" in reply.words:
        return Judged(entry, BROKEN, clean(reply.words["error"]))
    worst = Verdict(0.0, 0.0)
    for name, expected in vector.arrays.items():
        head, dot, end = name.partition(".")
        if head != "expected":
            continue
        asked = end if end.startswith("grad.") else f"result{dot}{end}"
        got = reply.arrays.get(asked)
        if got is None:
            return Judged(entry, BROKEN, f"the reply has no {asked}")
        if got.shape != expected.shape:
            return Judged(entry, BROKEN, f"{asked} has shape {got.shape}, expected {expected.shape}")
        verdict = compare(got, expected, vector.arrays[f"beta{dot}{end}"])
        if not verdict.holds:
            return Judged(entry, verdict, describe(asked, verdict))
        worst = Verdict(max(worst.rho, verdict.rho), max(worst.rho_max, verdict.rho_max))
    return Judged(entry, worst)


def describe(name: str, verdict: Verdict) -> str:
    """Returns what is said of an array that is not accepted.

    >>> describe("grad.x", Verdict(2.0, 9.0))
    'grad.x: rho 2, limit 1; an element 9 times its budget, limit 8'
    """
    return (
        f"{name}: rho {verdict.rho:.3g}, limit 1; an element {verdict.rho_max:.3g} times its budget, limit 8"
    )
