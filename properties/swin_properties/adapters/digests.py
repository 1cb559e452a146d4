"""Digests of weights: what tells equal ones without sending them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def digest(x: Any) -> Any:
    """Returns a digest of an array's shape and numbers, as an array.

    >>> bool((digest(np.zeros(2)) == digest(np.float32([0, 0]))).all())
    True
    """
    plain = np.ascontiguousarray(x, np.float64) + 0.0  # -0 is 0
    return np.frombuffer(hashlib.sha256(repr(plain.shape).encode() + plain.tobytes()).digest(), np.int32)
