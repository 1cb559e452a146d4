"""Swin V2 under the names of V1: what is true of both, or done with both, is written once."""

from __future__ import annotations

from typing import Any

from swin_properties.adapters.contract import V2_NAMES


class V2AsV1:
    """The V2 of an implementation, under the names of V1.

    >>> from types import SimpleNamespace
    >>> V2AsV1(SimpleNamespace(swin_v2_block="V2's", mlp="the one of both")).swin_block
    "V2's"
    """

    def __init__(self, swin: Any) -> None:
        self.swin = swin

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.swin, V2_NAMES.get(name, name))
        return V2AsV1(found) if name == "expected" else found

    def raw(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Calls a callable, or `vjp` of one, by its name in V1."""
        if name == "vjp":
            args = V2_NAMES.get(args[0], args[0]), *args[1:]
        found: tuple[Any, Any] = self.swin.raw(V2_NAMES.get(name, name), *args, **kwargs)
        return found
