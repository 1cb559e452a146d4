"""The expression after ``-k``: words joined by ``and``, ``or``, ``not`` and parentheses, as pytest has it."""

from __future__ import annotations

import re
from collections.abc import Callable

Matches = Callable[[str], bool]
"""Whether a name is meant."""


def matcher(expression: str) -> Matches:
    """Whether a name contains the words, in any case, as the expression joins them.

    Errors: ``ValueError`` for what is no such expression.

    >>> [matcher("attention and not (STAGE1 or torch)")(f"attention[{x}]") for x in ("stage1", "numpy")]
    [False, True]
    """
    words = re.findall(r"[()]|[^\s()]+", expression)
    rest = list(words)

    def either() -> Matches:
        found = both()
        while rest[:1] == ["or"]:
            rest.pop(0)
            found = _or(found, both())
        return found

    def both() -> Matches:
        found = one()
        while rest[:1] == ["and"]:
            rest.pop(0)
            found = _and(found, one())
        return found

    def one() -> Matches:
        word = rest.pop(0) if rest else ""
        if word == "not":
            inner = one()
            return lambda name: not inner(name)
        if word == "(":
            inner = either()
            if rest[:1] != [")"]:
                raise _refusal(expression)
            rest.pop(0)
            return inner
        if word in ("", ")", "and", "or"):
            raise _refusal(expression)
        return lambda name: word.lower() in name.lower()

    found = either()
    if rest:
        raise _refusal(expression)
    return found


def _or(one: Matches, other: Matches) -> Matches:
    return lambda name: one(name) or other(name)


def _and(one: Matches, other: Matches) -> Matches:
    return lambda name: one(name) and other(name)


def _refusal(expression: str) -> ValueError:
    return ValueError(
        f"-k is words joined by and, or, not and parentheses, got {expression!r}: "
        "write such as 'attention and not stage1'"
    )
