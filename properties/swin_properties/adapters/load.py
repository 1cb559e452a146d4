"""Finding the implementation that an import string names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from swin_properties.adapters import exports, peers
from swin_properties.adapters.answers import read_reason
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.scope import read_scope
from swin_properties.budget.precision import PRECISIONS, Precision

DEVICES = ("cpu", "cuda", "mps")
"""The devices that torch adapters compute on."""


def load(name: str) -> Any:
    """The object that ``module``, ``module:attribute``, ``file.py`` or ``file.py:attribute`` names.

    A module with an attribute ``adapter`` stands for that.  ``peer:NAME`` is a public implementation,
    and ``model.onnx``, ``model.pt2`` or a TorchScript file an exported model.

    Errors: ``ValueError`` in one sentence when it does not load.
    """
    if exports.is_export(name):
        return exports.find(name)
    source, _, attribute = name.partition(":")
    if not source:
        raise ValueError(
            f"an implementation is a module, module:attribute or file.py, got {name!r}: name one"
        )
    if source == "peer":
        return peers.find(attribute)
    module = _from_file(source) if source.endswith(".py") else _from_module(source)
    found: Any = module
    for part in filter(None, attribute.split(".")):
        if not hasattr(found, part):
            raise ValueError(
                f"an implementation is an attribute that exists, {source} has no {attribute!r}: "
                "correct the name after the colon"
            )
        found = getattr(found, part)
    return found if attribute else _resolve(found)


def find_name(implementation: Any) -> str:
    """The import string of an object, where it has one; an import string is its own.

    >>> find_name("mine.py:adapter"), find_name(sys), find_name(find_name), find_name({})
    ('mine.py:adapter', 'sys', 'swin_properties.adapters.load:find_name', '<dict object>')
    """
    if isinstance(implementation, str):
        return implementation
    if isinstance(implementation, ModuleType):
        return implementation.__name__
    if isinstance(said := getattr(implementation, "import_string", None), str):
        return said
    home = getattr(implementation, "__module__", "")
    for name, value in vars(sys.modules.get(home, object)).items():
        if value is implementation and home != "__main__":
            return f"{home}:{name}"
    return f"<{type(implementation).__qualname__} object>"


def load_network(name: str) -> Any:
    """The network, an nn.Module, that an import string names or whose factory it names; None for an adapter.

    Errors: ``ValueError`` as for `load`, and for a network that cannot be watched.
    """
    found = load(name)
    if "torch" not in sys.modules:
        return None
    modules = importlib.import_module("swin_properties.adapters.modules")
    return modules.find_module(found, name)


def load_in_precision(
    implementation: Any, dtype: str | None = None, device: str | None = None
) -> tuple[Any, Precision]:
    """The implementation, an object or its import string, and the precision: its own or the one asked for.

    It computes on its own device or on the one asked for.

    Errors: ``ValueError`` for what does not load or offers nothing a law needs, for an unknown precision, or
    a precision or device that the implementation does not offer, and for a scope that is none.
    """
    name = find_name(implementation)
    found = load(implementation) if isinstance(implementation, str) else _resolve(implementation)
    if not any(callable(getattr(found, callable_, None)) for callable_ in CONTRACT):
        raise ValueError(
            f"an implementation offers at least one callable of the adapter, {name} offers none: "
            f"give it one named {', '.join(CONTRACT)}"
        )
    read_scope(getattr(found, "scope", None))
    return set_precision(set_device(found, device, name), dtype, name)


def set_device(found: Any, device: str | None, name: str) -> Any:
    """The implementation, by name, on the device asked for; None for its own.

    Errors: ``ValueError`` for a device that is not there, or an implementation that is not torch's.
    """
    if device is None or device == getattr(found, "device", "cpu"):
        return found
    if not callable(getattr(found, "with_device", None)):
        raise ValueError(
            f"another device needs with_device, {name} has none: leave --device out, or offer it "
            "(a TorchAdapter does)"
        )
    return found.with_device(device)


def set_precision(found: Any, dtype: str | None, name: str) -> tuple[Any, Precision]:
    """The implementation, by name, in its own precision or the one asked for, and the precision.

    Errors: ``ValueError`` for an unknown precision, or one that the implementation does not offer.
    """
    declared = getattr(found, "precision", "float32")
    wanted = declared if dtype is None else dtype
    for precision in (declared, wanted):
        if precision not in PRECISIONS:
            raise ValueError(
                f"a precision is one of {', '.join(PRECISIONS)}, got {precision!r}: use one of them"
            )
    if wanted != declared:
        if not callable(getattr(found, "with_precision", None)):
            raise ValueError(
                f"another precision needs with_precision, {name} computes in {declared} and has none: "
                f"leave --dtype out, or offer it"
            )
        found = found.with_precision(wanted)
    return found, PRECISIONS[wanted]


def _resolve(found: Any) -> Any:
    """What stands for an object: a module's ``adapter``, where it has one."""
    return getattr(found, "adapter", found) if isinstance(found, ModuleType) else found


def _from_module(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: a user's own package lies in the current folder
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit, GeneratorExit) as error:
        raise ValueError(_explain_failure(name, error)) from None


def _from_file(path: str) -> ModuleType:
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"an implementation's file exists, got {path}: check the path")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"an implementation's file is Python, got {path}: check the path")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent.resolve()))  # as running the file would: its neighbours import
    known = sys.modules.setdefault(file.stem, module)  # dataclasses look for their module there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit, GeneratorExit) as error:
        if known is module:
            del sys.modules[file.stem]
        raise ValueError(_explain_failure(path, error)) from None
    return module


def _explain_failure(name: str, error: BaseException) -> str:
    reason = read_reason(error)
    return (
        f"an implementation is importable, {name} raised {type(error).__name__}: {reason}: "
        "check the name and what it imports"
    )
