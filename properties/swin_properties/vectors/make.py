"""Chooses and writes vectors: for each planted bug a call that shows it, and calls of usual sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import swin_reference
from swin_timing.message import encode

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.calls import write_call
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.budget import MORE_RUNS, budget
from swin_properties.budget.precision import PRECISIONS, Precision
from swin_properties.budget.rounding import Rounding
from swin_properties.budget.within import Perturbed
from swin_properties.bugs import GALLERY, Bug, touched
from swin_properties.bugs.kills import cases, in_precision, shipped
from swin_properties.cases.case import Case, GridCase, NetCase
from swin_properties.laws.law import LAWS, Law
from swin_properties.vectors.loops import compare, is_steady

LARGEST = 200_000
"""The most bytes of a vector's arrays."""

CASES_OF_A_LAW = 6
"""How many cases of a law are tried for a bug."""

CALLABLES = [name for name in CONTRACT if name != "shifted_window_mask"]
"""The callables that have vectors: a mask is any negative number where it hides, so none is expected."""

NAMES = [*CALLABLES, "vjp"]
"""What a set is made of: calls, and with ``vjp`` the gradients of those that are chosen."""

USUAL: list[tuple[str, Case]] = [
    *(
        (name, GridCase(grid=(2 * m, 2 * m), window=(m, m), shift=(m // 2, m // 2), heads=2, head_dim=8))
        for name in ("shifted_window_attention", "swin_block")
        for m in (7, 8, 12)
    ),
    *(("window_attention", GridCase(grid=(m, m), window=(m, m), heads=2, head_dim=8)) for m in (7, 8, 12)),
    (
        "swin_features",
        NetCase(
            image=(56, 56), patch=(4, 4), window=(7, 7), depths=(2, 2), heads=(2, 4), embed_dim=16, classes=10
        ),
    ),
]
"""Calls of usual sizes: windows of 7, 8 and 12."""


@dataclass
class Call:
    """A call that a law makes: which callable, with what, in which law and case.

    With a ``cotangent`` it asks for gradients.  ``expected`` and ``beta`` are by the end of their names:
    ``""`` for the one result, ``.0`` and so on for a list, ``.grad.x`` for a gradient.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    law: str
    case: str
    cotangent: Any = None
    expected: dict[str, Any] = field(default_factory=dict)
    beta: dict[str, Any] = field(default_factory=dict)
    hunts: list[str] = field(default_factory=list)

    @property
    def command(self) -> str:
        """Returns the command of the request: the callable, or ``vjp``."""
        return self.name if self.cotangent is None else "vjp"

    def write(self) -> tuple[dict[str, str], dict[str, Any]]:
        """Returns the words and arrays of the call."""
        words, arrays = write_call(self.name, self.args, self.kwargs)
        for word in ("positional", "keywords", *[word for word in words if word.startswith("layout.")]):
            words.pop(word, None)
        if self.cotangent is None:
            return {"cmd": self.name, **words}, arrays
        return {"cmd": "vjp", "of": self.name, **words}, {**arrays, "cotangent": self.cotangent}

    @property
    def size(self) -> int:
        """Returns the bytes of the arguments' arrays."""
        return sum(x.nbytes for x in self.write()[1].values())


class Recorder:
    """The oracle as a Swin that notes every call."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self.expected = swin_reference
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def raw(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Returns the arguments and the result of a call."""
        return args, getattr(self, name)(*args, **kwargs)

    def shares_memory(self, given: Any, result: Any) -> list[bool]:
        """Returns nothing: no vector is about memory."""
        return []

    def __getattr__(self, name: str) -> Any:
        function = getattr(swin_reference, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            return function(*args, **kwargs)

        return call


def record_calls(law: Law, case: Case, precision: Precision) -> list[Call]:
    """Returns the calls that a law makes on a case."""
    recorder = Recorder(precision)
    try:
        law.ask(recorder, case)
    except (swin_reference.Rejected, Declined, AttributeError, ValueError):
        return []
    return [
        Call(name, _make_contiguous(args), _make_contiguous(kwargs), law.name, str(case))
        for name, args, kwargs in recorder.calls
        if name in CALLABLES
    ]


def _make_contiguous(value: Any) -> Any:
    """Returns arguments whose arrays lie in memory as a file holds them."""
    if isinstance(value, np.ndarray):
        return np.array(value, order="C")
    if isinstance(value, Mapping):
        return {name: _make_contiguous(child) for name, child in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_make_contiguous(child) for child in value)
    return value


def list_results(result: Any) -> dict[str, Any]:
    """Returns the arrays of a result as float64, by the end of their names.

    >>> list_results(np.ones(1)), list(list_results([np.ones(1), np.ones(2)]))
    ({'': array([1.])}, ['.0', '.1'])
    """
    found = {f".{i}": one for i, one in enumerate(result)} if isinstance(result, list) else {"": result}
    return {end: np.asarray(one, np.float64) for end, one in found.items()}


def complete(call: Call, precision: Precision, wrong: Implementation | None = None) -> bool:
    """Computes a call's exact result and its budget; tells whether the call can be a vector.

    With ``wrong`` it has to show that this implementation is wrong.
    """
    if call.size > LARGEST:
        return False
    call.expected = list_results(getattr(swin_reference, call.name)(*call.args, **call.kwargs))
    if not all(one.size and np.isfinite(one).all() for one in call.expected.values()):
        return False
    for runs in (2, MORE_RUNS):  # two runs leave out most calls that cannot
        call.beta = _find_beta(call, precision, runs)
        if not all(_can_be_judged(call.beta[end], one, precision) for end, one in call.expected.items()):
            return False
        if wrong is not None and not is_broken_by(call, wrong):
            return False
    return True


def _can_be_judged(beta: Any, exact: Any, precision: Precision) -> bool:
    """Tells whether the two loops decide: the budget is steady, or the result is only moved and rounded."""
    rounded_once = 1.5 * (precision.unit * np.abs(exact) + precision.smallest)
    return is_steady(beta) or bool(np.all(beta <= rounded_once))


def _find_beta(call: Call, precision: Precision, runs: int) -> dict[str, Any]:
    found = []
    for number in range(runs):
        rounding = make_rounding(precision, number)
        run = Perturbed(swin_reference, rounding).raw(call.name, *call.args, **call.kwargs)[1]
        found.append(list_results(run))
    return {
        end: np.minimum(budget([run[end] - one for run in found], one, precision), np.finfo(np.float64).max)
        for end, one in call.expected.items()
    }


def make_rounding(precision: Precision, number: int) -> Rounding:
    """Returns the roundings of a run, as large as they can be, the same ones for the same number."""
    return Rounding(precision, np.random.default_rng([number, 6]), True)


def is_broken_by(call: Call, implementation: Implementation) -> bool:
    """Tells whether an implementation's result of a call is not accepted."""
    try:
        result = getattr(implementation, call.name)(*call.args, **call.kwargs)
    except (BadAnswer, Declined):
        return True
    return not accepts(call, list_results(result))


def accepts(call: Call, results: Mapping[str, Any]) -> bool:
    """Tells whether the two loops accept results; gradients that are not expected are not compared."""
    if not results.keys() >= call.expected.keys():
        return False
    return all(compare(results[end], one, call.beta[end]).holds for end, one in call.expected.items())


def make_wrong(bug: Bug, precision: Precision) -> Implementation:
    """Returns a planted bug that has not been called yet: some remember their calls."""
    return in_precision(bug.implementation(), precision)


def choose_calls(precision: Precision, names: Iterable[str] = CALLABLES) -> Iterator[Call]:
    """Yields the vectors of a precision: usual sizes, and for each planted bug a call that shows it, if any.

    There is one for each callable that shows it.  A call that shows several bugs is chosen once; its
    ``hunts`` has them all.
    """
    names = [name for name in names if name in CALLABLES]
    chosen = []
    for name, case in USUAL:
        if name in names:
            made = case.in_precision(precision.name)
            chosen.append(Call(name, CONTRACT[name].arguments(made), {}, f"{name}/oracle", str(case)))
    chosen = [call for call in chosen if complete(call, precision)]
    for bug in GALLERY.values():
        wrong = make_wrong(bug, precision)
        for name in sorted(touched(bug.name) & frozenset(names)):
            if not any(call.name == name and is_broken_by(call, wrong) for call in chosen):
                known = {write_vector(call, precision.name)[0] for call in chosen}
                found = _find_call(bug.name, wrong, name, precision)
                chosen += [call for call in found if write_vector(call, precision.name)[0] not in known]
    for call in chosen:
        call.hunts = [
            bug.name
            for bug in GALLERY.values()
            if call.name in touched(bug.name) and is_broken_by(call, make_wrong(bug, precision))
        ]
        yield call


def _find_call(bug: str, wrong: Implementation, name: str, precision: Precision) -> list[Call]:
    """Returns the first call of a callable, in a law that kills a bug, whose result shows the bug, if any."""
    kills = shipped()["default"].get(bug, {})
    for law in (LAWS[law] for law, where in kills.items() if precision.name in where):
        if law.tier == "gradient" or law.name.partition("/")[0] != name:
            continue
        for case in cases(law, "default", 0)[:CASES_OF_A_LAW]:
            for call in record_calls(law, case, precision):
                if call.name == name and complete(call, precision, wrong):
                    return [call]
    return []


def write_vector(call: Call, precision: str) -> tuple[str, bytes]:
    """Returns the id and the bytes of a vector.

    The id is made of the call itself: it is never used for another.
    """
    words, arrays = call.write()
    wide = np.float64 if precision == "float64" else np.float32
    arrays = {name: x.astype(wide) for name, x in arrays.items()}
    said = b"".join(map(bytes, encode(words, arrays)))
    gradient = "" if call.cotangent is None else "gradient-"
    name = f"{call.name}-{gradient}{precision}-{hashlib.sha256(said).hexdigest()[:10]}"
    words |= {
        "id": name,
        "precision": precision,
        "law": call.law,
        "case": call.case,
        "hunts": ", ".join(call.hunts),
    }
    for end, expected in call.expected.items():
        arrays |= {f"expected{end}": expected, f"beta{end}": call.beta[end]}
    return name, b"".join(map(bytes, encode(words, arrays)))


VECTOR_PRECISIONS = [name for name in PRECISIONS if name in ("float32", "float16", "bfloat16")]
"""The precisions that have vectors."""
