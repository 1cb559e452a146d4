"""Opens what an import string names as a copy, or says why it is none."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from torch import nn

from swin_properties.adapters.copies.base import CopyAdapter
from swin_properties.adapters.copies.parts import CLASSES, SURE, Parts, find_parts
from swin_properties.adapters.copies.recognise import recognise
from swin_properties.adapters.copies.written import Recognised, make_adapter
from swin_properties.adapters.load import offers_any
from swin_properties.adapters.modules import make_module


def open_copy(found: Any, name: str, module: ModuleType | None) -> CopyAdapter | None:
    """Returns the adapter of a copy; None for anything else.

    Errors: ``ValueError`` as for `find_copy`.
    """
    known = find_copy(found, name, module)
    if known is None:
        return None
    recognised, parts = known
    if not recognised.methods:
        if offers_any(found):
            return None  # its functions are the adapter
        refuse_calls(recognised)
    return make_adapter(recognised, parts)


def open_parts(module: ModuleType | None, found: Any, name: str) -> Parts:
    """Returns the classes of the copy that an import string names.

    Errors: ``ValueError`` where they are not those of a Swin.
    """
    known = find_copy(found, name, module)
    if known is None:
        refuse_classes(name, Parts() if module is None else find_parts(module))
    return known[1]


def write_adapter(module: ModuleType, found: Any, name: str) -> str:
    """Returns the adapter of the copy that an import string names, as Python.

    Errors: ``ValueError`` where it is none.
    """
    known = find_copy(found, name, module)
    if known is None:
        refuse_copy(found, name, module)
    source, colon, attribute = name.partition(":")
    place = str(Path(source).resolve()) if source.endswith(".py") else source
    return known[0].write_file(f"{place}{colon}{attribute}")


def find_copy(found: Any, name: str, module: ModuleType | None) -> tuple[Recognised, Parts] | None:
    """Returns what is recognised of a module, a class, a network or what makes one; None for anything else.

    Errors: ``ValueError`` as for `recognise`, and for a factory that raises.
    """
    if isinstance(found, ModuleType):
        return recognise(found, name)
    is_class = inspect.isclass(found) and issubclass(found, nn.Module)
    if not is_class and not isinstance(found, nn.Module) and not inspect.isfunction(found):
        return None
    if is_class:
        home = module or sys.modules.get(found.__module__)
        known = None if home is None else recognise(home, name, found)
        if known is not None and any(one.endswith("transformer") for one in known[0].methods):
            return known
        if inspect.signature(found).parameters and not can_be_called(found):
            return known
    network = make_module(found, name)
    if network is None:
        return None
    home = sys.modules.get(type(network).__module__, module)
    return None if home is None else recognise(home, name, network)


def can_be_called(function: Callable[..., Any]) -> bool:
    """Tells whether a function takes no arguments, or none that it needs."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    return True


def refuse_classes(name: str, parts: Parts) -> NoReturn:
    """Says which classes a copy has, and which of them some code has.

    Errors: ``ValueError``, always.
    """
    names = ", ".join(names[0] for part, names in CLASSES.items() if part in SURE)
    raise ValueError(
        f"a copy has two or more classes with the names of a public Swin, such as {names}; {name} has "
        f"{parts.lists() or 'none of them'}: write an adapter, which docs/judge-a-pytorch-module.md explains"
    )


def refuse_calls(found: Recognised) -> NoReturn:
    """Says of a copy, none of whose callables is understood, why not.

    Errors: ``ValueError``, always.
    """
    reasons = dict.fromkeys(
        reason for reason in found.refused.values() if not reason.startswith("there is no ")
    )
    raise ValueError(
        f"the classes of a copy are called by what their signatures say, of {found.name} none is understood: "
        f"{'; '.join(list(reasons)[:3])}: write an adapter, which docs/judge-a-pytorch-module.md explains"
    )


def refuse_copy(found: Any, name: str, module: ModuleType | None) -> NoReturn:
    """Says why an object for which `open_copy` gives no adapter is not taken for a copy.

    Errors: ``ValueError``, always.
    """
    known = find_copy(found, name, module)
    if known is not None:
        refuse_calls(known[0])
    refuse_classes(name, Parts() if module is None else find_parts(module))
