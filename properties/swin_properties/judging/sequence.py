"""Shortens the sequence of laws after which an implementation that keeps state breaks a law."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic

Shows = Callable[[Sequence[str]], bool]
"""Tells whether a law is broken after these, in a fresh process."""


def list_earlier(law: str, asked: Sequence[str], gone: Collection[str]) -> list[str]:
    """Returns the laws that a process was asked before a law; those on which it was gone began a fresh one.

    >>> list_earlier("d", ["a", "b", "c", "d", "e"], {"a"})
    ['b', 'c']
    """
    earlier = list(asked[: asked.index(law)]) if law in asked else []
    last = max((number for number, name in enumerate(earlier) if name in gone), default=-1)
    return earlier[last + 1 :]


def find_shortest(earlier: Sequence[str], shows: Shows, until: float) -> list[str] | None:
    """Returns the shortest sequence found, from which no law can be left out; None if all do not show it.

    The sequence is halved as long as a half shows it; then parts are left out that are not needed, smaller
    and smaller ones.  When the clock passes ``until``, it is the shortest found so far.  (Zeller's ddmin.)

    >>> find_shortest(list("abcdefgh"), lambda laws: {"b", "g"} <= set(laws), monotonic() + 9)
    ['b', 'g']
    """
    if not earlier or monotonic() > until or not shows(earlier):
        return None
    shortest, parts = list(earlier), 2
    while len(shortest) > 1 and monotonic() < until:
        size = -(-len(shortest) // parts)
        chunks = [shortest[first : first + size] for first in range(0, len(shortest), size)]
        without = [[law for law in shortest if law not in chunk] for chunk in chunks]
        for some in without:  # of two parts, these are the halves
            if monotonic() < until and shows(some):
                shortest, parts = some, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(2 * parts, len(shortest))
    return shortest
