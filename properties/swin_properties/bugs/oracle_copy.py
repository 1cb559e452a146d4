"""A fresh copy of the oracle with some of its functions replaced, everywhere they are used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import swin_reference

from swin_properties.adapters.contract import SHAPES

PACKAGE = "swin_reference"
DATA = tuple(f"swin_reference.{name}" for name in ("config", "conventions", "types", "checkpoint"))
"""Modules of data and names, shared by all copies: a configuration is of the type that each was made for."""


def fresh_modules() -> dict[str, ModuleType]:
    """The oracle's modules of functions executed anew, by name without the package.

    Its data is shared, and the second oracle left out: its functions have the names of the first one's.

    >>> import swin_reference.windows
    >>> fresh_modules()["windows"].cyclic_shift is swin_reference.windows.cyclic_shift
    False
    """

    def ours() -> dict[str, ModuleType]:
        return {name: m for name, m in sys.modules.items() if (name + ".").startswith(PACKAGE + ".")}

    real = ours()
    for name in real:
        if not _is_data(name):
            del sys.modules[name]
    try:
        package = importlib.import_module(PACKAGE)
        for name in package.__all__:
            getattr(package, name)  # the package imports each of its modules when a name of it is first used
        copies = ours()
    finally:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(real)
    return {
        name[len(PACKAGE) + 1 :]: module
        for name, module in copies.items()
        if name != PACKAGE and not name.startswith(f"{PACKAGE}.direct") and not _is_data(name)
    }


def _is_data(name: str) -> bool:
    return any((name + ".").startswith(module + ".") for module in DATA)


def replaced(modules: Mapping[str, ModuleType], replacements: Mapping[str, Callable[..., Any]]) -> Any:
    """The oracle's callables after ``{"module.function": other}`` is replaced in every module that has it.

    Patching one module would not reach the names that others imported from it.

    Errors: ``LookupError`` for a function that does not exist.
    """
    others: dict[int, Callable[..., Any]] = {}
    for path, other in replacements.items():
        module, _, name = path.rpartition(".")
        original = getattr(modules[module], name, None)
        if original is None:
            raise LookupError(f"a bug replaces a function that exists, the oracle has no {path}")
        others[id(original)] = other
    # All at once: one after the other, two functions that change places would both become the same.
    for copy in modules.values():
        for key, value in list(vars(copy).items()):
            if id(value) in others:
                setattr(copy, key, others[id(value)])
    return callables(modules)


def callables(modules: Mapping[str, ModuleType]) -> SimpleNamespace:
    """A copy of the oracle as an implementation: each callable from the module that defines it.

    Another module's name for it may have been changed alone.
    """
    homes = {name: getattr(swin_reference, name).__module__.rpartition(".")[2] for name in SHAPES}
    return SimpleNamespace(**{name: getattr(modules[home], name) for name, home in homes.items()})


def reached(modules: Mapping[str, ModuleType], start: str) -> set[str]:
    """The functions, as ``module.function``, that calling ``start`` can reach, itself included.

    >>> sorted(reached(fresh_modules(), "mlp"))
    ['layers.gelu', 'layers.linear', 'layers.mlp']
    """
    functions = {
        (module, name): value
        for module, copy in modules.items()
        for name, value in vars(copy).items()
        if isinstance(_bare(value), FunctionType)
    }
    home = {value: key for key, value in functions.items() if _bare(value).__module__.endswith("." + key[0])}
    found: set[str] = set()
    waiting = [value for (module, name), value in functions.items() if name == start and value in home]
    while waiting:
        value = waiting.pop()
        module, name = home[value]
        if f"{module}.{name}" in found:
            continue
        found.add(f"{module}.{name}")
        used = set(_names(_bare(value).__code__))
        waiting += [functions[module, key] for key in used if functions.get((module, key)) in home]
    return found


def _bare(value: Any) -> Any:
    """A function without the wrapper that checks its shapes in the tests."""
    return getattr(value, "__wrapped__", value)


def _names(code: Any) -> list[str]:
    """Global names a function's code uses, those of comprehensions inside it as well."""
    inner = [name for const in code.co_consts if hasattr(const, "co_names") for name in _names(const)]
    return [*code.co_names, *inner]
