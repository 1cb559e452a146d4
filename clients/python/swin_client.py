"""Answers ``swin-oracle check -- python mine.py`` from another Python environment, with NumPy alone.

``serve({"precision": "float32", "offers": "mlp"}, answer)``: ``answer`` takes a request's words and
arrays and returns the reply's arrays.  It raises `Declined` for what is out of scope, any other exception for
an error.
docs/protocol.md is the protocol.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}
NAMES = {np.dtype(code): name for name, code in TYPES.items()}

Words = dict[str, str]
Arrays = dict[str, Any]


class Declined(Exception):
    """These arguments are out of scope."""


def parse(image: bytes) -> tuple[Words, Arrays]:
    """Returns the words and arrays of a message."""
    (length,) = struct.unpack("<Q", image[:8])
    header = json.loads(image[8 : 8 + length])
    words = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        arrays[name] = np.frombuffer(image[start:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return words, arrays


def make(words: Words, arrays: Arrays) -> bytes:
    """Returns a message of words and arrays."""
    header: dict[str, Any] = {"__metadata__": words}
    body = b""
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"data_offsets": offsets, "dtype": NAMES[array.dtype], "shape": array.shape}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def serve(about: Words, answer: Callable[[Words, Arrays], Arrays]) -> None:
    """Answers requests until the input ends; what is printed goes to standard error."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while len(head := requests.read(8)) == 8:
        words, arrays = parse(requests.read(*struct.unpack("<Q", head)))
        if words["cmd"] == "stop":
            return
        try:
            if words["cmd"] == "start":
                reply = make({"protocol": "1", "language": "python", **about}, {})
            else:
                reply = make({"ok": "1"}, answer(words, arrays))
        except Declined as reason:
            reply = make({"declined": str(reason)}, {})
        except Exception as error:
            reply = make({"error": f"{type(error).__name__}: {error}"}, {})
        replies.write(struct.pack("<Q", len(reply)) + reply)
        replies.flush()
