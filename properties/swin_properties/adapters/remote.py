"""An adapter whose implementation is in another process: calls become messages, replies become arrays."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any
from weakref import ref

import numpy as np
from swin_timing.message import PROTOCOL, Message
from swin_weights import unflatten

from swin_properties.adapters.answers import BadAnswer, Declined, Raised
from swin_properties.adapters.arguments import label_arguments
from swin_properties.adapters.calls import list_keywords, write_call
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.process import Process, ProcessGone, clean

TIMEOUT = 60.0
"""Seconds that a call may take unless ``--timeout`` says otherwise; a start may always take these."""

FIRST = 10.0
"""How many times as long the first call of a shape may take, since compilers may run."""

MOST_DEATHS = 20
"""How often a process is started again in a run."""

LONGEST_TRACEBACK = 20_000
"""The most letters of a traceback that are kept."""

FLOATS = "float16", "float32", "float64", "float96", "float128"
"""The types of floats that a reply may say its result had."""

BOOT = (
    "import json, os, sys; sys.path[:] = json.loads(os.environ.pop('SWIN_ORACLE_PATH')); "
    "from swin_properties.adapters import serve; serve.main(sys.argv[1])"
)
"""How Python starts the process of an adapter: its modules are found where this process finds them."""


@dataclass(frozen=True)
class Launch:
    """How the process is started: a program, or Python with an import string."""

    program: tuple[str, ...] = ()
    adapter: str = ""
    suite: str = ""
    """The version of the suite, as the start tells it."""
    modules: bool = False
    """Whether an import string may name a network, an nn.Module, in an adapter's place."""

    @property
    def name(self) -> str:
        """What sentences call it."""
        return self.adapter or clean(" ".join(self.program))

    @property
    def short(self) -> str:
        """What a sentence calls it that has more to say."""
        return clean(self.name, 40 if self.program else 100)

    def start(self) -> Process:
        """Starts the process."""
        if self.program:
            return Process(self.program)
        command = [sys.executable, "-c", BOOT, self.adapter]
        return Process(command, {"SWIN_ORACLE_PATH": json.dumps(sys.path)})


def read_program(implementation: Any) -> tuple[str, ...]:
    """Returns the command of a program that is given as a list, found on the path; empty for anything else.

    Errors: ``ValueError`` for a list of anything but texts, and a program that is not there.

    >>> read_program("mine.py:adapter")
    ()
    """
    if not isinstance(implementation, (list, tuple)):
        return ()
    if not implementation or not all(isinstance(word, str) for word in implementation):
        raise ValueError('a list is the command of a program, its words are texts: give ["./mine", ...]')
    return find_program(implementation)


class Remote:
    """The adapter of a process, as `Implementation` takes one.

    It offers what the process says it does.  If the process is gone, the next call starts another; after
    `MOST_DEATHS` there is no other.
    """

    def __init__(self, launch: Launch, timeout: float = TIMEOUT, most_deaths: int = MOST_DEATHS) -> None:
        """Starts the process.

        Errors: ``ValueError`` in one sentence where it does not start, or its first reply is not understood.
        """
        self.launch = launch
        self.timeout = timeout
        self.deaths = 0
        self.most_deaths = most_deaths
        self.process: Process | None = None
        self.settings: list[dict[str, str]] = []
        self.shapes: set[str] = set()
        self.begins = False
        self.earlier: Any = lambda: None
        self.shared: set[str] = set()
        self.last_arrays: list[str] = []
        self.own_weights: Any = None
        """The weights that came with the implementation, where it takes no others."""
        self.scope = ""
        """What the implementation says it takes, in the words of `contract.SCOPE`."""
        try:
            self._start()
        except ProcessGone as gone:
            advice = "check what it imports" if launch.adapter else "swin-oracle doctor shows more"
            raise ValueError(f"an implementation starts, {launch.short} did not: {gone}: {advice}") from None

    def _start(self) -> None:
        """Starts a process, and sets it as the last one was."""
        self.close()
        self.shapes.clear()
        self.process = self.launch.start()
        words = {"cmd": "start", "protocol": PROTOCOL, "suite": self.launch.suite}
        words |= {"modules": "1"} if self.launch.modules else {}
        message = self.process.ask(words, timeout=max(self.timeout, TIMEOUT))
        reply, own = message.words, message.arrays
        if own and self.own_weights is None:
            self.own_weights = unflatten({name.removeprefix("own."): x for name, x in own.items()})
        if "error" in reply:
            self.close()
            raise ValueError(clean(reply["error"], 2000))
        self._understand(reply)
        for words in self.settings:
            self.process.ask(words, timeout=max(self.timeout, TIMEOUT))
            self.__dict__.update({what: word for what, word in words.items() if what != "cmd"})

    def _understand(self, reply: Mapping[str, str]) -> None:
        """Reads the fields of a reply to ``start``.

        Errors: ``ValueError`` in one sentence for a field that is missing or wrong.
        """
        missing = [field for field in ("protocol", "precision", "offers") if field not in reply]
        if missing:
            self.close()
            raise ValueError(
                f"the reply to start has protocol, precision and offers, that of {self.launch.short} lacks "
                f"{', '.join(missing)}: it has {clean(', '.join(reply), 100) or 'nothing'}"
            )
        if reply["protocol"] != PROTOCOL:
            self.close()
            raise ValueError(
                f"the protocol is {PROTOCOL}, {self.launch.short} speaks {clean(reply['protocol'], 40)!r}: "
                "use a client of this version"
            )
        self.offers = self._read_names(reply, "offers", [*CONTRACT, "vjp"])
        self.precision = clean(reply["precision"], 40)
        self.keywords = self._read_names(reply, "keywords", list_keywords())
        self.name = clean(" ".join(filter(None, (reply.get("name"), reply.get("version")))))
        self.device = reply.get("device", "cpu")
        self.layout = clean(reply.get("layout", ""), 40)
        self.notes, self.faults, self.absent, self.recognised = (
            [clean(line, 2000) for line in reply.get(word, "").splitlines()]
            for word in ("notes", "faults", "absent", "recognised")
        )
        self.style_convention = clean(reply.get("style_convention", ""), 40)
        self.mask_value = clean(reply.get("mask_value", ""), 40)
        self.quantised = reply.get("quantised") == "1"
        self.is_oracle = reply.get("oracle") == "1"
        self.scope = clean(reply.get("scope", ""), 2000)
        self.convention = clean(reply.get("convention", ""), 120) or None
        if reply.get("precisions"):
            self.with_precision = partial(self._set, "precision")
        if reply.get("conventions"):
            self.with_convention = partial(self._set, "convention")
        if reply.get("devices"):
            self.with_device = partial(self._set, "device")

    def _read_names(self, reply: Mapping[str, str], field: str, known: Sequence[str]) -> set[str]:
        """Returns the names in a field, once all are known: a misspelt one would be left out in silence."""
        names = reply.get(field, "").split()
        if unknown := [name for name in names if name not in known]:
            self.close()
            near = get_close_matches(unknown[0], known, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/protocol.md and docs/callables.md have all"
            raise ValueError(
                f"{field} has names of docs/callables.md, that of {self.launch.short} has "
                f"{clean(', '.join(unknown), 60)}: {hint}"
            )
        return set(names)

    def _set(self, what: str, word: str) -> Remote:
        """Asks the implementation to compute in a precision, under a convention, on a device from now on.

        Errors: ``ValueError`` where it does not.
        """
        words = {"cmd": "with", what: word}
        reply = self._ask(words, {}, max(self.timeout, TIMEOUT)).words
        if "ok" not in reply:
            why = reply.get("declined", reply.get("error", "no reason given"))
            raise ValueError(clean(why, 2000))
        self.settings.append(words)
        setattr(self, what, word)
        if "offers" in reply:
            self._understand({"protocol": PROTOCOL, **reply})
        return self

    @property
    def import_string(self) -> str:
        """What names the implementation in a command."""
        return self.launch.name

    @property
    def wide(self) -> Any:
        """Returns the type of the arrays that it is given."""
        return np.float64 if self.precision == "float64" else np.float32

    def takes(self, name: str, keyword: str) -> bool:
        """Tells whether a callable takes an optional argument."""
        return f"{name}.{keyword}" in self.keywords

    def fresh(self) -> None:
        """Tells the implementation, with the next call, that a new case begins."""
        self.begins = True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in self.__dict__.get("offers", ()):
            raise AttributeError(name)
        return partial(self.pull_back if name == "vjp" else self.call, name)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a callable; arrays that it changed are changed in ``args``.

        Errors: `Declined`, `BadAnswer` for an error, `ProcessGone`.
        """
        words, arrays = write_call(name, args, kwargs)
        self.last_arrays = list(arrays)
        reply = self._call(name, {"cmd": name, **words}, arrays)
        result: Any
        if "result" in reply.arrays:
            result = _restore(reply, "result", self.wide)
        else:
            names = [f"result.{number}" for number in range(len(reply.arrays))]
            result = [_restore(reply, one, self.wide) for one in names if one in reply.arrays]
            if not result:
                raise BadAnswer(f"{name} answered ok without a result")
        for label, x in arrays.items():
            changed = reply.arrays.get(f"changed.{label}")
            if changed is not None and changed.shape == x.shape:
                x[...] = changed
        if isinstance(result, np.ndarray):
            self.earlier = ref(result)
        return result

    def pull_back(self, _: str, name: str, cotangent: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Returns the gradients that the implementation's ``vjp`` gives, one for each array or ``params``.

        Errors: as for `call`.
        """
        words, arrays = write_call(name, args, kwargs)
        whole = isinstance(cotangent, np.ndarray)
        parts = {"cotangent": cotangent} if whole else {f"cotangent.{i}": u for i, u in enumerate(cotangent)}
        reply = self._call("vjp", {"cmd": "vjp", "of": name, **words}, arrays | parts)
        gradients: list[Any] = []
        for label, x in label_arguments(name, args):
            if isinstance(x, Mapping):
                start = f"grad.{label}."
                flat = {key[len(start) :]: g for key, g in reply.arrays.items() if key.startswith(start)}
                try:
                    gradients.append(unflatten(flat))
                except ValueError as error:
                    raise BadAnswer(f"vjp of {name}: {error}") from None
            elif isinstance(x, np.ndarray):
                if f"grad.{label}" not in reply.arrays:
                    raise BadAnswer(f"vjp of {name} answered without grad.{label}")
                gradients.append(reply.arrays[f"grad.{label}"])
        return tuple(gradients)

    def record(self, images: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what a network that is an nn.Module computes on images, as `RecordedModule.record`.

        Errors: ``ValueError`` in one sentence, `ProcessGone`.
        """
        arrays = {"images": images, **{f"weights.{name}": x for name, x in weights.items()}}
        reply = self._ask({"cmd": "record"}, arrays, self.timeout * FIRST)
        if "ok" not in reply.words:
            raise ValueError(clean(reply.words.get("error", "the module's process gave no maps"), 2000))
        return dict(reply.arrays)

    def _call(self, name: str, words: dict[str, str], arrays: Mapping[str, Any]) -> Message:
        """Sends a call and returns the reply to it, if it is ok."""
        shapes = {label: x.shape for label, x in arrays.items()}
        shape = f"{words} {shapes}"
        if self.begins:
            words["fresh"], self.begins = "1", False
        first = shape not in self.shapes
        reply = self._ask(words, arrays, self.timeout * (FIRST if first else 1.0))
        self.shapes.add(shape)
        self._change_earlier(reply)
        self.shared = set(reply.words.get("shared", "").split())
        if "declined" in reply.words:
            raise Declined(clean(reply.words["declined"], 240) or "no reason given")
        if "error" in reply.words:
            text = clean(reply.words["error"], 240) or "no message"
            reason = text if text.startswith(name) else f"{name} answered an error: {text}"
            raise Raised(reason, reply.words.get("traceback", "")[:LONGEST_TRACEBACK])
        if "ok" not in reply.words:
            said = clean(", ".join(reply.words), 200) or "nothing"
            raise BadAnswer(f"{name} answered neither ok, declined nor error but {said}")
        return reply

    def _change_earlier(self, reply: Message) -> None:
        """Changes the last result where the implementation says that its own has changed."""
        last, now = self.earlier(), reply.arrays.pop("earlier", None)
        if last is not None and now is not None and now.shape == last.shape:
            last[...] = now

    def _ask(self, words: Mapping[str, str], arrays: Mapping[str, Any], timeout: float) -> Message:
        if self.process is None and self.deaths >= self.most_deaths:
            raise ProcessGone(f"it died {self.deaths} times")
        try:
            if self.process is None:
                try:
                    self._start()
                except ValueError as error:
                    raise ProcessGone(f"the implementation's process did not start again: {error}") from None
            assert self.process is not None
            return self.process.ask(words, arrays, timeout)
        except ProcessGone:
            self.deaths += 1
            self.process = None
            self.earlier = lambda: None
            raise

    @property
    def exhausted(self) -> bool:
        """Whether the process died so often that it is not started again."""
        return self.process is None and self.deaths >= self.most_deaths

    def restart(self) -> None:
        """Ends the process: the next call starts a fresh one."""
        self.close()

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.close(politely=bool(self.launch.program))
            self.process = None


def _restore(reply: Message, name: str, wide: Any) -> Any:
    """Returns an array of a reply in the type that the implementation's own result had.

    Where the reply does not say it, floats have the type ``wide``, that of the arguments.
    """
    array = reply.arrays[name]
    if (word := reply.words.get("dtype", "")) in FLOATS:
        return array.astype(np.longdouble if word in FLOATS[3:] else word)
    if not word and array.dtype.kind == "f":
        return array.astype(wide)
    return array if array.flags.writeable else array.copy()


def find_program(words: Sequence[str]) -> tuple[str, ...]:
    """Returns the command of a program, the first word as a path where it is a file.

    Errors: ``ValueError`` for no words.
    """
    if not words:
        raise ValueError("a program follows --, got none: write swin-oracle check -- ./mine ARGS")
    first = words[0]
    return (os.path.abspath(first) if os.sep in first else first, *words[1:])
