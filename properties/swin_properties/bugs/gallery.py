"""Planted bugs: what one is, and how it enters the gallery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

from swin_properties.adapters.contract import CONTRACT
from swin_properties.bugs import oracle_copy

Replacements = Mapping[str, Callable[..., Any]]
Plant = Callable[[Any], Replacements]
"""From the modules of a fresh oracle (``o.windows.cyclic_shift``) to what to replace in them."""


@dataclass(frozen=True)
class Bug:
    """A wrong Swin: what is wrong, where it was seen, what it does to a user."""

    name: str
    wrong: str
    seen: str
    effect: str
    plant: Plant

    def implementation(self) -> Any:
        """The oracle with this bug, in a fresh copy of its modules."""
        modules = oracle_copy.fresh_modules()
        return oracle_copy.replaced(modules, self.plant(SimpleNamespace(**modules)))

    @property
    def note(self) -> str:
        """What a user is told: the bug in one line."""
        return f"{self.wrong} {self.effect}"


GALLERY: dict[str, Bug] = {}
"""Every planted bug by name."""

NOT_SEEN = "No released code known to us; an easy slip."

PORTED = "Weights of a checkpoint land in the wrong place: it loads, and outputs are wrong."


def bug(name: str, wrong: str, effect: str, seen: str = NOT_SEEN) -> Callable[[Plant], Plant]:
    """Enters a wrong Swin into the gallery."""

    def enter(plant: Plant) -> Plant:
        if name in GALLERY:
            raise ValueError(f"a bug's name is its own, {name} is taken: choose another")
        GALLERY[name] = Bug(name, wrong, seen, effect, plant)
        return plant

    return enter


@cache
def _reach() -> tuple[dict[str, ModuleType], dict[str, set[str]]]:
    """One copy of the oracle, and the functions that each callable reaches: the same for every bug."""
    modules = oracle_copy.fresh_modules()
    return modules, {start: oracle_copy.reached(modules, start) for start in CONTRACT}


@cache
def touched(name: str) -> frozenset[str]:
    """The callables whose result a bug can change: those that reach a function it replaces."""
    modules, reach = _reach()
    changed = set(GALLERY[name].plant(SimpleNamespace(**modules)))
    return frozenset(start for start, functions in reach.items() if changed & functions)
