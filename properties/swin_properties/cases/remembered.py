"""What a case draws is drawn once: every perturbed run asks for it again."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any


def remembered(make: Callable[..., Any]) -> Callable[..., Any]:
    """A method that gives arrays, called once for the same arguments; each call gets a copy."""
    made = lru_cache(16)(make)
    return wraps(make)(lambda *args, **kwargs: copied(made(*args, **kwargs)))


def copied(value: Any) -> Any:
    """Nested arrays with memory of their own.

    >>> first, second = map(copied, [[b := bytearray(b"a")]] * 2)
    >>> first[0] is b or first[0] is second[0]
    False
    """
    if isinstance(value, dict):
        return {name: copied(child) for name, child in value.items()}
    return [copied(child) for child in value] if isinstance(value, list) else value.copy()
