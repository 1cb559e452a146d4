"""The process of a Python adapter: loads it, and answers messages until its input ends.

Standard output belongs to the messages; what the implementation prints goes to standard error.  What it does
to this process, to NumPy or to the suite's modules here cannot reach the process that judges.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from swin_reference.conventions import CONVENTIONS, Convention, write_convention
from swin_timing.message import PROTOCOL, Message, find_type, receive, send
from swin_weights import flatten

from swin_properties.adapters.answers import (
    BadAnswer,
    Declined,
    Raised,
    format_traceback,
    make_plain,
    read_reason,
)
from swin_properties.adapters.calls import list_keywords, read_call
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import is_reference, takes_keyword, vjp
from swin_properties.adapters.load import DEVICES, describe_kind, load_in_precision, load_network
from swin_properties.adapters.scope import read_scope, write_scope
from swin_properties.budget.precision import PRECISIONS

Reply = tuple[dict[str, str], dict[str, Any]]


class Served:
    """An adapter that answers messages."""

    def __init__(self, name: str) -> None:
        """``name`` is its import string."""
        self.name = name
        self.adapter: Any = None
        self.is_network = False
        self.earlier: tuple[Any, bytes] | None = None

    def answer(self, message: Message) -> Reply:
        """Returns the reply to a message."""
        words = message.words
        command = words.get("cmd", "")
        if command == "start":
            words = self.start(modules=words.get("modules") == "1")
            own = getattr(self.adapter, "own_weights", None)
            return words, {f"own.{name}": x for name, x in flatten(own or {}).items()}
        if command == "with":
            return self.set(words), {}
        if command == "record":
            return self.record(message)
        if command in CONTRACT or command == "vjp":
            return self.call(command, message)
        return {"error": f"an unknown command, {command[:60]!r}"}, {}

    def start(self, modules: bool = False) -> dict[str, str]:
        """Loads the adapter, or with ``modules`` a network in its place, and says what it offers."""
        try:
            self.adapter = load_network(self.name) if modules else None
            self.is_network = self.adapter is not None
            if not self.is_network:
                self.adapter, _ = load_in_precision(self.name)
            return self.describe()
        except ValueError as error:
            return {"error": str(error)}

    def describe(self) -> dict[str, str]:
        """Returns the fields of the reply to ``start``."""
        adapter = self.adapter
        offers = [name for name in (*CONTRACT, "vjp") if callable(getattr(adapter, name, None))]
        found = {
            "protocol": PROTOCOL,
            "precision": str(getattr(adapter, "precision", "float32")),
            "offers": " ".join(offers),
            "name": str(getattr(adapter, "name", self.name)),
            "language": "python",
            "device": str(getattr(adapter, "device", "cpu")),
            "keywords": " ".join(self.list_keywords(offers)),
        }
        if callable(getattr(adapter, "with_precision", None)):
            found["precisions"] = " ".join(PRECISIONS)
        if callable(getattr(adapter, "with_convention", None)):
            found["conventions"] = " ".join(CONVENTIONS)
        if callable(getattr(adapter, "with_device", None)):
            found["devices"] = " ".join(DEVICES)
        if self.is_network:
            found |= {"offers": "", "keywords": "", "layout": str(adapter.layout)}
        if (convention := getattr(adapter, "convention", None)) is not None:
            named = isinstance(convention, Convention)
            found["convention"] = write_convention(convention) if named else str(convention)
        if is_reference(adapter):
            found["oracle"] = "1"
        if kind := describe_kind(self.name, adapter):
            found["recognised"] = "\n".join(kind)
        if style := getattr(adapter, "style_convention", ""):
            found["style_convention"] = str(style)
        for word in ("notes", "faults", "absent"):
            if said := getattr(adapter, word, ()):
                found[word] = "\n".join(said)
        if said := getattr(adapter, "mask_value", ""):
            found["mask_value"] = str(said)
        if getattr(adapter, "quantised", False) is True:
            found["quantised"] = "1"
        if scope := write_scope(read_scope(getattr(adapter, "scope", None))):
            found["scope"] = scope
        return found

    def list_keywords(self, offers: list[str]) -> list[str]:
        """Returns the optional arguments that the adapter's callables take."""
        found = []
        for keyword in list_keywords():
            name, _, argument = keyword.partition(".")
            if name in offers and takes_keyword(getattr(self.adapter, name), argument):
                found.append(keyword)
        return found

    def set(self, words: Mapping[str, str]) -> dict[str, str]:
        """Takes the adapter in another precision, under another convention, or on another device."""
        try:
            if "precision" in words:
                self.adapter = self.adapter.with_precision(words["precision"])
            if "convention" in words:
                self.adapter = self.adapter.with_convention(words["convention"])
            if "device" in words:
                self.adapter = self.adapter.with_device(words["device"])
        except Exception as error:
            return {"declined": read_reason(error)}
        return {"ok": "1", **self.describe()}

    def record(self, message: Message) -> Reply:
        """Runs a network, and returns what its blocks were given and gave."""
        start = "weights."
        weights = {key[len(start) :]: x for key, x in message.arrays.items() if key.startswith(start)}
        try:
            return {"ok": "1"}, self.adapter.record(message.arrays["images"], weights)
        except ValueError as error:
            return {"error": str(error)}, {}

    def call(self, command: str, message: Message) -> Reply:
        """Calls a callable, and says what it gave, changed and kept."""
        words = message.words
        name = words.get("of", "") if command == "vjp" else command
        if name not in CONTRACT:
            return {"error": f"vjp is of a callable, got {name[:60]!r}"}, {}
        if words.get("fresh") == "1":
            getattr(self.adapter, "fresh", lambda: None)()
        cotangents = {k: x for k, x in message.arrays.items() if k.partition(".")[0] == "cotangent"}
        arrays = {k: x for k, x in message.arrays.items() if k not in cotangents}
        args, kwargs, given = read_call(name, words, arrays)
        declines = getattr(self.adapter, "declines", None)
        if declines and (why := declines(name, *args)):
            return {"declined": str(why)}, {}
        if command == "vjp":
            parts = [np.array(cotangents[key]) for key in sorted(cotangents)]
            cotangent = parts[0] if "cotangent" in cotangents else parts
            gradients = vjp(Direct(self.adapter), name, cotangent, *args, **kwargs)
            return {"ok": "1"}, {f"grad.{self.label(key, arrays)}": g for key, g in gradients.items()}
        result = getattr(self.adapter, name)(*args, **kwargs)
        return self.describe_result(name, result, given, arrays)

    def label(self, leaf: str, arrays: Mapping[str, Any]) -> str:
        """Returns the name that the message has for an argument: parameters are in ``params``."""
        return leaf if leaf in arrays else f"params.{leaf}"

    def describe_result(self, name: str, result: Any, given: Mapping[str, Any], sent: Any) -> Reply:
        """Returns the reply to a call: its result, and which inputs and earlier results it changed."""
        found: dict[str, Any] = {}
        words = {"ok": "1"}
        if isinstance(result, (list, tuple)):
            plain = [make_plain(one, name) for one in list(result)]
            found |= {f"result.{number}": one for number, one in enumerate(plain)}
        else:
            plain = [make_plain(result, name)]
            found["result"] = plain[0]
        if plain:
            words["dtype"] = str(plain[0].dtype)
        changed = [label for label, x in given.items() if x.tobytes() != sent[label].tobytes()]
        shared = [label for label, x in given.items() if any(np.shares_memory(x, one) for one in plain)]
        found |= {f"changed.{label}": np.array(given[label], order="C") for label in changed}
        for word, labels in (("changed", changed), ("shared", shared)):
            if labels:
                words[word] = " ".join(labels)
        if self.earlier is not None:
            array, was = self.earlier
            if array.tobytes() != was:
                words["changed_result"] = "1"
                found["earlier"] = array
        self.earlier = (plain[0], plain[0].tobytes()) if len(plain) == 1 else None
        return words, {label: make_sendable(x) for label, x in found.items()}


class Direct:
    """An adapter as `vjp` asks it: by name, its results as they are."""

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter

    def raw(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Returns the arguments and the very result of a callable."""
        try:
            return args, getattr(self.adapter, name)(*args, **kwargs)
        except Declined:
            raise
        except BaseException as error:
            reason = f"{name} raised {type(error).__name__}: {read_reason(error)}"
            raise Raised(reason, format_traceback(error)) from error


def make_sendable(array: Any) -> Any:
    """Returns an array that a message holds: floats of more than 64 bits are rounded to 64."""
    try:
        find_type(array.dtype)
    except ValueError:
        return array.astype(np.float64)
    return array


def main(name: str) -> None:
    """Answers messages until the input ends; then this process ends at once, whatever threads are left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the judging process handles Ctrl-C
    end_with_parent()
    requests, replies = os.dup(0), os.dup(1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    try:
        answer_all(Served(name), requests, replies)
    except OSError as error:  # what the implementation does to the pipes
        with suppress(OSError):
            os.write(2, f"the pipe of the messages is gone: {error.strerror}\n".encode())
        os._exit(1)
    with suppress(OSError):
        os.close(replies)
    os._exit(0)


def answer_all(served: Served, requests: int, replies: int) -> None:
    """Answers messages from one pipe into another until the first ends.

    Errors: ``OSError`` for a pipe that is closed.
    """
    own = os.getpid()
    while (message := receive(requests)) is not None and message.words.get("cmd") != "stop":
        try:
            words, arrays = served.answer(message)
        except Declined as reason:
            words, arrays = {"declined": read_reason(reason)}, {}
        except BadAnswer as bad:
            words, arrays = {"error": str(bad), **({"traceback": bad.traceback} if bad.traceback else {})}, {}
        except BaseException as error:
            text = f"{message.words.get('cmd')} raised {type(error).__name__}: {read_reason(error)}"
            words, arrays = {"error": text, "traceback": format_traceback(error)}, {}
        if os.getpid() != own:  # a copy of this process, which the implementation made
            os._exit(0)
        send(replies, {key: make_text(word) for key, word in words.items()}, arrays)


def end_with_parent() -> None:
    """Asks Linux to end this process when the judging one ends, even where it cannot say so."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def make_text(word: str) -> str:
    """Returns a text that a message holds, whatever a text of the implementation holds."""
    return str.encode(word, errors="backslashreplace")[:10_000].decode(errors="replace")
