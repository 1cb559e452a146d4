"""The commands of ``swin-oracle``: each module adds its arguments to the parser and prepares the work."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

COMMANDS = (
    "check",
    "doctor",
    "adapter",
    "vectors",
    "compare",
    "identify",
    "predict",
    "locate",
    "show",
    "laws",
)
"""The names of the commands, each that of its module."""

WITH_PROGRAM = ("check", "doctor", "identify", "predict", "locate")
"""The commands that take a program after ``--``."""


def load_commands(word: str) -> list[ModuleType]:
    """Returns the module of the command that a word names, else of all: each takes time to import.

    >>> [module.__name__ for module in load_commands("laws")]
    ['swin_properties.commands.laws']
    """
    names = [word] if word in COMMANDS else COMMANDS
    return [import_module(f"{__name__}.{name}") for name in names]
