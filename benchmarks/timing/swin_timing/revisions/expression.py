"""Parses the expression after ``-k``: words with ``and``, ``or``, ``not`` and parentheses, as in pytest."""

from __future__ import annotations

import re
from collections.abc import Callable

from swin_reference.outside import refusal

MOST_WORDS = 200
"""The most words of an expression: it is parsed and asked by functions in each other."""

Matches = Callable[[str], bool]
"""A function that says whether a name matches."""


def parse_expression(expression: str) -> Matches:
    """Returns a function that says whether a name matches the expression.  Case does not matter.

    Errors: ``ValueError`` for an expression that does not parse.

    >>> matches = parse_expression("attention and not (STAGE1 or torch)")
    >>> matches("attention[stage1]"), matches("attention[numpy]")
    (False, True)
    """
    words = re.findall(r"[()]|[^\s()]+", expression)
    if len(words) > MOST_WORDS:
        raise _make_error(f"{len(words)} words")
    rest = list(words)

    def parse_or() -> Matches:
        found = parse_and()
        while rest[:1] == ["or"]:
            rest.pop(0)
            found = _join_or(found, parse_and())
        return found

    def parse_and() -> Matches:
        found = parse_word()
        while rest[:1] == ["and"]:
            rest.pop(0)
            found = _join_and(found, parse_word())
        return found

    def parse_word() -> Matches:
        word = rest.pop(0) if rest else ""
        if word == "not":
            inner = parse_word()
            return lambda name: not inner(name)
        if word == "(":
            inner = parse_or()
            if rest[:1] != [")"]:
                raise _make_error(expression)
            rest.pop(0)
            return inner
        if word in ("", ")", "and", "or"):
            raise _make_error(expression)
        return lambda name: word.lower() in name.lower()

    found = parse_or()
    if rest:
        raise _make_error(expression)
    return found


def _join_or(one: Matches, other: Matches) -> Matches:
    return lambda name: one(name) or other(name)


def _join_and(one: Matches, other: Matches) -> Matches:
    return lambda name: one(name) and other(name)


def _make_error(expression: str) -> ValueError:
    return refusal(
        f"-k is words joined by and, or, not and parentheses, at most {MOST_WORDS}, got {expression!r}: "
        "write such as 'attention and not stage1'"
    )
