"""Calls that are made once and answered from then on: what loads a module, while its work is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


class Replay:
    """A function that gives, from the second `start` on, what it gave after the first, call by call.

    Errors: ``ValueError`` where a later run hands it another module than the first: it was made again.

    >>> counted = Replay(iter([1, 2]).__next__)
    >>> for run in range(2):
    ...     counted.start()
    ...     print(counted(), counted())
    1 2
    1 2
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls: list[tuple[list[Any], Any]] = []
        self.replayed: Iterator[tuple[list[Any], Any]] | None = None

    def start(self) -> None:
        """Begins a new run of whatever calls the function."""
        self.replayed = iter(self.calls) if self.calls else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result, of now or of the first run."""
        modules = [value for value in args if hasattr(value, "state_dict")]
        if self.replayed is None:
            self.calls.append((modules, self.function(*args, **kwargs)))
            return self.calls[-1][1]
        first, result = next(self.replayed)
        if any(module is not own for module, own in zip(modules, first, strict=True)):
            raise ValueError(
                f"what is timed makes no modules, got a new {type(modules[0]).__name__} in each call: give "
                "self.loaded a function that makes it"
            )
        return result
