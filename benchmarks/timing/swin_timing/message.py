"""The message that two processes exchange, on a pipe or in a file: words and arrays in one safetensors image.

`docs/protocol.md` is the normative page.  The image is ``u64 little-endian header length, JSON header, raw
arrays``.  The words, a command and its scalars, are in ``__metadata__``.  On a pipe a message is preceded by
its own length, as u64.

This file imports nothing but NumPy and the standard library: a worker may load it by its path.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quote
from math import prod
from typing import Any

import numpy as np

PROTOCOL = "1"
"""The version of the message: a new mandatory field makes a new one."""

LONGEST = 1 << 30
"""The most bytes of a reply."""

LONGEST_HEADER = 1 << 24
"""The most bytes of a header."""

SHORT = 1 << 18
"""The most bytes of a message that is written at once."""

SIZES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}
"""The bytes of a number of each type that is read."""

KINDS = {"B": "u", "I": "i", "U": "u", "F": "f"}
"""NumPy's letter for the types that begin with this one."""


@dataclass
class Message:
    """Words, arrays by name, and the type in which each array was sent."""

    words: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)


def encode(words: Mapping[str, str], arrays: Mapping[str, Any] | None = None) -> list[Any]:
    """Returns the canonical image of a message, in parts that follow each other: header, then arrays.

    Arrays are of floats, integers or booleans of at most 8 bytes.  Equal messages have equal bytes.

    Errors: ``ValueError`` for an array of another type.

    >>> b"".join(encode({"cmd": "stop"}))[8:]
    b'{"__metadata__":{"cmd":"stop"}} '
    """
    said = ",".join(f"{quote(name)}:{quote(word)}" for name, word in sorted(words.items()))
    entries = [f'"__metadata__":{{{said}}}']
    parts: list[Any] = [b""]
    start = 0
    for name in sorted(arrays or {}):
        array = np.asarray((arrays or {})[name])
        kind = find_type(array.dtype)
        plain = array if array.flags.c_contiguous and array.dtype.isnative else np.array(array, order="C")
        end = start + plain.nbytes
        shape = ",".join(map(str, array.shape))
        entries.append(f'{quote(name)}:{{"data_offsets":[{start},{end}],"dtype":"{kind}","shape":[{shape}]}}')
        if plain.nbytes:
            parts.append(plain.data.cast("B") if plain.ndim else plain.tobytes())
        start = end
    header = ("{" + ",".join(entries) + "}").encode()
    header += b" " * (-len(header) % 8)
    parts[0] = struct.pack("<Q", len(header)) + header
    return parts


def find_type(dtype: np.dtype[Any]) -> str:
    """Returns the name that the message has for a NumPy type.

    Errors: ``ValueError`` for a type that it has none for.

    >>> find_type(np.dtype("float32")), find_type(np.dtype(bool))
    ('F32', 'BOOL')
    """
    name = "BOOL" if dtype.kind == "b" else f"{dtype.kind.upper()}{8 * dtype.itemsize}"
    if name not in SIZES:
        raise ValueError(f"a message holds real numbers of at most 64 bits, got {dtype}: convert them")
    return name


def decode(image: Any) -> Message:
    """Returns the message of an image, any valid safetensors file.

    Its arrays share the image's memory, but for BOOL, BF16 and unaligned ones, which are copies.  BF16 is
    widened to float32, exactly.

    Errors: ``ValueError`` in one sentence for what is no such image.  Nothing is read or kept that the image
    does not hold.

    >>> decode(b"".join(encode({"cmd": "mlp"}, {"x": np.ones((1, 2))})))
    Message(words={'cmd': 'mlp'}, arrays={'x': array([[1., 1.]])}, types={'x': 'F64'})
    """
    image = memoryview(image)
    if len(image) < 8:
        raise ValueError(f"a message has 8 bytes for the length of its header, got {len(image)} bytes")
    (length,) = struct.unpack("<Q", image[:8])
    if length > min(len(image) - 8, LONGEST_HEADER):
        raise ValueError(
            f"a message's header is at most {LONGEST_HEADER} bytes and inside it, got the length {length} "
            f"in {len(image)} bytes"
        )
    header = _parse_header(bytes(image[8 : 8 + length]))
    words = header.pop("__metadata__", {})
    if not isinstance(words, dict) or not all(isinstance(word, str) for word in words.values()):
        raise ValueError("a message's __metadata__ holds texts by name, got something else")
    data = image[8 + length :]
    message = Message(words)
    ends = []
    for name, entry in header.items():
        kind, shape, start, end = _check_entry(name, entry, len(data))
        ends.append((start, end))
        message.types[name] = kind
        message.arrays[name] = _make_array(data[start:end], kind, shape)
    last = 0
    for start, end in sorted(ends):
        if start != last:
            raise ValueError(f"a message's arrays lie one behind the other, got one at {start} after {last}")
        last = end
    if last != len(data):
        raise ValueError(f"a message ends with its last array at {last}, got {len(data)} bytes of arrays")
    return message


def _parse_header(text: bytes) -> dict[str, Any]:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            raise ValueError("a name is given twice")
        return made

    try:
        header = json.loads(text.decode(), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        why = str(error).splitlines()[0][:100]
        raise ValueError(f"a message's header is JSON, got {text[:32]!r}: {why}") from None
    if not isinstance(header, dict):
        raise ValueError(f"a message's header is an object of JSON, got {text[:32]!r}")
    return header


def _check_entry(name: str, entry: Any, length: int) -> tuple[str, tuple[int, ...], int, int]:
    """Returns type, shape, start and end of an array, once they fit each other and the image."""
    try:
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, start, end]
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"an array has dtype, shape and data_offsets, {name[:60]!r} has not") from None
    if not isinstance(kind, str) or kind not in SIZES:
        raise ValueError(f"an array's type is one of {', '.join(SIZES)}, {name[:60]!r} has {kind!r:.60}")
    if len(shape) > 16 or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"sizes and offsets are counts, at most 16 sizes, those of {name[:60]!r} are not")
    if not start <= end <= length or end - start != prod(shape) * SIZES[kind]:
        raise ValueError(
            f"an array lies inside the message and fills its bytes, {name[:60]!r} has shape {tuple(shape)} "
            f"of {kind} in bytes {start} to {end} of {length}"
        )
    return kind, tuple(shape), start, end


def _make_array(data: memoryview, kind: str, shape: tuple[int, ...]) -> Any:
    if kind == "BF16":
        wide = np.frombuffer(data, "<u2").astype(np.uint32) << 16
        return wide.view(np.float32).reshape(shape)
    dtype = np.dtype(bool) if kind == "BOOL" else np.dtype(f"<{KINDS[kind[0]]}{SIZES[kind]}")
    if kind == "BOOL":
        return (np.frombuffer(data, np.uint8) != 0).reshape(shape)
    array = np.frombuffer(data, dtype)
    return (array if array.flags.aligned else array.copy()).reshape(shape)


def frame(parts: Iterable[Any]) -> list[Any]:
    """Returns the parts of a message as they go through a pipe, its length first; a short one is one part.

    One part is written at once: each write may wake the process that reads.

    >>> [bytes(part) for part in frame([b"a", b"bc"])]
    [b'\\x03\\x00\\x00\\x00\\x00\\x00\\x00\\x00abc']
    """
    parts = list(parts)
    total = sum(memoryview(part).nbytes for part in parts)
    parts = [struct.pack("<Q", total), *parts]
    return [b"".join(parts)] if total <= SHORT else parts


def send(descriptor: int, words: Mapping[str, str], arrays: Mapping[str, Any] | None = None) -> None:
    """Writes a message into a pipe, and waits until it is written."""
    for part in frame(encode(words, arrays)):
        view = memoryview(part).cast("B")
        while view:
            view = view[os.write(descriptor, view) :]


def receive(descriptor: int) -> Message | None:
    """Reads the next message from a pipe, and waits for it; None where the pipe ends before one.

    It takes a message of any length, for the two processes trust each other.

    Errors: ``ValueError`` for what is no message.
    """
    head = _read(descriptor, 8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack("<Q", head)
    image = _read(descriptor, length)
    return None if len(image) < length else decode(image)


def _read(descriptor: int, length: int) -> bytearray:
    """Returns so many bytes, fewer where the pipe ends; memory is taken as they come."""
    found = bytearray()
    while len(found) < length and (some := os.read(descriptor, min(length - len(found), 1 << 20))):
        found += some
    return found
