"""Writes docs/diagnosis.md: what is told of planted bugs, and how much of it is true."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from studies.diagnosis.count import ALL, Count, count_all
from studies.diagnosis.judge import EFFORT, PRECISION, Told
from swin_properties.bugs import GALLERY

HEAD = """# Is the cause that a report tells true?

Made by `make diagnosis`. Each planted bug is judged as if nobody knew it: an implementation that is the
oracle with one thing replaced, asked in {precision} on the cases of a run at {effort} effort, seed
{seed}; of broken laws no smaller case is looked for. Each bug states its component, and a predicate: the
cases on which it differs from the oracle. Tests compare both with what the bug does. The search for a
cause reads neither.

- **The gallery whole**: the cause is named where the bug is among the planted bugs that the report
  names.
- **Left out**: the bug is taken out of the gallery, and so are all whose output equals its own on the
  cases asked. Whatever planted bug is named then is wrong. Component and trait come from the laws alone.
- **The component** is right where the first wrong component that is told is the bug's. Where a bug is in
  a function that several components use, each of the first ones is right.
- **The trait** is right where the cases that it names, among those that the law was asked on, are the
  cases of the predicate; or where it has properties, and all cases of the predicate have them: the
  predicate implies it. A trait without any property is right only where the predicate is every case.
- **The part** is told of blocks and networks: the branch, or inside or outside the blocks. It is counted
  where it is told.
- **Pairs** are drawn by the seed, of bugs that can be planted together, and of which each is killed by a
  law of one component that does not kill the other.
"""


def write_page(results: Iterable[Told], planned: int, seed: int) -> str:
    """Returns the page; ``planned`` judgements were, if the time was enough."""
    results = list(results)
    counts = count_all(results)
    lines = [HEAD.format(precision=PRECISION.name, effort=EFFORT, seed=seed)]
    lines += ["| offered | question | right | aim |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {setting} | {one.question} | {one.share} | {one.aim} |"
        for setting, several in counts.items()
        for one in several
    ]
    cut = f"; the time was not enough for {planned - len(results)} of {planned}" * (planned > len(results))
    told = f"{len(GALLERY)} planted bugs are in the gallery. {len(results)} judgements{cut}."
    lines += ["", told, "", "## What was wrong", ""]
    lines += [line for setting, several in counts.items() for one in several for line in _list(setting, one)]
    lines += _list_predicates()
    lines += ["## What was told of each bug", "", f"With {ALL} offered.", ""]
    lines += ["| bug | first wrong component | trait |", "| --- | --- | --- |"]
    lines += [
        f"| {' and '.join(told.bugs)} | {told.place or 'none'} | {told.trait or 'none'} |"
        for told in results
        if told.setting == ALL and len(told.bugs) == 1
    ]
    return "\n".join([*lines, ""])


def _list(setting: str, one: Count) -> list[str]:
    """Returns the failures of one question, a line each."""
    if not one.failures:
        return []
    return [f"**{setting}; {one.question}: {one.share}.**", "", *(f"- {text}" for text in one.failures), ""]


def _list_predicates() -> list[str]:
    """Returns which predicates say less than exactly when."""
    loose: Sequence[str] = [bug.name for bug in GALLERY.values() if not bug.exactly]
    return [
        "## Predicates that are not exact",
        "",
        f"{len(GALLERY) - len(loose)} predicates are exact: the bug differs on every case that has the",
        f"properties, and on no other. {len(loose)} say only where it may differ: the numbers, or what was",
        f"called before, decide as well. {', '.join(loose)}.",
        "",
    ]
