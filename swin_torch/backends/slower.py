"""Warns once for each reason that a computation is correct but slower than it could be."""

from __future__ import annotations

import warnings
from functools import cache


@cache
def say_once(without: str, lacking: str) -> None:
    """Warns that the attention runs without something that would make it faster, and says why.

    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     for _ in range(2):
    ...         say_once("its wings", "it has none")
    >>> [str(one.message) for one in said]
    ['shifted window attention runs without its wings, correct but slower: it has none']
    """
    warnings.warn(
        f"shifted window attention runs without {without}, correct but slower: {lacking}", stacklevel=2
    )
