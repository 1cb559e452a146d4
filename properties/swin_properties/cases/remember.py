"""What a case draws is drawn once: every perturbed run asks for it again."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any


def remember(make: Callable[..., Any]) -> Callable[..., Any]:
    """A method that gives arrays, called once for the same arguments; each call gets a copy."""
    made = lru_cache(16)(make)
    return wraps(make)(lambda *args, **kwargs: copy_arrays(made(*args, **kwargs)))


def copy_arrays(value: Any) -> Any:
    """Nested arrays with memory of their own.

    >>> first, second = map(copy_arrays, [[b := bytearray(b"a")]] * 2)
    >>> first[0] is b or first[0] is second[0]
    False
    """
    if isinstance(value, dict):
        return {name: copy_arrays(child) for name, child in value.items()}
    return [copy_arrays(child) for child in value] if isinstance(value, list) else value.copy()
