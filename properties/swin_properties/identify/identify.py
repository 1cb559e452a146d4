"""Which Swin is this?  A fresh network for each size that separates conventions, beside the oracle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import swin_reference
from swin_reference.config import CONVENTIONS, DECISIONS, Convention, convention_named
from swin_reference.conventions import differences
from swin_reference.parameters import hot_parameters, parameter_shapes

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.implementation import CANONICAL, Expected, Implementation, Perturbed, under
from swin_properties.adapters.refusals import refusal
from swin_properties.budget.budget import budget, deviation, perturbed_residuals
from swin_properties.budget.precision import Precision
from swin_properties.cases import recipes
from swin_properties.identify.sizes import FEW, SWEEP, Size

CALLABLES = ("swin_transformer", "swin_features")
"""What can be identified, the first that is offered."""


FAR = 1e4
"""Roundings, relative to the result, beyond which a difference needs no budget to be judged."""

ALIKE = 1e-2
"""Share of the smallest budget below which two conventions' exact results are one."""


@dataclass(frozen=True)
class Answer:
    """What an implementation did at one size: which named conventions do the same, and how it differs.

    ``rejected``: why it gave nothing, if so; ``decisions``: where it follows no named convention, the nearest
    one and the decisions in which it would have to differ, if any combination of decisions does the same.
    """

    size: Size
    follows: tuple[str, ...]
    rejected: str = ""
    decisions: str = ""


@dataclass(frozen=True)
class Identity:
    """What a sweep showed: the answers, and of each convention that is out the first size that told."""

    answers: list[Answer] = field(default_factory=list)

    @property
    def fits(self) -> list[str]:
        """The named conventions that do what the implementation does at every size."""
        return [name for name in CONVENTIONS if self.answers and name not in self.separated]

    @property
    def separated(self) -> dict[str, list[Size]]:
        """For each convention that does not fit, the sizes at which it does something else."""
        out = {name: [a.size for a in self.answers if name not in a.follows] for name in CONVENTIONS}
        return {name: sizes for name, sizes in out.items() if sizes}


def identify(judged: Implementation, sizes: Iterable[Size] = SWEEP, explain: bool = True) -> Identity:
    """Compares an implementation with the oracle under every named convention, size by size.

    ``explain``: where it follows none, looks for the decisions that explain its output.

    Errors: ``ValueError`` for an implementation that offers no whole network.
    """
    return Identity(list(answers(judged, sizes, explain)))


def answers(judged: Implementation, sizes: Iterable[Size], explain: bool = True) -> Iterator[Answer]:
    """The answers one by one, as they are found."""
    name = next((name for name in CALLABLES if judged.offers(name)), None)
    if name is None:
        raise ValueError(
            "a convention is identified by a whole network, this implementation offers neither "
            f"{' nor '.join(CALLABLES)}: offer one of them"
        )
    for size in sizes:
        yield _answer(judged, name, size, explain)


def found(judged: Implementation) -> tuple[Convention, str]:
    """The convention that an undeclared implementation is judged by, and how it was found.

    As few of the sizes in `FEW` are tried as leave one convention, or none.
    """
    if not any(judged.offers(name) for name in CALLABLES):
        return CANONICAL, "assumed"
    seen = Identity()
    for answer in answers(judged, FEW, explain=False):
        seen = Identity([*seen.answers, answer])
        if len(seen.fits) < 2:
            break
    return (
        (convention_named(seen.fits[0]), "identified")
        if seen.fits
        else (CANONICAL, "assumed: it follows none")
    )


def _answer(judged: Implementation, name: str, size: Size, explain: bool) -> Answer:
    """What the implementation does at one size, beside every named convention."""
    trials = _Trials(judged, name, size)
    follows = tuple(key for key, convention in CONVENTIONS.items() if trials.same(convention))
    rejected = trials.rejection
    if follows or rejected or not explain:
        return Answer(size, follows, rejected)
    return Answer(size, follows, decisions=_explained(trials))


class _Trials:
    """One size's images, and what the implementation gives for each set of parameter shapes."""

    def __init__(self, judged: Implementation, name: str, size: Size) -> None:
        self.judged = judged
        self.name = name
        self.config = size.config
        images = recipes.tokens("generic", (1, *size.image, 3), np.random.default_rng(0))
        self.images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        self.given: dict[str, Any] = {}
        self.budgets: list[tuple[Any, Any]] = []
        """Exact results and their budgets: conventions that agree at this size share one."""

    def parameters(self, convention: Convention) -> Any:
        """Hot parameters of the shapes that a convention gives the network."""
        return hot_parameters(parameter_shapes(self.config, convention))

    def got(self, params: Any) -> Any:
        """What the implementation gives, flat, or the sentence with which it refused."""
        tables = [stage["blocks"][0]["attn"]["relative_position_bias_table"] for stage in params["layers"]]
        key = str([table.shape for table in tables])
        if key not in self.given:
            self.judged.fresh()
            try:
                self.given[key] = _flat(getattr(self.judged, self.name)(self.images, params, self.config))
            except (BadAnswer, Declined) as refused:
                self.given[key] = str(refused)
        return self.given[key]

    def rejects(self, convention: Convention) -> bool:
        """Whether a convention rejects this size."""
        return bool(refusal(self.name, (self.images, None, self.config), convention))

    def same(self, convention: Convention) -> bool:
        """Whether the implementation does what the oracle does under a convention: also reject."""
        if self.rejects(convention):
            return bool(self.rejection)
        params = self.parameters(convention)
        got = self.got(params)
        if isinstance(got, str):
            return False
        known = convention.name in CONVENTIONS  # the second oracle reads the name in the configuration
        config = replace(self.config, convention=convention.name) if known else self.config
        expected = _flat(
            getattr(under(convention, self.judged.source), self.name)(self.images, params, config)
        )
        far = FAR * self.judged.precision.unit * np.linalg.norm(expected)
        if got.shape != expected.shape or np.linalg.norm(got - expected) > far:
            return False
        return deviation(got, expected, self._budget(convention, params, expected)).holds

    @property
    def rejection(self) -> str:
        """Why the implementation takes the parameters of no convention; empty if it takes some."""
        reasons = []
        for convention in CONVENTIONS.values():
            if not self.rejects(convention):
                got = self.got(self.parameters(convention))
                if not isinstance(got, str):
                    return ""
                reasons.append(got)
        return reasons[0]

    def _budget(self, convention: Convention, params: Any, expected: Any) -> Any:
        for exact, beta in self.budgets:
            if exact.shape == expected.shape and np.abs(exact - expected).max() < ALIKE * beta.min():
                return beta
        args = self.images, params, self.config
        beta = budget_of(args, convention, self.judged.precision, self.name)
        self.budgets.append((expected, beta))
        return beta


def budget_of(args: Any, convention: Convention, precision: Precision, name: str = "swin_transformer") -> Any:
    """The budget of every number that the oracle gives under a convention, in one row.

    ``args`` are those of the callable ``name``: images, parameters, configuration.
    """
    oracle = under(convention, swin_reference)
    expected = Expected(oracle)
    exact = _flat(getattr(expected, name)(*args))

    def perturbed(number: int) -> list[tuple[Any, Any]]:
        rounding = Perturbed(precision, expected, number, functions=oracle)
        return [(_flat(getattr(rounding, name)(*args)), exact)]

    (residuals,) = perturbed_residuals(perturbed)
    return budget(residuals, exact, precision)


def _flat(result: Any) -> Any:
    """Logits, or the maps of all stages, as one row of numbers."""
    maps = result if isinstance(result, list) else [result]
    return np.concatenate([np.asarray(map_, np.float64).ravel() for map_ in maps])


def combinations() -> Iterator[Convention]:
    """Every combination of decisions that gives a result, with a name that says how it was made.

    >>> len(list(combinations()))
    36
    """
    keys = "image", "shift", "window", "padding"
    values = {key: [value for value in DECISIONS[key] if value != "reject"] for key in keys}
    for image, shift, window, padding in product(*values.values()):
        yield Convention(f"{image}; {shift}; {window}; {padding}", image, shift, window, padding)


def _explained(trials: _Trials) -> str:
    """The fewest decisions by which a named convention becomes one that does what was seen; else empty."""
    fitting = [convention for convention in combinations() if trials.same(convention)]
    steps = [
        (len(changed), name, changed)
        for name, convention in CONVENTIONS.items()
        for other in fitting
        for changed in [_decided(differences(convention, other))]
    ]
    if not steps:
        return ""
    _, name, changed = min(steps, key=lambda step: step[0])
    words = "; ".join(DECISIONS[key][value] for key, value in changed.items())
    return f"{name}, but {words}" if words else f"{name}, but it takes what {name} rejects"


def _decided(changed: dict[str, Any]) -> dict[str, str]:
    """Without what no size can tell: how large a number hides a token, and whether others are rejected."""
    return {key: value for key, value in changed.items() if key not in ("mask_value", "grid")}
