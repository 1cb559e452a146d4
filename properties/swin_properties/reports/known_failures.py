"""Known failures: laws that an implementation is let fail, each with its reason, from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from swin_properties.adapters import peers
from swin_properties.judging.report import Known, LawResult, Report
from swin_properties.laws import choosing

WORDS = ("law", "reason", "link")


def read(path: str) -> list[Known]:
    """The entries of a file of known failures; one whose ``law`` is a list is one for each of these.

    Errors: ``ValueError`` in one sentence for a file that does not read or parse, and for an entry with an
    unknown word, without a reason, or of a law that the catalogue has not.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"known failures are a file that reads, {path}: {error.strerror}: check it"
        ) from None
    except ValueError as error:
        raise ValueError(f"known failures are a TOML file, {path}: {error}: correct it") from None
    entries = content.pop("known", [])
    if content or not isinstance(entries, list):
        raise ValueError(
            f"known failures are [[known]] tables, {path} has {', '.join(content) or 'another known'}: "
            "write [[known]]"
        )
    return [
        _entry(number, one, path) for number, entry in enumerate(entries, 1) for one in _of_each_law(entry)
    ]


def declared(implementation: str) -> list[Known]:
    """The known failures of a peer, from its own file; none for any other implementation.

    >>> declared("mine.py"), declared("peer:timm")[0].law
    ([], 'shifted_window_attention/locality')
    """
    file = peers.declared(implementation)
    return read(file) if file else []


def _of_each_law(entry: Any) -> list[Any]:
    laws = entry.get("law") if isinstance(entry, dict) else None
    return [entry | {"law": law} for law in laws] if isinstance(laws, list) and laws else [entry]


def _entry(number: int, entry: Any, path: str) -> Known:
    where = f"[[known]] number {number} of {path}"
    if not isinstance(entry, dict) or (odd := sorted(set(entry) - set(WORDS))):
        got = ", ".join(odd) if isinstance(entry, dict) else repr(entry)
        raise ValueError(f"a known failure has the words {', '.join(WORDS)}, {where} has {got}: use these")
    for word in entry.keys() | {"law", "reason"}:
        value = entry.get(word)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"a known failure has a {word}, {where} has none: write it as a string")
    try:
        choosing.chosen(entry["law"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return Known(**entry)


def let(report: Report, known: list[Known], declared: Sequence[Known] = ()) -> Report:
    """The report with its known failures marked, and with the entries that are stale.

    An entry is stale if at least one of its laws was asked and none of those is broken.  Those
    ``declared`` of a peer are not: an effort or a precision may not show them, and the user
    cannot remove them.
    """
    results = [_marked(result, [*known, *declared]) for result in report.results]
    asked = [result for result in results if result.status != "not offered"]
    stale = []
    for entry in known:
        of_entry = [result.status for result in asked if fnmatchcase(result.law, entry.law)]
        if of_entry and "known failure" not in of_entry:
            stale.append(entry)
    explained = report.cause if any(result.status == "broken" for result in results) else ""
    return replace(report, results=results, stale=tuple(stale), cause=explained)


def _marked(result: LawResult, known: list[Known]) -> LawResult:
    if result.status != "broken":
        return result
    entries = [entry for entry in known if fnmatchcase(result.law, entry.law)]
    return replace(result, status="known failure", known=entries[0]) if entries else result
