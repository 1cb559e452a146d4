"""Tells which weights of a network are not those of the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from swin_reference.outside import refusal

from swin_properties.adapters.digests import digest

PREFIX = "digest."

LOAD = "load them where it is made, or give --load-weights"
"""What to do about a module that does not hold the weights of the checkpoint."""


def find_other_weights(
    recorded: Mapping[str, Any], flat: Mapping[str, Any], name: str, advice: str = LOAD
) -> list[str]:
    """Returns the weights that a network holds otherwise than the checkpoint, by official names.

    ``recorded`` holds a digest of each of the network's weights, ``flat`` the checkpoint's in its precision.

    Errors: ``ValueError`` for a network with other parameters, or one whose matrices are all others, with
    ``advice`` on what to do.

    >>> flat = {"norm.weight": np.ones(2), "norm.bias": np.zeros(2)}
    >>> digests = {f"digest.{key}": digest(x) for key, x in (flat | {"norm.bias": np.ones(2)}).items()}
    >>> find_other_weights(digests, flat, "mine.py:model")
    ['norm.bias']
    """
    held = {key.removeprefix(PREFIX): x for key, x in recorded.items() if key.startswith(PREFIX)}
    lacking, extra = [key for key in flat if key not in held], [key for key in held if key not in flat]
    if lacking or extra:
        faults = (("missing", lacking), ("extra", extra))
        said = "; ".join(f"{fault} {', '.join(names[:2])}" for fault, names in faults if names)
        raise refusal(f"a network has the parameters of the checkpoint, {name} has not: {said}")
    others = [key for key, x in flat.items() if not np.array_equal(held[key], digest(x))]
    matrices = [key for key, x in flat.items() if x.ndim > 1]
    if matrices and set(matrices) <= set(others):
        raise refusal(
            f"a network holds the weights of the checkpoint, in {name} all {len(matrices)} matrices are "
            f"others: {advice}"
        )
    return others
