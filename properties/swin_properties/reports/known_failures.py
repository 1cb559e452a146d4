"""Reads known failures from a TOML file: laws that an implementation may break, each with a reason."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from swin_reference.outside import one_sentence, read_bytes, refusal

from swin_properties.adapters import peers
from swin_properties.judging.report import Known, LawResult, Report
from swin_properties.laws import choosing

LONGEST_LINE = 2000
"""The most bytes of a line of such a file."""

MOST = 1000
"""The most known failures of a list."""

LARGEST_FILE = 2**20
"""The most bytes of a list of known failures."""

WORDS = ("law", "reason", "link")


def read(path: str) -> list[Known]:
    """Returns the known failures of a file; an entry whose ``law`` is a list gives one for each law.

    Errors: ``ValueError`` in one sentence for a file that does not read or parse, and for an entry that has
    an unknown word, has no reason, or names a law that does not exist.
    """
    text = read_bytes(path, "a list of known failures", LARGEST_FILE)
    with one_sentence(f"known failures are in a TOML file, {path} does not parse"):
        if max(map(len, text.splitlines()), default=0) > LONGEST_LINE:  # of which a name may have many levels
            raise ValueError(f"a line has over {LONGEST_LINE} bytes")
        content = tomllib.loads(text.decode())
    entries = content.pop("known", [])
    if isinstance(entries, list) and len(entries) > MOST:
        raise refusal(
            f"a file has at most {MOST} known failures, {path} has {len(entries)}: join some with * in a law"
        )
    if content or not isinstance(entries, list):
        raise refusal(
            f"known failures are [[known]] tables, {path} has {', '.join(content) or 'another known'}: "
            "write each failure as [[known]]"
        )
    return [
        _entry(number, one, path) for number, entry in enumerate(entries, 1) for one in _split_laws(entry)
    ]


def read_shipped(implementation: str) -> list[Known]:
    """Returns the known failures that this project ships for a peer; none for any other implementation.

    >>> read_shipped("mine.py"), read_shipped("peer:timm")[0].law
    ([], 'shifted_window_attention/locality')
    """
    file = peers.declared(implementation)
    return read(file) if file else []


def _split_laws(entry: Any) -> list[Any]:
    laws = entry.get("law") if isinstance(entry, dict) else None
    return [entry | {"law": law} for law in laws] if isinstance(laws, list) and laws else [entry]


def _entry(number: int, entry: Any, path: str) -> Known:
    where = f"[[known]] number {number} of {path}"
    if not isinstance(entry, dict) or (odd := sorted(set(entry) - set(WORDS))):
        got = ", ".join(odd) if isinstance(entry, dict) else repr(entry)
        raise refusal(f"a known failure has the words {', '.join(WORDS)}, {where} has {got}: use only these")
    for word in entry.keys() | {"law", "reason"}:
        value = entry.get(word)
        if not isinstance(value, str) or not value.strip():
            raise refusal(f'a known failure has a {word}, {where} has none: write {word} = "..."')
    try:
        choosing.choose_laws(entry["law"])
    except ValueError as error:
        raise refusal(f"{where}: {error}") from None
    return Known(**entry)


def mark(report: Report, known: list[Known], shipped: Sequence[Known] = ()) -> Report:
    """Returns the report with its known failures marked, and the entries that are stale.

    An entry is stale if at least one of its laws was asked and none of those is broken.  Entries
    ``shipped`` for a peer are never stale: an effort or a precision may not show them, and the user cannot
    remove them.
    """
    results = [_mark(result, [*known, *shipped]) for result in report.results]
    asked = [result for result in results if result.status != "not offered"]
    stale = []
    for entry in known:
        of_entry = [result.status for result in asked if fnmatchcase(result.law, entry.law)]
        if of_entry and "known failure" not in of_entry:
            stale.append(entry)
    cause = report.cause if any(result.status == "broken" for result in results) else ""
    return replace(report, results=results, stale=tuple(stale), cause=cause)


def _mark(result: LawResult, known: list[Known]) -> LawResult:
    if result.status != "broken":
        return result
    entries = [entry for entry in known if fnmatchcase(result.law, entry.law)]
    return replace(result, status="known failure", known=entries[0]) if entries else result
