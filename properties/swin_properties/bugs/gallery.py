"""Planted bugs: what one is, and how it is added to the gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from types import ModuleType, SimpleNamespace
from typing import Any

from swin_properties.adapters.contract import CONTRACT
from swin_properties.bugs import oracle_copy

Replacements = Mapping[str, Callable[..., Any]]
"""What stands in place of a function of the oracle, by its ``module.function``."""

Plant = Callable[[Any], Replacements]
"""From the modules of a copy of the oracle (``o.windows.cyclic_shift``) to what is replaced in them."""


@dataclass(frozen=True)
class Bug:
    """A wrong Swin: what is wrong, what a user sees of it, and where it was seen.

    ``component`` is the callable that is wrong first, in the order of use; several where none uses another.
    ``differs_when`` is a predicate on the cases of that component's law, as words of properties of
    `causes.traits`: a case on which the bug differs from the oracle has them all.  ``exactly``: it differs on
    every case that has them.  The search for a cause reads none of the three.
    """

    name: str
    wrong: str
    effect: str
    seen: str
    plant: Plant
    component: tuple[str, ...] = ()
    differs_when: tuple[str, ...] = ()
    exactly: bool = True

    def implementation(self) -> Any:
        """Returns a copy of the oracle with this bug."""
        return plant_together([self])

    @property
    def note(self) -> str:
        """Returns the bug in one line, as users are told it."""
        return f"{self.wrong} {self.effect}"


def plant_together(bugs: Iterable[Bug]) -> Any:
    """Returns a copy of the oracle with several bugs.

    Errors: ``LookupError`` for bugs that replace the same function.
    """
    modules = oracle_copy.copy_modules()
    replacements: dict[str, Callable[..., Any]] = {}
    for one in bugs:
        replaced = one.plant(SimpleNamespace(**modules))
        if both := replacements.keys() & replaced.keys():
            raise LookupError(
                f"bugs planted together replace other functions, {one.name} too has {min(both)}"
            )
        replacements |= replaced
    return oracle_copy.replace(modules, replacements)


GALLERY: dict[str, Bug] = {}
"""Every planted bug by name."""

NOT_SEEN = "No released code known to us; an easy slip."

WRONG_OUTPUTS = "Checkpoints load and outputs are wrong."

MISPLACED_WEIGHTS = "Weights of a checkpoint land in the wrong place: it loads, and outputs are wrong."


def bug(
    name: str,
    wrong: str,
    effect: str,
    seen: str = NOT_SEEN,
    *,
    component: str,
    when: str = "",
    only_when: str | None = None,
) -> Callable[[Plant], Plant]:
    """Adds a wrong Swin to the gallery, made by a function from the oracle's modules to replacements.

    The function is written out, or made by `replaces` or by a decorator of the file.  ``component`` may be
    several callables, separated by commas.  ``when``: it differs from the oracle exactly on the cases with
    these properties, which "; " separates; ``only_when``: on some of them.  Empty words are every case.
    """
    words = when if only_when is None else only_when

    def enter(plant: Plant) -> Plant:
        if name in GALLERY:
            raise ValueError(f"a bug's name is its own, {name} is taken: choose another")
        properties = tuple(words.split("; ")) if words else ()
        components = tuple(component.split(", "))
        GALLERY[name] = Bug(name, wrong, effect, seen, plant, components, properties, only_when is None)
        return plant

    return enter


def replaces(*paths: str) -> Callable[[Callable[..., Any]], Plant]:
    """Puts ``f(original, *args)`` in place of the oracle's function of that path, or of each.

    >>> @replaces("layers.gelu")
    ... def doubled(original, x):
    ...     return 2.0 * original(x)
    >>> doubled(SimpleNamespace(layers=SimpleNamespace(gelu=abs)))["layers.gelu"](-1.0)
    2.0
    """

    def make(function: Callable[..., Any]) -> Plant:
        return lambda o: {path: partial(function, attrgetter(path)(o)) for path in paths}

    return make


@cache
def _copy() -> tuple[dict[str, ModuleType], dict[str, Any]]:
    """Returns a copy of the oracle's modules, and its callables."""
    modules = oracle_copy.copy_modules()
    return modules, vars(oracle_copy.callables(modules))


@cache
def list_reach() -> dict[str, set[str]]:
    """Returns the functions of the oracle, as ``module.function``, that each callable reaches."""
    _, functions = _copy()
    return {name: oracle_copy.reached(functions[name]) for name in CONTRACT}


@cache
def touched(name: str) -> frozenset[str]:
    """Returns the callables whose result a bug can change: those that reach a function it replaces."""
    modules, reach = _copy()[0], list_reach()
    changed = set(GALLERY[name].plant(SimpleNamespace(**modules)))
    return frozenset(start for start, functions in reach.items() if changed & functions)
