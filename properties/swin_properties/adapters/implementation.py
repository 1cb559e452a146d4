"""An implementation as the laws see it: arrays in, checked arrays out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import swin_reference
from swin_reference.config import CONVENTIONS, Convention
from swin_weights import flatten, unflatten

from swin_properties.adapters.answers import (
    BadAnswer,
    Declined,
    Raised,
    Refused,
    check_answer,
    format_traceback,
    read_reason,
)
from swin_properties.adapters.arguments import copy_as, label_arguments, list_arrays, walk_arrays
from swin_properties.adapters.contract import CONTRACT, ByName, find_refusal, result_shape
from swin_properties.adapters.process import ProcessGone
from swin_properties.adapters.scope import read_scope
from swin_properties.budget.precision import PRECISIONS, Precision
from swin_properties.cases.case import Own, under
from swin_properties.cases.few import move_to_few

CANONICAL = CONVENTIONS["canonical"]


class Implementation:
    """An adapter, its precision and its convention; ``implementation.swin_block(...)`` checks the result.

    ``expected`` is what it is compared with: the oracle under the convention, for the oracle itself the
    second oracle.  ``oracle`` is the oracle under the convention, whose perturbed runs make the budget.
    ``truth`` stands in its place for what is true of Swin under every convention: the oracle under the same
    decisions on sizes, without the convention's faults.
    ``own`` are the weights that came with the adapter, if it takes no others.  ``few_shapes``: it is asked
    cases of a few sizes only.
    """

    def __init__(
        self,
        adapter: Any,
        precision: Precision | None = None,
        convention: Convention = CANONICAL,
        chosen: str = "assumed",
    ) -> None:
        """``chosen`` says where the convention is from."""
        self.adapter = adapter
        declared = getattr(adapter, "precision", "float32")
        self.precision = precision or PRECISIONS[declared]
        self.convention = convention
        self.chosen = chosen
        self.few_shapes = False
        self.scope = read_scope(getattr(adapter, "scope", None))
        own = getattr(adapter, "own_weights", None)
        self.own = None if own is None else Own(_widen(own))
        self.oracle = apply_convention(convention, swin_reference)
        self.truth = apply_convention(without_faults(convention), swin_reference)
        is_oracle = is_reference(adapter)
        self.source: Any = swin_reference.direct if is_oracle else swin_reference
        self.expected = apply_convention(convention, self.source)

    @property
    def device(self) -> str:
        """Returns where the implementation computes."""
        return str(getattr(self.adapter, "device", "cpu"))

    def adapt_case(self, case: Any) -> Any:
        """Returns a case with the implementation's own weights, if its recipe says so, and its convention.

        Only cases of networks have a convention.
        """
        if case.recipe == "own":
            case = replace(case, own=self.own)
        return under(case, self.convention.name)

    def fit_case(self, case: Any, needs: Iterable[str]) -> Any:
        """Returns a case, under the convention, moved inside the scope of the implementation.

        ``needs`` are those of the law that is asked.
        """
        names = {need.partition(".")[0] for need in needs} & CONTRACT.keys()
        moved = move_to_few(case) if self.few_shapes else case
        return self.adapt_case(self.scope.fit(self.adapt_case(moved), names, self.convention))

    def fresh(self) -> None:
        """Tells an adapter that keeps models between calls that a new case begins."""
        getattr(self.adapter, "fresh", lambda: None)()

    def offers(self, need: str) -> bool:
        """Tells whether a callable is offered, or with a part: ``callable.keyword``, ``.config.field``,
        ``.params.name``.
        """
        name, _, part = need.partition(".")
        function = getattr(self.adapter, name, None)
        if not callable(function) or self.scope.lacks(part):
            return False
        if not part or "." in part:
            return True
        takes = getattr(self.adapter, "takes", None)
        return bool(takes(name, part)) if takes else takes_keyword(function, part)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in CONTRACT:
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            _, result = self.raw(name, *args, **kwargs)
            return check_answer(result, result_shape(name, args, self.convention), name)

        return call

    def raw(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Returns the positional arguments as they are after the call, and the very result.

        Errors: `BadAnswer` for an exception, `Declined` for sizes that the implementation does not take.
        """
        called, sizes = (args[0], args[2:]) if name == "vjp" else (name, args)
        if outside := self.scope.find_reason(called, sizes, kwargs, self.convention):
            raise Declined(f"the scope is {outside}")
        reason = find_refusal(called, sizes, self.convention)
        declines = getattr(self.adapter, "declines", None)
        if declines and (why := declines(called, *self._convert(sizes))):
            raise Declined(str(why))
        given, kwargs = self._convert(args), self._convert(kwargs)
        try:
            result = getattr(self.adapter, name)(*given, **kwargs)
        except (Declined, ProcessGone, KeyboardInterrupt):
            raise
        except BaseException as error:
            if reason:
                raise Declined(reason) from error
            if isinstance(error, BadAnswer):
                raise
            why = f"{name} raised {type(error).__name__}: {read_reason(error)}"
            raise Raised(why, format_traceback(error)) from error
        if reason:
            takes = reason.partition(" convention ")[2].rpartition(": ")[0] or reason
            why = f"{name} returned a result where the {self.convention.name} convention raises an error"
            raise Refused(f"{why}: it {takes}")
        return given, result

    def shares_memory(self, given: Any, result: Any) -> list[bool]:
        """Tells for each array of the last call's arguments whether the result shares memory with it."""
        if (shared := getattr(self.adapter, "shared", None)) is not None:
            return [label in shared for label in self.adapter.last_arrays]
        parts = list(walk_arrays(result))
        return [any(np.shares_memory(x, part) for part in parts) for x in walk_arrays(given)]

    def _convert(self, value: Any) -> Any:
        """Returns arguments as an adapter takes them: arrays of its type, an integer for equal sides.

        Arrays are copies, as the adapter may write to them; a copy keeps the order and place in memory.
        """
        if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
            if np.any(self.precision.rounded(value) != value):
                raise AssertionError(f"a law gave values that are not exact in {self.precision.name}")
            return copy_as(value, self.precision.dtype)
        if isinstance(value, Mapping):
            return {name: self._convert(child) for name, child in value.items()}
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], int):
            # An adapter takes an integer or a pair: square windows test the one, others the other.
            return value[0] if value[0] == value[1] else value
        if isinstance(value, (list, tuple)):
            return type(value)(self._convert(child) for child in value)
        return value


def _widen(params: Any) -> Any:
    """Returns nested parameters in float64, in which the oracle computes."""
    return unflatten({name: np.asarray(x, np.float64) for name, x in flatten(params).items()})


@cache
def apply_convention(convention: Convention, oracle: Any) -> Any:
    """Returns an oracle's functions under a convention; under its own default, the oracle itself.

    >>> apply_convention(CANONICAL, swin_reference) is swin_reference
    True
    """
    own = replace(convention, name=CANONICAL.name) == CANONICAL
    return oracle if own else oracle.under(convention)


def without_faults(convention: Convention) -> Convention:
    """Returns a convention without what no law of Swin allows.

    That is a leaking mask, padding after the roll, at the front or hidden, windows and shifts that the height
    alone decides, and the biases of other tokens.

    >>> without_faults(CONVENTIONS["torchvision"]).mask_value
    -inf
    """
    padding = "pad-roll" if convention.padding == "roll-pad" else convention.padding
    shift = "min" if convention.shift == "height" else convention.shift
    window = "shrink-both" if convention.window == "shrink-height" else convention.window
    decided = {"padding": padding, "shift": shift, "window": window}
    decided |= {key: getattr(CANONICAL, key) for key in ("padded_keys", "pad_side", "small_table")}
    return replace(convention, **decided, mask_value=CANONICAL.mask_value)


def is_reference(adapter: Any) -> bool:
    """Tells whether an adapter, or the one of another process that it stands for, is the oracle itself."""
    block = getattr(adapter, "swin_block", None)
    said = getattr(adapter, "is_oracle", None)
    return getattr(block, "func", block) is swin_reference.swin_block or said is True


def takes_keyword(function: Callable[..., Any], keyword: str) -> bool:
    """Tells whether a signature takes a keyword; one that cannot be read takes every keyword."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True
    return keyword in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def vjp(swin: ByName, name: str, cotangent: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Returns the implementation's J^T u as float64, by name of the array, once it is what `vjp` must return.

    That is a tuple with one entry for each positional argument: a gradient shaped like the array or the
    nested parameters, None for a size.  The entries of None may be left out.

    Errors: `BadAnswer` for an exception, a gradient that is missing, misshaped, no array or not finite.
    """
    result = swin.raw("vjp", name, cotangent, *args, **kwargs)[1]
    if not isinstance(result, (tuple, list)):
        raise BadAnswer(f"vjp of {name} returned a {type(result).__name__}: it returns a tuple of gradients")
    given = [gradient for gradient in result if gradient is not None]
    wanted = [(label, x) for label, x in label_arguments(name, args) if isinstance(x, (np.ndarray, Mapping))]
    if len(given) != len(wanted):
        labels = ", ".join(label for label, _ in wanted)
        raise BadAnswer(
            f"vjp of {name} returned {len(given)} gradients: there are {len(wanted)}, for {labels}"
        )
    found: dict[str, Any] = {}
    for (label, x), gradient in zip(wanted, given, strict=True):
        found |= flatten(gradient) if isinstance(x, Mapping) else {label: gradient}
    for label, x in list_arrays(name, args).items():
        gradient = found.get(label)
        if not isinstance(gradient, np.ndarray) or gradient.shape != x.shape:
            shape = gradient.shape if isinstance(gradient, np.ndarray) else type(gradient).__name__
            raise BadAnswer(
                f"vjp of {name} returned {shape} as the gradient of {label}: it should be {x.shape}"
            )
        if not np.isfinite(gradient).all():
            raise BadAnswer(f"vjp of {name} returned a gradient of {label} that is not finite")
        found[label] = gradient.astype(np.float64)
    return found
