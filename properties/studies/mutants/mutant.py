"""Mutants: copies of the oracle with one edit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from inspect import getsource, signature
from types import SimpleNamespace
from typing import Any

from studies.mutants.edits import MARK, Edit, define, list_edits
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import CANONICAL
from swin_properties.bugs import oracle_copy
from swin_properties.laws.law import LAWS, Law
from swin_reference.config import Convention


class Mutant:
    """A copy of the oracle with one edit; ``reached`` tells whether the edited expression was computed."""

    def __init__(self, edit: Edit, source: str) -> None:
        """``source`` is the text of the module with the edited function."""
        self.edit, self.source = edit, source
        self.reached = False
        modules = oracle_copy.copy_modules()
        edited = self.define(vars(modules[module_of(edit.path)]))
        self.callables = vars(oracle_copy.replace(modules, {edit.path: edited}))

    def define(self, names: dict[str, Any]) -> Any:
        """Returns the edited function, which looks up the other functions in ``names``."""
        names[MARK] = self._mark
        return define(self.edit.path, self.source, names, self.edit)

    def _mark(self, value: Any) -> Any:
        self.reached = True
        return value


def module_of(path: str) -> str:
    """Returns the module of a ``module.function``."""
    return path.partition(".")[0]


def read_sources() -> dict[str, str]:
    """Returns the text of each of the oracle's modules that the callables use.

    >>> "def gelu" in read_sources()["layers"]
    True
    """
    return {
        name: getsource(import_module(f"{oracle_copy.PACKAGE}.{name}")) for name in oracle_copy.copy_modules()
    }


@cache
def find_reach() -> dict[str, frozenset[str]]:
    """Returns, for each callable, the functions of the oracle that it can reach, as ``module.function``.

    >>> "layers.gelu" in find_reach()["mlp"]
    True
    """
    modules = oracle_copy.copy_modules()
    functions = vars(oracle_copy.callables(modules))
    return {
        name: frozenset(path for path in oracle_copy.reached(functions[name]) if module_of(path) in modules)
        for name in CONTRACT
    }


def edit_oracle(sources: Mapping[str, str], beginning: str = "") -> list[Edit]:
    """Returns every edit of the oracle's functions that some callable reaches and whose path begins so."""
    paths = sorted(frozenset().union(*find_reach().values()))
    return [
        edit
        for path in paths
        if path.startswith(beginning)
        for edit in list_edits(path, sources[module_of(path)])
    ]


def takes_convention(path: str) -> bool:
    """Tells whether a function of the oracle decides something by a convention.

    >>> takes_convention("rules.stage_shift"), takes_convention("layers.gelu")
    (True, False)
    """
    module, _, name = path.partition(".")
    return "convention" in signature(vars(oracle_copy.copy_modules()[module])[name]).parameters


def choose_laws(paths: Iterable[str], names: Sequence[str]) -> list[Law]:
    """Returns the laws of callables that reach some of the functions, first those that reach few."""
    edited, laws = set(paths), [LAWS[name] for name in names]
    sizes = {name: len(reached) for name, reached in find_reach().items() if reached & edited}
    needed = {law.name: {need.partition(".")[0] for need in law.needs} & set(sizes) for law in laws}
    reaching = [law for law in laws if needed[law.name] and "vjp" not in law.needs]
    return sorted(reaching, key=lambda law: min(sizes[name] for name in needed[law.name]))


def bind_convention(callables: Mapping[str, Any], convention: Convention) -> SimpleNamespace:
    """Returns a copy of the oracle's callables under a convention, as an adapter."""

    def bind(function: Any) -> Any:
        takes = "convention" in signature(function).parameters
        return partial(function, convention=convention) if takes and convention != CANONICAL else function

    return SimpleNamespace(**{name: bind(one) for name, one in callables.items() if callable(one)})
