"""An implementation ready to be asked: loaded, in its precision, under the convention that it follows."""

from __future__ import annotations

from typing import Any

from swin_reference.config import convention_named

from swin_properties.adapters.implementation import Implementation
from swin_properties.adapters.load import load_in_precision
from swin_properties.identify import identify


def load_implementation(
    implementation: Any,
    dtype: str | None = None,
    convention: str | None = None,
    device: str | None = None,
) -> Implementation:
    """Loads an implementation, an object or its import string, in its own precision or the one asked for.

    It computes on its own ``device`` or on the one asked for.

    It is judged by the convention that is asked for, else by the one it declares, else by the one it is found
    to follow, else by that of the code that it copies, else by the oracle's own.

    Errors: ``ValueError`` as for `load_in_precision`, and for an unknown convention.
    """
    found, precision = load_in_precision(implementation, dtype, device)
    if convention is not None:
        asked = convention_named(convention)
        if callable(getattr(found, "with_convention", None)):
            found = found.with_convention(asked.name)
        return Implementation(found, precision, asked, "as asked")
    if (own := getattr(found, "convention", None)) is not None:
        return Implementation(found, precision, convention_named(own), "declared")
    known, chosen = identify.find_convention(Implementation(found, precision))
    if chosen.startswith("assumed") and (style := getattr(found, "style_convention", "")):
        known, chosen = convention_named(style), f"that of the code it copies; {chosen}"
    return Implementation(found, precision, known, chosen)
