"""The adapter of a copy as Python: its text, and the class that the text makes."""

from __future__ import annotations

import linecache
import re
import textwrap
from dataclasses import dataclass, field
from typing import Any

from swin_properties.adapters.contract import (
    CONTRACT,
    Swin,
)
from swin_properties.adapters.copies import base
from swin_properties.adapters.copies.base import CopyAdapter
from swin_properties.adapters.copies.parts import Parts
from swin_properties.adapters.copies.templates import Candidate
from swin_properties.adapters.peers.base import NoSingleTokens

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


def make_adapter(found: Recognised, parts: Parts) -> CopyAdapter:
    """Returns the adapter that was recognised."""
    adapter = compile_adapter(found, parts)
    adapter.recognised = found.describe(parts)
    return adapter


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
