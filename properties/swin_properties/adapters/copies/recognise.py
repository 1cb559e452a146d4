"""Recognises a copy: tries the ways in which its classes may compute each callable, and writes its adapter."""

from __future__ import annotations

import inspect
import linecache
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from inspect import Parameter
from types import ModuleType
from typing import Any

import numpy as np
from swin_reference.config import CONVENTIONS
from swin_weights.layout_names import is_v2
from torch import nn

from swin_properties.adapters.answers import Declined, read_reason
from swin_properties.adapters.contract import (
    CONTRACT,
    V2_NAMES,
    Swin,
    list_parameters,
    result_shape,
)
from swin_properties.adapters.copies import base
from swin_properties.adapters.copies.base import CopyAdapter
from swin_properties.adapters.copies.parts import CLASSES, FUNCTIONS, SURE, Parts, find_parts
from swin_properties.adapters.copies.signatures import NotUnderstood, fit_forward, takes
from swin_properties.adapters.copies.templates import V1, Candidate, Copied, bias_table
from swin_properties.adapters.peers.base import NoSingleTokens
from swin_properties.cases.case import Case, GridCase, NetCase
from swin_properties.cases.case_v2 import with_v2

RECTANGLES = with_v2(
    {
        GridCase: GridCase(grid=(8, 12), window=(4, 2), shift=(2, 1), heads=2, head_dim=4),
        NetCase: NetCase(
            image=(32, 64), patch=(2, 4), window=(4, 2), depths=(2, 1), heads=(2, 4), embed_dim=8, classes=5
        ),
    }
)
"""The sizes of the first trial: windows and grids with sides of their own."""

SQUARE_WINDOWS = with_v2(
    {
        GridCase: GridCase(grid=(8, 12), window=(4, 4), shift=(2, 2), heads=2, head_dim=4),
        NetCase: NetCase(
            image=(32, 64), patch=(2, 2), window=(4, 4), depths=(2, 1), heads=(2, 4), embed_dim=8, classes=5
        ),
    }
)
SQUARES = with_v2(
    {
        GridCase: GridCase(grid=(8, 8), window=(4, 4), shift=(2, 2), heads=2, head_dim=4),
        NetCase: NetCase(
            image=(32, 32), patch=(2, 2), window=(4, 4), depths=(2, 1), heads=(2, 4), embed_dim=8, classes=5
        ),
    }
)

TRIALS: tuple[tuple[dict[type[Case], Any], dict[str, Any]], ...] = (
    (RECTANGLES, {}),
    (SQUARE_WINDOWS, {"square_windows": True}),
    (SQUARES, {"square_windows": True, "square_grids": True}),
)
"""The sizes that are tried, one after the other, and the scope of what takes only those."""

ADAPTER_FILE = "<adapter of "
"""What begins the name that a traceback gives the code of a written adapter."""

HEADER = '''"""{title}

It was written by `swin-oracle adapter {name}`. Change it where your code differs, and judge it:
swin-oracle check THIS_FILE. docs/callables.md has the contract of each callable.
"""

from swin_properties.adapters.copies.base import {imports}
from swin_properties.adapters.load import open_classes

swin = open_classes({name!r})


class Copy({bases}):
'''


@dataclass
class Recognised:
    """The adapter of a copy, how it calls each callable, and what was not understood, with the reason."""

    name: str
    version: int
    methods: dict[str, tuple[str, Candidate]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    scope: dict[str, Any] = field(default_factory=dict)
    style: str = ""
    single_tokens: bool = True

    def write_class(self) -> str:
        """Returns the class of the adapter, as Python."""
        lines = [f"    scope = {self.scope!r}", f"    style_convention = {self.style!r}", ""]
        for name, (parameters, candidate) in self.methods.items():
            lines += [f"    def {name}(self, {parameters}):"]
            lines += textwrap.indent(candidate.body, " " * 8).splitlines() + [""]
        return "\n".join(lines).rstrip() + "\n"

    def write_file(self) -> str:
        """Returns the whole file of the adapter, with the contract of each callable in its comments."""
        body = self.write_class()
        for name in self.methods:
            entry = CONTRACT[name]
            says = str(getattr(Swin, name).__doc__).partition("\n")[0]
            contract = [says, f"takes: {entry.takes}" if entry.takes else "", f"gives: {entry.gives}"]
            comment = "".join(f"    # {line}\n" for line in contract if line)
            body = body.replace(f"    def {name}(self", f"{comment}    def {name}(self")
        for name, reason in self.refused.items():
            body += f"\n    # {name} is not offered: {reason}\n"
        names = [name for name in base.__all__ if re.search(rf"\b{name}\b", body)] + ["CopyAdapter"]
        bases = "CopyAdapter" if self.single_tokens else "NoSingleTokens, CopyAdapter"
        text = HEADER.format(
            title=f"The adapter of {self.name}, which has the classes of Swin V{self.version}.",
            name=self.name,
            imports=", ".join(sorted({*names, *bases.split(", ")})),
            bases=bases,
        )
        return f"{text}{body}\n\nadapter = Copy(swin, {self.name!r})\n"

    def describe(self, parts: Parts) -> tuple[str, ...]:
        """Returns what a report says first."""
        of = f"Swin V{self.version}" + (f", in the style of {self.style}" if self.style else "")
        found = [
            f"{self.name} is judged as a copy ({of}): its own classes and functions get tensors; found "
            f"{parts.lists()}"
        ]
        found += [f"{name}: {shorten_call(candidate.how)}" for name, (_, candidate) in self.methods.items()]
        found += [f"{name} is not offered: {reason}" for name, reason in self.refused.items()]
        return tuple(found)


def shorten_call(how: str) -> str:
    """Returns how something is called, as a reader of the copy writes it.

    >>> shorten_call("self.made(swin.Mlp, in_features=8)(x)")
    'Mlp(in_features=8)(x)'
    """
    return re.sub(r"\bswin\.", "", re.sub(r"self\.made\(swin\.(\w+), ", r"\1(", how))


def recognise(module: ModuleType, name: str, network: type | None = None) -> tuple[Recognised, Parts] | None:
    """Returns what a module is as a copy, and its classes; None if it has no classes of a Swin."""
    parts = find_parts(module, network)
    if not parts.is_copy and not (network is not None and parts.classes):
        return None
    version = find_version(parts)
    copied = Copied(parts, version)
    found = Recognised(name, version)
    found.style = find_style(copied)
    for v1_name, candidates in list_ways(version):
        callable_ = V2_NAMES.get(v1_name, v1_name) if version == 2 else v1_name
        if v1_name in FUNCTIONS and v1_name not in parts.functions:
            found.refused[callable_] = "there is no function of this name"
            continue
        try:
            ways = list(candidates(copied))
        except NotUnderstood as reason:
            found.refused[callable_] = str(reason)
            continue
        try_ways(found, parts, callable_, ways)
    read_scope(found, copied)
    return found, parts


def list_ways(version: int) -> Iterator[tuple[str, Callable[[Copied], Iterator[Candidate]]]]:
    """Yields each callable, by its name in V1, and the ways to compute it."""
    yield from V1.items()
    if version == 2:
        yield "continuous_position_bias_table", bias_table


def make_adapter(found: Recognised, parts: Parts) -> CopyAdapter:
    """Returns the adapter that was recognised."""
    adapter: CopyAdapter = compile_class(found, parts)(parts.space, found.name)
    adapter.recognised = found.describe(parts)
    return adapter


def compile_class(found: Recognised, parts: Parts) -> type[CopyAdapter]:
    """Returns the class of the adapter, compiled; a traceback shows its lines."""
    bases = "CopyAdapter" if found.single_tokens else "NoSingleTokens, CopyAdapter"
    source = f"class Copy({bases}):\n{found.write_class()}"
    file = f"{ADAPTER_FILE}{found.name}, {hash(source)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space: dict[str, Any] = {name: getattr(base, name) for name in base.__all__}
    space |= {"swin": parts.space, "NoSingleTokens": NoSingleTokens, "__name__": __name__}
    exec(compile(source, file, "exec"), space)
    made: type[CopyAdapter] = space["Copy"]
    return made


def try_ways(found: Recognised, parts: Parts, name: str, ways: list[Candidate]) -> None:
    """Finds the first way that gives what the callable has to give, else one that gives anything.

    Where none runs, the reason is that of the way that came farthest.
    """
    runs: list[tuple[Candidate, dict[str, Any]]] = []
    farthest, reason = (-2, False), "no way to it is known"
    for cases, scope in TRIALS:
        for way in ways:
            outcome = try_way(found, parts, name, way, cases)
            if outcome.fits:
                accept(found, name, way, scope)
                return
            if not outcome.reason:
                runs.append((way, scope))
            elif outcome.rank > farthest:
                farthest, reason = outcome.rank, outcome.reason
    if runs:
        accept(found, name, *runs[0])  # its shape is wrong, which a law will say
    else:
        found.refused[name] = reason


@dataclass(frozen=True)
class Outcome:
    """Why a way does not run, empty if it does; at which line it stopped; whether its result has the right shape."""

    reason: str = ""
    line: int = 0
    fits: bool = False

    @property
    def rank(self) -> tuple[int, bool]:
        """How much the reason tells: where it stopped, and whether it is about more than the form of a size."""
        return self.line, not re.search(r"'(tuple|list)'|values to unpack|subscriptable", self.reason)


def accept(found: Recognised, name: str, way: Candidate, scope: dict[str, Any]) -> None:
    """Takes a way, and the scope of what it takes."""
    found.methods[name] = (write_parameters(name, way), way)
    found.scope |= scope


def write_parameters(name: str, way: Candidate) -> str:
    """Returns the parameters of a callable: of those that may be left out, the ones that its body uses."""
    words = [
        p.replace(annotation=Parameter.empty)
        for p in list_parameters(name)
        if p.default is p.empty or re.search(rf"\b{p.name}\b", way.body)
    ]
    return ", ".join(map(str, words))


def try_way(found: Recognised, parts: Parts, name: str, way: Candidate, cases: dict[type[Case], Any]) -> Outcome:
    """Returns what came of a way on a case."""
    arguments = CONTRACT[name].arguments(cases[CONTRACT[name].kind])
    methods = dict(found.methods) | {name: (write_parameters(name, way), way)}
    adapter = compile_class(replace(found, methods=methods), parts)(parts.space, found.name)
    try:
        result = getattr(adapter, name)(*to_float32(arguments))
    except Declined as declined:
        return Outcome(str(declined), -1)
    except (Exception, SystemExit) as error:
        return Outcome(f"{type(error).__name__}: {read_reason(error)}", find_line(error))
    shape = result_shape(name, arguments, CONVENTIONS["canonical"])
    if isinstance(shape, list):
        if not isinstance(result, list) or not result:
            return Outcome("it gives no maps", sys.maxsize)
        return Outcome(fits=[np.shape(x) for x in result] == [tuple(one) for one in shape])
    if not isinstance(result, np.ndarray):
        return Outcome(f"it gives a {type(result).__name__}", sys.maxsize)
    return Outcome(fits=result.shape == tuple(shape))


def find_line(error: BaseException) -> int:
    """Returns the line of the adapter in which an exception was raised."""
    lines = [
        frame.lineno or 0
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(ADAPTER_FILE)
    ]
    return lines[-1] if lines else 0


def to_float32(value: Any) -> Any:
    """Returns arguments as an adapter in float32 is given them."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32) if value.dtype.kind == "f" else value
    if isinstance(value, dict):
        return {key: to_float32(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "depths"):
        return type(value)(to_float32(child) for child in value)
    return value


def find_version(parts: Parts) -> int:
    """Returns the version of Swin: that of the names in the code of an attention or a block."""
    names = [
        word
        for part in ("attention", "block", "network")
        if (kind := parts.classes.get(part)) is not None
        for word in list_words(kind)
    ]
    return 2 if is_v2(names) else 1


def list_words(kind: type) -> set[str]:
    """Returns the names that the methods of a class use."""
    words: set[str] = set()
    for one in kind.__mro__:
        if one.__module__.partition(".")[0] == "torch":
            continue
        for value in vars(one).values():
            if (code := getattr(value, "__code__", None)) is not None:
                words |= {*code.co_names, *(x for x in code.co_consts if isinstance(x, str))}
    return words


def find_style(copied: Copied) -> str:
    """Returns the convention of the code that this has the form of; empty where it has none of them."""
    classes, second = copied.parts.classes, "-v2" if copied.version == 2 else ""
    if "config" in classes:
        return f"transformers{second}"
    if "attention" in classes and takes(classes["attention"], "shift_size"):
        return f"torchvision{second}"
    if "stage" in classes and takes(classes["stage"], "out_dim"):
        return f"timm{second}"
    if "block" in classes and takes(classes["block"], "input_resolution"):
        return f"official{second}"
    if "stage" in classes:
        try:
            if "H" in fit_forward(classes["stage"]) and not second:
                return "detection"
        except NotUnderstood:
            return ""
    return ""


def read_scope(found: Recognised, copied: Copied) -> None:
    """Adds to the scope what the classes do not take."""
    classes = copied.parts.classes
    used = [classes[part] for part in ("attention", "block", "network") if part in classes]
    if copied.version == 2 or any(not takes(kind, "qk_scale") for kind in used):
        found.scope["no_qk_scale"] = True
    network = classes.get("network")
    if network is not None and not takes(network, "ape") and not takes(network, "config"):
        found.scope["no_position_embedding"] = True
    if any(takes(kind, "config") for kind in used) or (
        network is not None and not takes(network, "patch_norm")
    ):
        found.scope["patch_norm"] = "always"
    if any(not takes(kind, "qkv_bias") and not takes(kind, "config") for kind in used):
        found.scope["qkv_bias"] = "always"
    if drops_shift(found, copied):
        found.scope["own_shift"] = True


def drops_shift(found: Recognised, copied: Copied) -> bool:
    """Tells whether a block drops its shift itself where one window spans the grid."""
    name = "swin_v2_block" if copied.version == 2 else "swin_block"
    if name not in found.methods:
        return False
    kind = CONTRACT[name].kind
    case = replace(SQUARES[kind], grid=(4, 4))
    adapter = compile_class(found, copied.parts)(copied.parts.space, found.name)
    x, params, heads, window, shift = to_float32(CONTRACT[name].arguments(case)[:5])
    try:
        gave = [getattr(adapter, name)(x, params, heads, window, one) for one in (shift, (0, 0))]
    except (Exception, SystemExit):
        return False
    return bool(np.array_equal(*gave))


def open_parts(module: ModuleType, found: Any, name: str) -> Parts:
    """Returns the classes of the copy that an import string names.

    Errors: ``ValueError`` where they are not those of a Swin.
    """
    parts = find_parts(module, find_network(found))
    if not parts.is_copy:
        had = parts.lists() or "none of them"
        names = ", ".join(names[0] for part, names in CLASSES.items() if part in SURE)
        raise ValueError(
            f"a copy has two or more classes with the names of a public Swin, such as {names}; {name} has {had}: "
            "write an adapter, which docs/judge-a-pytorch-module.md explains"
        )
    return parts


def open_copy(found: Any, name: str, module: ModuleType | None) -> CopyAdapter | None:
    """Returns the adapter of a copy: of a module, or of the class of a network; None for anything else."""
    home = found if isinstance(found, ModuleType) else module
    if home is None:
        home = sys.modules.get(getattr(find_network(found), "__module__", ""))
    if home is None or not (isinstance(found, ModuleType) or find_network(found) is not None):
        return None
    known = recognise(home, name, find_network(found))
    return None if known is None else make_adapter(*known)


def find_network(found: Any) -> type | None:
    """Returns the class of a network: the object itself, if it is one."""
    return found if inspect.isclass(found) and issubclass(found, nn.Module) else None
