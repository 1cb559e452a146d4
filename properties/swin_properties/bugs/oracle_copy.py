"""Copies of the oracle in which some functions are replaced, wherever they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from inspect import unwrap
from operator import attrgetter
from types import CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import swin_reference

from swin_properties.adapters.contract import CONTRACT

PACKAGE = "swin_reference"
DATA = ("config", "config_v2", "conventions", "types")
"""The oracle's modules of data, which all copies share: a configuration keeps its type."""


def copy_modules() -> dict[str, ModuleType]:
    """Returns a copy of each of the oracle's modules whose functions a callable may use, by its name.

    Each function is made again with the copied module as its globals, so that it calls the copies of the
    others.  A copied function does not check its shapes, also where a test made the original check them.

    >>> import swin_reference.windows
    >>> copy_modules()["windows"].cyclic_shift is swin_reference.windows.cyclic_shift
    False
    """
    copies: dict[str, ModuleType] = {}
    for name in _module_names():
        copies[name] = ModuleType(f"{PACKAGE}.{name}")
        vars(copies[name]).update(vars(import_module(f"{PACKAGE}.{name}")))
    functions = {
        (module, key): value
        for module, copy in copies.items()
        for key, value in vars(copy).items()
        if isinstance(value, FunctionType) and _home(value) in copies
    }
    made = {id(value): _copy_function(value, copies[_home(value)]) for value in functions.values()}
    for (module, key), value in functions.items():
        setattr(copies[module], key, made[id(value)])
    return copies


def _module_names() -> list[str]:
    """Returns the modules that define the callables, and those whose functions they use."""
    found: list[str] = []
    waiting = [_home(getattr(swin_reference, name)) for name in CONTRACT]
    while waiting:
        name = waiting.pop(0)
        if name and name not in (*found, *DATA):
            found.append(name)
            values = vars(import_module(f"{PACKAGE}.{name}")).values()
            waiting += [_home(value) for value in values if isinstance(value, FunctionType)]
    return found


def _home(function: Any) -> str:
    """Returns the module of the oracle that defines a function, "" for a function of anybody else."""
    package, _, name = unwrap(function).__module__.partition(".")
    return name if package == PACKAGE else ""


def _copy_function(function: FunctionType, module: ModuleType) -> FunctionType:
    bare = unwrap(function)
    copy = FunctionType(bare.__code__, vars(module), bare.__name__, bare.__defaults__, bare.__closure__)
    copy.__kwdefaults__ = bare.__kwdefaults__
    return copy


def replace(modules: Mapping[str, ModuleType], replacements: Mapping[str, Callable[..., Any]]) -> Any:
    """Replaces ``{"module.function": other}`` in every copied module that has it; returns the callables.

    Errors: ``LookupError`` for a function that does not exist.
    """
    others: dict[int, Callable[..., Any]] = {}
    for path, other in replacements.items():
        try:
            others[id(attrgetter(path)(SimpleNamespace(**modules)))] = other
        except AttributeError:
            raise LookupError(f"a bug replaces a function that exists, the oracle has no {path}") from None
    # All at once: one after the other, two functions that change places would both become the same.
    for copy in modules.values():
        for key, value in list(vars(copy).items()):
            if id(value) in others:
                setattr(copy, key, others[id(value)])
    return callables(modules)


def callables(modules: Mapping[str, ModuleType]) -> SimpleNamespace:
    """Returns a copy of the oracle as an implementation: each callable from the module that defines it.

    Another module's name for the callable may have been replaced alone.
    """
    homes = {name: _home(getattr(swin_reference, name)) for name in CONTRACT}
    return SimpleNamespace(**{name: getattr(modules[home], name) for name, home in homes.items()})


def reached(function: FunctionType) -> set[str]:
    """Returns the functions, as ``module.function``, that calling a copied function can reach, with itself.

    >>> sorted(reached(copy_modules()["layers"].mlp))
    ['layers.erf', 'layers.gelu', 'layers.linear', 'layers.mlp']
    """
    found: dict[str, FunctionType] = {}
    waiting: list[Any] = [function]
    while waiting:
        one = waiting.pop()
        path = f"{_home(one)}.{one.__name__}"
        if path not in found:
            found[path] = one
            used = (one.__globals__.get(name) for name in _global_names(one.__code__))
            waiting += [value for value in used if isinstance(value, FunctionType) and _home(value)]
    return set(found)


def _global_names(code: CodeType) -> Iterator[str]:
    """Yields the names that a function's code looks up, with those of the functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)
