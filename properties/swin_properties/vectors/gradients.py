"""Vectors of gradients: calls of ``vjp`` whose exact answers come from the oracle by complex step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
import swin_reference

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.arguments import list_arrays
from swin_properties.adapters.implementation import Implementation, vjp
from swin_properties.budget.budget import MORE_RUNS, RUNS, budget
from swin_properties.budget.precision import Precision
from swin_properties.budget.rounding import Rounding
from swin_properties.bugs.backward import kills
from swin_properties.bugs.backward.gallery import BUGS
from swin_properties.judging.gradients import differentiate
from swin_properties.laws.gradients import cotangent
from swin_properties.laws.law import LAWS, Derivative
from swin_properties.vectors.loops import compare
from swin_properties.vectors.make import Call, accepts, make_rounding

GRADIENT_PRECISIONS = ("float32",)
"""The precisions that have gradients: each column of a derivative is a run of the oracle."""

MOST_OF_A_RUN = 0.8 * sqrt(3.0)
"""The rho that no perturbed run may pass.

Its roundings are at their bound, honest ones 1/sqrt(3) of that in the mean: they stay below 0.8."""

AT_ONCE = 1 << 18
"""The most numbers of an array in which columns are computed side by side."""


@dataclass(frozen=True)
class Asked:
    """A law of the backward pass, a case of it, and the arrays whose gradients are asked for; all if none."""

    law: str
    case: str
    arrays: tuple[str, ...] = ()

    @property
    def callable(self) -> str:
        """Returns the callable whose gradients these are."""
        return self.law.partition("/")[0]


GRADIENTS = (
    Asked("window_partition/gradient", "seed=1 batch=2 grid=4x6 window=2x3 heads=1 head_dim=3"),
    Asked("window_reverse/gradient", "seed=1 batch=2 grid=4x6 window=2x3 heads=1 head_dim=3"),
    Asked("cyclic_shift/gradient", "seed=1 grid=5x6 window=3x3 shift=1x2 heads=1 head_dim=4"),
    Asked("relative_position_bias/gradient", "seed=1 grid=3x3 window=3x3 heads=2 head_dim=1"),
    Asked("layer_norm/gradient", "seed=1 grid=5x4 heads=1 head_dim=16"),
    Asked("mlp/gradient", "seed=1 grid=5x4 heads=1 head_dim=4"),
    Asked(
        "patch_embed/gradient",
        "seed=1 batch=2 grid=4x5 window=1x2 heads=1 head_dim=8",
        ("images", "proj.bias", "norm.weight"),
    ),
    Asked("patch_merging/gradient", "seed=1 batch=4 grid=4x3 heads=1 head_dim=2"),
    Asked(
        "window_attention/gradient",
        "seed=4 batch=2 grid=4x6 window=2x3 heads=1 head_dim=4",
        ("x", "qkv.weight", "qkv.bias", "proj.weight"),
    ),
    Asked("window_attention/mask-gradient", "seed=1 batch=2 grid=4x6 window=2x3 heads=2 head_dim=2", ("x",)),
    Asked(
        "shifted_window_attention/gradient",
        "seed=6 batch=2 grid=4x5 window=2x3 shift=1x1 heads=1 head_dim=4",
        ("x",),
    ),
    Asked(
        "swin_block/gradient",
        "batch=2 recipe=gentle seed=4 grid=4x4 window=2x2 shift=1x1 heads=1 head_dim=4",
        ("x", "attn.proj.weight", "mlp.fc1.weight"),
    ),
    Asked(
        "swin_block/drop-path-gradient",
        "seed=6 batch=2 grid=4x4 window=2x2 shift=1x1 heads=1 head_dim=4",
        ("x",),
    ),
)
"""The calls: small, for each number of the parameters costs `MORE_RUNS` runs of the oracle."""


class Noted(Exception):
    """Carries the call of ``vjp`` that a law makes."""


class Noting:
    """A Swin whose ``vjp`` is only noted."""

    def raw(self, *words: Any, **kwargs: Any) -> Any:
        """Raises the call."""
        raise Noted(words, kwargs)


def make_call(asked: Asked) -> Call:
    """Returns the call of ``vjp`` that a law makes on a case."""
    law = LAWS[asked.law]
    case = law.kind.parse(asked.case)
    if law.tier == "gradient":
        made: Derivative = law.body(None, case)
        shape = np.shape(getattr(swin_reference, made.name)(*made.args, **made.kwargs))
        return Call(made.name, made.args, made.kwargs, law.name, str(case), cotangent(case, shape))  # type: ignore[arg-type]
    try:
        law.body(Noting(), case)
    except Noted as noted:
        (_, name, u, *args), kwargs = noted.args
    return Call(name, tuple(args), kwargs, law.name, str(case), u)


def find_gradient(call: Call, label: str, rounding: Rounding | None = None) -> Any:
    """Returns J^T u of one array, column by column: g_i = u . Im f(x + i h e_i) / h.

    With ``rounding`` it is that of a perturbed run.  The columns of the first array are computed side by
    side, in the batch: its samples do not see each other.

    >>> u = np.array([1.0, 0.0, 0.0]).reshape(1, 1, 3, 1)
    >>> call = Call("cyclic_shift", (np.zeros((1, 1, 3, 1)), (0, 1)), {}, "", "", u)
    >>> find_gradient(call, "x").ravel()
    array([0., 1., 0.])
    """
    arrays = list_arrays(call.name, call.args)
    x = arrays[label]
    if label not in ("x", "images", "windows"):
        way = {label: np.zeros(x.shape)}
        found = np.empty(x.size)
        for number in range(x.size):
            way[label].reshape(-1)[number] = 1.0
            column = differentiate(Derivative(call.name, call.args, call.kwargs), way, rounding)
            found[number] = np.vdot(call.cotangent, column)
            way[label].reshape(-1)[number] = 0.0
        return found.reshape(x.shape)
    eye, most = np.eye(x.size), max(1, AT_ONCE // max(x.size, call.cotangent.size))
    parts = []
    for first in range(0, x.size, most):
        some = eye[first : first + most]
        copies = Derivative(call.name, (_repeat(x, len(some)), *call.args[1:]), _repeat_kept(call, len(some)))
        columns = differentiate(copies, {label: some.reshape(copies.args[0].shape)}, rounding)
        parts.append(columns.reshape(len(some), -1) @ call.cotangent.ravel())
    return np.concatenate(parts).reshape(x.shape)


def _repeat(x: Any, copies: int) -> Any:
    return np.concatenate([x] * copies)


def _repeat_kept(call: Call, copies: int) -> dict[str, Any]:
    """Returns the keywords of a batch of copies: drop path's factors are of its samples."""
    return {
        name: tuple(_repeat(one, copies) for one in value) if name == "kept" else value
        for name, value in call.kwargs.items()
    }


def name_gradient(call: Call, label: str) -> str:
    """Returns the end of the names of an array's gradient: ``.grad.x``, ``.grad.params.norm1.weight``."""
    return f".grad.{label if label in call.write()[1] else f'params.{label}'}"


def complete(call: Call, precision: Precision, arrays: Iterable[str] = ()) -> bool:
    """Computes the exact gradients and their budgets; tells whether there are any.

    A gradient that the two loops cannot decide is left out: one of few numbers, or one that few decide.
    """
    for label in arrays or list_arrays(call.name, call.args):
        exact = find_gradient(call, label)
        found: list[Any] = []
        for runs in (RUNS, MORE_RUNS):  # few leave out most gradients that cannot
            numbers = range(len(found), runs)
            found += [find_gradient(call, label, make_rounding(precision, number)) for number in numbers]
            beta = budget([run - exact for run in found], exact, precision)
            if any(compare(run, exact, beta).rho > MOST_OF_A_RUN for run in found):
                break
        else:
            end = name_gradient(call, label)
            call.expected[end], call.beta[end] = exact, beta
    return bool(call.expected)


def is_broken_by(call: Call, implementation: Implementation) -> bool:
    """Tells whether an implementation's gradients are not accepted."""
    try:
        found = vjp(implementation, call.name, call.cotangent, *call.args, **call.kwargs)
    except (BadAnswer, Declined):
        return True
    return not accepts(call, {name_gradient(call, label): one for label, one in found.items()})


def choose_gradients(precision: Precision, names: Iterable[str]) -> Iterator[Call]:
    """Yields the vectors of gradients of a precision, each with the planted backward passes that it shows."""
    if "vjp" not in names or precision.name not in GRADIENT_PRECISIONS:
        return
    for asked in GRADIENTS:
        call = make_call(asked)
        if call.name in names and complete(call, precision, asked.arrays):
            yield replace(
                call,
                hunts=[bug for bug in _list_bugs(asked) if is_broken_by(call, _make_wrong(bug, precision))],
            )


def _list_bugs(asked: Asked) -> list[str]:
    """Returns the planted backward passes that a law of the callable kills."""
    laws = {bug: {law.partition("/")[0] for law in killing} for bug, killing in kills.shipped().items()}
    return [bug for bug in BUGS if asked.callable in laws[bug]]


def _make_wrong(bug: str, precision: Precision) -> Implementation:
    return Implementation(BUGS[bug].implementation(precision.name), precision)
