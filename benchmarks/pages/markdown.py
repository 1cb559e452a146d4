"""Writes parts of benchmarks/README.md: each stands between two comments with its name."""

from __future__ import annotations

from pathlib import Path

from swin_properties.reports import files

PAGE = Path(__file__).parents[1] / "README.md"


def put(name: str, text: str, page: Path = PAGE) -> None:
    """Replaces the text between ``<!-- name -->`` and ``<!-- /name -->``.

    Errors: ``ValueError`` for a page that does not have both comments once, in this order.
    """
    old = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise ValueError(f"{page.name} has {begin} and then {end}, each once: put them where the text goes")
    before, after = old[: old.index(begin) + len(begin)], old[old.index(end) :]
    files.write(str(page), f"{before}\n{text.strip()}\n{after}")


def make_table(heads: list[str], rows: list[list[str]]) -> str:
    """Returns a table in Markdown.

    >>> print(make_table(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
