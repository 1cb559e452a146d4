"""Recognises a copy: tries how its classes may compute each callable, and writes its adapter."""

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
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
from swin_reference.config import CONVENTIONS
from swin_reference.config_v2 import SwinV2Config
from swin_reference.sizes import pair
from swin_weights import understand
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
from swin_properties.adapters.copies.signatures import NotUnderstood, fit_forward, list_words, takes
from swin_properties.adapters.copies.templates import V1, Candidate, Copied, bias_table
from swin_properties.adapters.exports.implementation import choose_images, describe_sizes
from swin_properties.adapters.load import offers_any
from swin_properties.adapters.modules import make_module
from swin_properties.adapters.peers.base import NoSingleTokens
from swin_properties.cases.case import Case, GridCase, NetCase, write_value
from swin_properties.cases.case_v2 import GridV2Case, NetV2Case, with_v2

RECTANGLES: dict[type[Case], Any] = with_v2(
    {
        GridCase: GridCase(grid=(8, 12), window=(4, 2), shift=(2, 1), heads=2, head_dim=4),
        NetCase: NetCase(
            image=(32, 64), patch=(2, 4), window=(4, 2), depths=(2, 1), heads=(2, 4), embed_dim=8, classes=5
        ),
    }
)
"""The sizes of the first trial: windows and grids with sides of their own."""

SQUARE_WINDOWS: dict[type[Case], Any] = with_v2(
    {
        GridCase: GridCase(grid=(8, 12), window=(4, 4), shift=(2, 2), heads=2, head_dim=4),
        NetCase: NetCase(
            image=(32, 64), patch=(2, 2), window=(4, 4), depths=(2, 1), heads=(2, 4), embed_dim=8, classes=5
        ),
    }
)
SQUARES: dict[type[Case], Any] = with_v2(
    {
        GridCase: GridCase(grid=(8, 8), window=(4, 4), shift=(2, 2), heads=2, head_dim=4),
        NetCase: NetCase(
            image=(32, 32), patch=(2, 2), window=(4, 4), depths=(2, 1), heads=(2, 4), embed_dim=8, classes=5
        ),
    }
)

Trials = tuple[tuple[dict[type[Case], Any], dict[str, Any]], ...]

TRIALS: Trials = (
    (RECTANGLES, {}),
    (SQUARE_WINDOWS, {"square_windows": True}),
    (SQUARES, {"square_windows": True, "square_grids": True}),
)
"""The sizes that are tried, one after the other, and the scope of what takes only those."""

LONGEST_LINE = 110
"""The longest line of a written adapter that is not wrapped."""

ADAPTER_FILE = "<adapter of "
"""What begins the name that a traceback gives the code of a written adapter."""

HEADER = '''"""{title}

It was written by `swin-oracle adapter {name}`. Change it where your code differs, and judge it:
swin-oracle check THIS_FILE. docs/callables.md has the contract of each callable.
"""

from swin_properties.adapters.copies.base import (
{imports})
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
    style_convention: str = ""
    """The convention of its style, with what it takes that this rejects."""
    single_tokens: bool = True
    notes: list[str] = field(default_factory=list)

    @property
    def bases(self) -> str:
        """The classes that the adapter derives from, as Python."""
        return "CopyAdapter" if self.single_tokens else "NoSingleTokens, CopyAdapter"

    def write_class(self) -> str:
        """Returns the class of the adapter, as Python."""
        lines = [f"    scope = {self.scope!r}", f"    style_convention = {self.style_convention!r}", ""]
        for name, (parameters, candidate) in self.methods.items():
            lines += [f"    def {name}(self, {parameters}):"]
            lines += [*textwrap.indent(candidate.body, " " * 8).splitlines(), ""]
        return "\n".join(lines).rstrip() + "\n"

    def write_file(self, name: str) -> str:
        """Returns the whole file of the adapter, with the contract of each callable in its comments.

        ``name`` is the import string of the copy from anywhere.
        """
        body = self.write_class()
        for callable_ in self.methods:
            entry = CONTRACT[callable_]
            says = str(getattr(Swin, callable_).__doc__).partition("\n")[0]
            contract = [says, f"takes: {entry.takes}" if entry.takes else "", f"gives: {entry.gives}"]
            comment = "".join(f"    # {line}\n" for line in contract if line)
            body = body.replace(f"    def {callable_}(self", f"{comment}    def {callable_}(self")
        body = "\n".join(wrap_call(line) for line in body.splitlines()) + "\n"
        for callable_, reason in self.refused.items():
            body += f"\n    # {callable_} is not offered: {reason}\n"
        names = [one for one in base.__all__ if re.search(rf"\b{one}\b", body)]
        text = HEADER.format(
            title=f"The adapter of {self.name}, which has the classes of Swin V{self.version}.",
            name=name,
            imports="".join(f"    {one},\n" for one in sorted({*names, *self.bases.split(", ")})),
            bases=self.bases,
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
        found += self.notes
        return tuple(found)


def wrap_call(line: str) -> str:
    """Returns a line of Python that makes a module, with its arguments on lines of their own if it is long.

    >>> wrap_call("x = made(a, b)")
    'x = made(a, b)'
    """
    start = line.find("self.made(")
    if len(line) <= LONGEST_LINE or start < 0:
        return line
    start += len("self.made(")
    depth, parts, begin = 0, [], start
    for place in range(start, len(line)):
        depth += (line[place] in "([{") - (line[place] in ")]}")
        if depth < 0 or (depth == 0 and line[place] == ","):
            parts.append(line[begin:place].strip())
            begin = place + 1
        if depth < 0:
            break
    indent = " " * (len(line) - len(line.lstrip()))
    lines = [f"{indent}   "]
    for part in parts:
        if len(lines[-1]) + len(part) > LONGEST_LINE - 2:
            lines.append(f"{indent}   ")
        lines[-1] += f" {part},"
    return "\n".join([line[:start], *lines, indent + line[begin - 1 :]])


def shorten_call(how: str) -> str:
    """Returns how something is called, as a reader of the copy writes it.

    >>> shorten_call("self.made(swin.Mlp, in_features=8)(x)")
    'Mlp(in_features=8)(x)'
    """
    return re.sub(r"\bswin\.", "", re.sub(r"self\.made\(swin\.(\w+), ", r"\1(", how))


def recognise(module: ModuleType, name: str, given: Any = None) -> tuple[Recognised, Parts] | None:
    """Returns what a module is as a copy, and its classes; None if it has no classes of a Swin.

    ``given`` is the class of the network, or the network itself, if it was named.

    Errors: ``ValueError`` for a network whose weights have names of their own.
    """
    network = given if isinstance(given, nn.Module) else None
    parts = find_parts(module, given if network is None else type(network))
    parts.network = parts.space.network = network
    if not parts.is_copy and given is None:
        return None
    copied = Copied(parts, find_version(parts))
    found = Recognised(name, copied.version, style=find_style(copied))
    own_case = None if network is None else read_sizes(found, network)
    for v1_name, candidates in list_ways(copied.version):
        callable_ = V2_NAMES.get(v1_name, v1_name) if copied.version == 2 else v1_name
        if v1_name in FUNCTIONS and v1_name not in parts.functions:
            found.refused[callable_] = "there is no function of this name"
            continue
        try:
            ways = list(candidates(copied))
        except NotUnderstood as reason:
            found.refused[callable_] = str(reason)
            continue
        is_network = own_case is not None and v1_name in ("swin_features", "swin_transformer")
        trials = (({CONTRACT[callable_].kind: own_case}, {}),) if is_network else TRIALS
        try_ways(found, parts, callable_, ways, trials)
    read_scope(found, copied)
    found.style_convention = refine_style(found, parts)
    found.single_tokens = copied.version == 1 or takes_single_tokens(found, parts)
    return found, parts


def read_sizes(found: Recognised, network: nn.Module) -> NetCase:
    """Returns the case of a network that is given, of its own sizes, and states them as the scope.

    Errors: ``ValueError`` in one sentence where they are not known from its weights.
    """
    state = {key: x.detach().cpu().float().numpy() for key, x in network.state_dict().items()}
    image = find_image_size(network)
    known = {} if image is None else {"image_size": image}
    try:
        checkpoint = understand(state, found.name, **known)
    except ValueError as error:
        raise ValueError(
            f"a network that is given names its weights as a public Swin does, this one does not: {error}: "
            "write an adapter, with names= in TorchAdapter.loaded"
        ) from None
    config = checkpoint.config
    sizes = describe_sizes(config, checkpoint.weights)
    found.version = 2 if isinstance(config, SwinV2Config) else 1
    found.scope["network"] = ",".join(f"{word}={write_value(value)}" for word, value in sizes.items())
    fixed = pair(image) if image is not None else (None, None)
    found.scope["image_sizes"] = images = choose_images(fixed, sizes)
    found.scope["no_qk_scale"] = True
    kind = NetV2Case if found.version == 2 else NetCase
    return replace(kind.parse(found.scope["network"].replace(",", " ")), image=images[0])


def find_image_size(network: Any) -> Any:
    """Returns the size of the images for which a network was built; None where it keeps none."""
    for owner in (network, getattr(network, "patch_embed", None), getattr(network, "config", None)):
        for word in ("img_size", "image_size"):
            size = getattr(owner, word, None)
            if isinstance(size, int) or (isinstance(size, (tuple, list)) and len(size) == 2):
                return size if isinstance(size, int) else tuple(size)
    return None


def takes_single_tokens(found: Recognised, parts: Parts) -> bool:
    """Tells whether V2's attention takes windows one token wide: public ones give NaN."""
    square = "cosine_window_attention" not in found.methods or found.scope.get("square_windows")
    window = (1, 1) if square else (1, 4)
    case = GridV2Case(grid=(4, 4), window=window, shift=(0, 0), heads=1, head_dim=4)
    for name in ("cosine_window_attention", "shifted_cosine_window_attention", "swin_v2_block"):
        if name in found.methods:
            adapter: Any = compile_adapter(found, parts)
            try:
                gave = getattr(adapter, name)(*to_float32(CONTRACT[name].arguments(case)))
            except (Exception, SystemExit):
                return True
            return not np.isnan(gave).any()
    return True


def list_ways(version: int) -> Iterator[tuple[str, Callable[[Copied], Iterator[Candidate]]]]:
    """Yields each callable, by its name in V1, and the ways to compute it."""
    yield from V1.items()
    if version == 2:
        yield "continuous_position_bias_table", bias_table


def make_adapter(found: Recognised, parts: Parts) -> CopyAdapter:
    """Returns the adapter that was recognised."""
    adapter = compile_adapter(found, parts)
    adapter.recognised = found.describe(parts)
    return adapter


def compile_adapter(found: Recognised, parts: Parts) -> CopyAdapter:
    """Returns the adapter, compiled as far as it is recognised; a traceback shows its lines."""
    source = f"class Copy({found.bases}):\n{found.write_class()}"
    file = f"{ADAPTER_FILE}{found.name}, {hash(source)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space: dict[str, Any] = {name: getattr(base, name) for name in base.__all__}
    space |= {"swin": parts.space, "NoSingleTokens": NoSingleTokens, "__name__": __name__}
    exec(compile(source, file, "exec"), space)
    adapter: CopyAdapter = space["Copy"](parts.space, found.name)
    return adapter


def try_ways(found: Recognised, parts: Parts, name: str, ways: list[Candidate], trials: Trials) -> None:
    """Finds the first way that gives what the callable has to give, else one that gives anything.

    Where none runs, the reason is that of the way that came farthest.
    """
    runs: list[tuple[Candidate, dict[str, Any]]] = []
    shape: tuple[int, ...] = ()
    on_rectangles = (-2, False), ""
    farthest, reason = (-2, False), "no way to it is known"
    for cases, scope in trials:
        for way in ways:
            outcome = try_way(found, parts, name, way, cases)
            if outcome.fits:
                limits = dict(scope)
                if takes_pairs(way):  # it takes windows of any sides: where it raises, a law will say so
                    limits.pop("square_windows", None)
                accept(found, name, way, limits)
                if "square_grids" in limits:
                    why = f"{name} raises on others: {on_rectangles[1]}"
                    found.notes.append(f"grids with equal sides only, as {why}")
                return
            if cases is SQUARE_WINDOWS and outcome.rank > on_rectangles[0]:
                on_rectangles = outcome.rank, outcome.reason
            if not outcome.reason:
                runs.append((way, scope))
                shape = outcome.shape
            elif outcome.rank > farthest:
                farthest, reason = outcome.rank, outcome.reason
    if runs and not name.endswith("transformer"):
        accept(found, name, *runs[0])  # its shape is wrong, which a law will say
    elif runs:
        found.refused[name] = f"its network gives the shape {shape}, logits are (B, classes)"
    else:
        found.refused[name] = reason


@dataclass(frozen=True)
class Outcome:
    """Why a way does not run, empty if it does; where it stopped; whether its result has the right shape."""

    reason: str = ""
    line: int = 0
    fits: bool = False
    shape: tuple[int, ...] = ()

    @property
    def rank(self) -> tuple[int, bool]:
        """How much the reason tells: where it stopped, and whether more is wrong than the form of a size."""
        return self.line, not re.search(r"'(tuple|list)'|values to unpack|subscriptable", self.reason)


def takes_pairs(way: Candidate) -> bool:
    """Tells whether a way gives a window as a pair."""
    return not re.search(r"side\((config\.)?window_size", way.body)


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


def try_way(
    found: Recognised, parts: Parts, name: str, way: Candidate, cases: dict[type[Case], Any]
) -> Outcome:
    """Returns what came of a way on a case."""
    arguments = CONTRACT[name].arguments(cases[CONTRACT[name].kind])
    methods = dict(found.methods) | {name: (write_parameters(name, way), way)}
    adapter = compile_adapter(replace(found, methods=methods), parts)
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
    return Outcome(fits=result.shape == tuple(shape), shape=result.shape)


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


def find_style(copied: Copied) -> str:
    """Returns the convention of the code that this has the form of; empty where it has none of them."""
    classes, second = copied.parts.classes, "-v2" if copied.version == 2 else ""
    if "block" in classes and takes(classes["block"], "config"):
        return f"transformers{second}"
    if "attention" in classes and takes(classes["attention"], "shift_size"):
        return f"torchvision{second}"
    if "stage" in classes and takes(classes["stage"], "out_dim"):
        return f"timm{second}"
    if "block" in classes and takes(classes["block"], "input_resolution"):
        return f"official{second}"
    return "detection" if gets_sides(copied.parts) and not second else ""


def gets_sides(parts: Parts) -> bool:
    """Tells whether a stage is given the sides of its grid when it is called."""
    try:
        return "stage" in parts.classes and "H" in fit_forward(parts.classes["stage"])
    except NotUnderstood:
        return False


def refine_style(found: Recognised, parts: Parts) -> str:
    """Returns the convention of the style, with padding where it rejects grids and the code does not."""
    if not found.style and found.version == 2 and gets_sides(parts):
        return "canonical,shift=never,mask_value=-100"  # what detection decides, which has no name for V2
    if not found.style.startswith("official"):
        return found.style
    second, changes = found.style.endswith("v2"), ""
    for name, change in (("swin_block", "padding=pad-roll"), ("patch_merging", "grid=built-ceil")):
        callable_ = V2_NAMES[name] if second else name
        if callable_ not in found.methods:
            continue
        kind = CONTRACT[callable_].kind
        case: GridCase = replace(SQUARES[kind], grid=(5, 5))
        adapter = compile_adapter(found, parts)
        try:
            getattr(adapter, callable_)(*to_float32(CONTRACT[callable_].arguments(case)))
        except (Exception, SystemExit):
            continue
        changes += f",{change}"
    return found.style + changes


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
    case: GridCase = replace(SQUARES[kind], grid=(4, 4))
    adapter = compile_adapter(found, copied.parts)
    x, params, heads, window, shift = to_float32(CONTRACT[name].arguments(case)[:5])
    try:
        gave = [getattr(adapter, name)(x, params, heads, window, one) for one in (shift, (0, 0))]
    except (Exception, SystemExit):
        return False
    return bool(np.array_equal(*gave))


def open_parts(module: ModuleType | None, found: Any, name: str) -> Parts:
    """Returns the classes of the copy that an import string names.

    Errors: ``ValueError`` where they are not those of a Swin.
    """
    known = find_copy(found, name, module)
    if known is None:
        refuse_classes(name, Parts() if module is None else find_parts(module))
    return known[1]


def refuse_classes(name: str, parts: Parts) -> NoReturn:
    """Says which classes a copy has, and which of them some code has.

    Errors: ``ValueError``, always.
    """
    names = ", ".join(names[0] for part, names in CLASSES.items() if part in SURE)
    raise ValueError(
        f"a copy has two or more classes with the names of a public Swin, such as {names}; {name} has "
        f"{parts.lists() or 'none of them'}: write an adapter, which docs/judge-a-pytorch-module.md explains"
    )


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
