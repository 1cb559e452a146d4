"""Finding the implementation that an import string names."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import BadZipFile, ZipFile

from swin_properties.adapters import exports, peers
from swin_properties.adapters.answers import read_reason
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.scope import read_scope
from swin_properties.budget.precision import PRECISIONS, Precision

DEVICES = ("cpu", "cuda", "mps")
"""The devices that torch adapters compute on."""

KINDS = ("adapter", "copy")
"""What code may be taken for: ``--as``."""

CHECKPOINTS = (".pth", ".safetensors", ".bin", ".npz", ".ckpt", ".pkl")
"""The ends of the names of files that hold weights and no program."""

PIP_NAMES = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "mmcv": "mmcv-lite",
    "mmseg": "mmsegmentation",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""What ``pip install`` calls a package that is imported by another name."""


def load(name: str) -> Any:
    """The object that ``module``, ``module:attribute``, ``file.py`` or ``file.py:attribute`` names.

    A module with an attribute ``adapter`` stands for that; one with the classes of a public Swin is a copy,
    for which an adapter is made; else its functions are the adapter, also where one of them has the name of a
    callable and takes ``params``.  An nn.Module, or a class or function
    that makes one, is a copy as well.  ``?as=adapter`` or ``?as=copy`` behind the name overrules.
    ``peer:NAME`` is a public implementation, and ``model.onnx``, ``model.pt2`` or a TorchScript file an
    exported model.

    Errors: ``ValueError`` in one sentence when it does not load.
    """
    name, kind = split_kind(name)
    if exports.is_export(name):
        refuse_checkpoint(name.partition("?")[0])
        return exports.find(name)
    if name.startswith("peer:"):
        return peers.find(name.partition(":")[2])
    module, found = open_named(name)
    return _resolve(found, name, kind, module)


def open_named(name: str) -> tuple[ModuleType, Any]:
    """The module that ``module``, ``file.py`` or either with ``:attribute`` names, and what it names itself.

    Errors: ``ValueError`` in one sentence when it does not load.
    """
    source, _, attribute = name.partition(":")
    if not source:
        raise ValueError(
            f"an implementation is a module, module:attribute or file.py, got {name!r}: name one"
        )
    refuse_checkpoint(source)
    module = _from_file(source) if source.endswith(".py") else _from_module(source)
    found: Any = module
    for part in filter(None, attribute.split(".")):
        if not hasattr(found, part):
            raise ValueError(
                f"an implementation is an attribute that exists, {source} has no {attribute!r}: "
                "correct the name after the colon"
            )
        found = getattr(found, part)
    return module, found


def refuse_checkpoint(path: str) -> None:
    """Checks that a file is not one of weights, by the end of its name or because there is no code in it.

    Errors: ``ValueError`` for a file of weights, with the commands that take it.
    """
    if not os.path.isfile(path):  # Path.is_file raises an error for some paths
        return
    if path.endswith(CHECKPOINTS) or (path.endswith(exports.TORCH) and _holds_weights_alone(path)):
        raise ValueError(
            f"an implementation is code, {path} holds weights and no code: `predict` and `locate` take it as "
            "--checkpoint, and swin_weights.load reads it"
        )


def _holds_weights_alone(path: str) -> bool:
    """Tells whether a file is an archive that torch saved without a program."""
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except (BadZipFile, OSError):  # what opens it says what is wrong
        return False
    return any(name.endswith("data.pkl") for name in names) and not any("/code/" in name for name in names)


def split_kind(name: str) -> tuple[str, str]:
    """Returns an import string without ``?as=KIND``, and the kind; empty where it is not said.

    Errors: ``ValueError`` for another kind, and for what is no Python code: a peer, an exported file.

    >>> split_kind("mine.py?as=copy"), split_kind("mine.py:adapter")
    (('mine.py', 'copy'), ('mine.py:adapter', ''))
    """
    plain, mark, kind = name.rpartition("?as=")
    if not mark:
        return name, ""
    is_peer = plain.startswith("peer:")
    if is_peer or exports.is_export(plain):
        raise ValueError(
            f"--as says how Python code is taken, {plain} is {'a peer' if is_peer else 'an exported file'}: "
            "leave it out"
        )
    if kind not in KINDS:
        raise ValueError(f"code is taken for one of {', '.join(KINDS)}, got {kind!r}: use one of these")
    return plain, kind


def open_classes(name: str) -> Any:
    """The classes and functions of the copy that an import string names, as attributes.

    Errors: ``ValueError`` in one sentence when it does not load, or has no classes of a Swin.
    """
    return import_copies().open_parts(*open_named(split_kind(name)[0]), name).space


def write_adapter(name: str) -> str:
    """The adapter of the copy that an import string names, as Python.

    Errors: ``ValueError`` in one sentence where nothing is recognised.
    """
    if exports.is_export(name) or name.startswith("peer:"):
        raise ValueError(
            f"an adapter is written for a copy, {name} is judged without one: use `swin-oracle check`"
        )
    plain = split_kind(name)[0]
    text: str = import_copies().write_adapter(*open_named(plain), plain)
    return text


def import_copies() -> Any:
    """The module that opens copies; it needs torch.

    Errors: ``ValueError`` where torch is not installed.
    """
    try:
        return importlib.import_module("swin_properties.adapters.copies.opening")
    except ImportError as error:
        raise ValueError(f"a copy is judged with torch, {error}: pip install torch") from None


def describe_kind(name: str, found: Any) -> tuple[str, ...]:
    """Returns what a report says first of an implementation: what it was taken for, and how it is called.

    Nothing where there is no choice: of a peer, an exported file, a program.
    """
    if said := getattr(found, "recognised", ()):
        return tuple(said)
    if exports.is_export(name) or name.startswith(("peer:", "<")) or hasattr(found, "launch"):
        return ()
    name = split_kind(name)[0]
    found = getattr(found, "given_pairs", found)
    own = "its functions get" if isinstance(found, ModuleType) else f"its {type(found).__name__} gets"
    return (f"{name} is judged as an adapter: {own} NumPy arrays",)


def find_name(implementation: Any) -> str:
    """The import string of an object, where it has one; an import string is its own.

    >>> find_name("mine.py:adapter"), find_name(sys), find_name(find_name), find_name({})
    ('mine.py:adapter', 'sys', 'swin_properties.adapters.load:find_name', '<dict object>')
    """
    if isinstance(implementation, str):
        return implementation
    if isinstance(implementation, ModuleType):
        return implementation.__name__
    if isinstance(implementation, (list, tuple)):
        return " ".join(map(str, implementation))
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
    if exports.is_export(name) or name.startswith("peer:"):
        return None
    name, kind = split_kind(name)
    _, found = open_named(name)
    if find_torch() is None or kind == "adapter":
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
    found = load(implementation) if isinstance(implementation, str) else _resolve(implementation, name)
    if not offers_any(found):
        raise ValueError(
            f"an implementation offers at least one callable of the adapter, {name} offers none: "
            f"give it one named {', '.join(CONTRACT)}, or name a file with the classes of a public Swin"
        )
    read_scope(getattr(found, "scope", None))
    return set_precision(set_device(found, device, name), dtype, name)


def set_device(found: Any, device: str | None, name: str) -> Any:
    """Returns the implementation, by name, on the device asked for; None for its own.

    Errors: ``ValueError`` for a device that is not there, or an implementation without ``with_device``.
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


def _resolve(found: Any, name: str, kind: str = "", module: ModuleType | None = None) -> Any:
    """What stands for an object: a module's ``adapter``, or the adapter of a copy, or the object itself."""
    is_module = isinstance(found, ModuleType)
    if kind != "copy":
        if is_module and hasattr(found, "adapter"):
            return found.adapter
        torch = find_torch()
        if kind == "adapter" or torch is None:
            return found
        if is_module and takes_params(found):
            return found
        is_network = isinstance(found, torch.nn.Module)
        if offers_any(found) and not is_module and not is_network:
            return found
    copies = import_copies()
    if (copy := copies.open_copy(found, name, module)) is not None:
        return copy
    if kind == "copy":
        copies.refuse_copy(found, name, module)
    return found


def find_torch() -> Any:
    """Returns torch where some code has loaded it; else None: then nothing is a copy or a network."""
    return sys.modules.get("torch")


def takes_params(module: ModuleType) -> bool:
    """Tells whether a module has a callable of the contract that takes ``params``, which no copy has."""
    functions = [vars(module).get(name) for name in CONTRACT]
    return any(inspect.isfunction(one) and "params" in inspect.signature(one).parameters for one in functions)


def offers_any(found: Any) -> bool:
    """Tells whether an object has a callable of the contract."""
    return any(callable(getattr(found, callable_, None)) for callable_ in CONTRACT)


def _from_module(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: a user's own package lies in the current folder
    try:
        return _retry(lambda: importlib.import_module(name), [])
    except (Exception, SystemExit, GeneratorExit) as error:
        raise ValueError(_explain_failure(name, error, name)) from None


def _from_file(path: str) -> ModuleType:
    file = Path(path)
    if not os.path.isfile(path):
        raise ValueError(f"an implementation's file exists, got {path}: check the path")
    folders = list(file.resolve().parents)[:4]
    sys.path.insert(0, str(folders[0]))  # as running the file would: its neighbours import
    run = partial(_import_in_package if _imports_neighbours(file) else _execute, file.resolve())
    try:
        return _retry(run, folders)
    except (Exception, SystemExit, GeneratorExit) as error:
        raise ValueError(_explain_failure(path, error, "")) from None


def _imports_neighbours(file: Path) -> bool:
    """Tells whether a file has relative imports, so that it is imported as a part of its package."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return False  # running it says what is wrong
    return any(isinstance(node, ast.ImportFrom) and node.level > 0 for node in ast.walk(tree))


def _execute(file: Path) -> ModuleType:
    """Runs a file as a module with its own name."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"an implementation's file is Python, got {file}: check the path")
    module = importlib.util.module_from_spec(spec)
    known = sys.modules.setdefault(file.stem, module)  # dataclasses look for their module there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if known is module:
            sys.modules.pop(file.stem, None)
        raise
    return module


def _import_in_package(file: Path) -> ModuleType:
    """Imports a file as a module of its package: the folders above it with an ``__init__``, one at least."""
    names, folder = [file.stem, file.parent.name], file.parent
    while (folder / "__init__.py").is_file() and (folder.parent / "__init__.py").is_file():
        folder = folder.parent
        names.append(folder.name)
    sys.path.insert(0, str(folder.parent))
    name = ".".join(reversed(names))
    module = importlib.import_module(name)
    if Path(str(module.__file__)).resolve() != file:
        raise ImportError(
            f"another package that is imported already is called {names[-1]}, so that {name} is not this file"
        )
    return module


def _retry(run: Callable[[], ModuleType], folders: list[Path]) -> ModuleType:
    """Runs an import; a module that is missing and lies in one of the folders is put on the search path."""
    for _ in range(len(folders) + 1):
        try:
            return run()
        except ModuleNotFoundError as error:
            first = str(error.name).partition(".")[0]
            places = [one for one in folders if (one / first).is_dir() or (one / f"{first}.py").is_file()]
            if not places or str(places[0]) in sys.path:
                raise
            sys.path.insert(0, str(places[0]))
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
            importlib.import_module("swin_properties.adapters.peers.base").vision_operators()
    return run()


def _explain_failure(name: str, error: BaseException, asked: str) -> str:
    """Returns why an import failed: a package that is missing is named with its pip line."""
    missing = str(getattr(error, "name", None) or "")
    if isinstance(error, ModuleNotFoundError) and missing and not f"{asked}.".startswith(f"{missing}."):
        package = missing.partition(".")[0]
        if package in sys.modules or importlib.util.find_spec(package) is not None:
            return (
                f"{name} imports {missing}, which the installed "
                f"{package} does not have: install the version that it was written for"
            )
        return (
            f"{name} imports {missing}, which is not installed: pip install "
            f"{PIP_NAMES.get(package, package)}, or put its folder on PYTHONPATH if it is no public package"
        )
    reason = read_reason(error)
    return (
        f"an implementation is importable, {name} raised {type(error).__name__}: {reason}: "
        "check the name and what it imports"
    )
