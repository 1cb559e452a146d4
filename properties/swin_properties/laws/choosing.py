"""Choosing laws from the catalogue by name."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase

import swin_properties.laws  # noqa: F401 -- enters the laws
from swin_properties.laws.law import LAWS, Law


def choose_laws(only: str | None = None) -> list[Law]:
    """All laws, or those whose name is ``only`` or matches it as a pattern (``swin_block/*``).

    Errors: ``ValueError`` with the near names when none is.

    >>> [law.name for law in choose_laws("layer_norm/e*")]
    ['layer_norm/eps']
    """
    laws = [law for law in LAWS.values() if only is None or fnmatchcase(law.name, only)]
    if not laws and only is not None:
        near = get_close_matches(only, LAWS, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `swin-oracle laws`"
        raise ValueError(f"a law is one of the catalogue, got {only!r}: {hint}")
    return laws


def choose_in_order(only: str | None = None) -> list[Law]:
    """All laws, or those that names or patterns choose; patterns are separated by commas, in the order asked.

    Errors: as for `choose_laws`.

    >>> [law.name for law in choose_in_order("layer_norm/eps,mlp/gelu,layer_norm/e*")]
    ['layer_norm/eps', 'mlp/gelu']
    """
    patterns = [None] if only is None else only.split(",")
    return list({law.name: law for pattern in patterns for law in choose_laws(pattern)}.values())
