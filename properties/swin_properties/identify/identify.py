"""Finds the convention that an implementation follows, by networks of sizes at which conventions differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from math import isinf, prod
from types import SimpleNamespace
from typing import Any

import numpy as np
import swin_reference
from swin_reference.config import CONVENTIONS, DECISIONS, Convention, convention_named
from swin_reference.conventions import CONVENTIONS_V2, differences
from swin_reference.parameters import hot_parameters
from swin_reference.parameters_v2 import network_shapes

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.contract import find_refusal
from swin_properties.adapters.implementation import CANONICAL, Implementation, apply_convention
from swin_properties.adapters.process import ProcessGone
from swin_properties.budget.within import Residuals, perturb, within_budget
from swin_properties.cases import recipes
from swin_properties.identify.sizes import FEW, PEAKED, SWEEP, OnlyNetwork, SmallNetwork

NETWORKS = {
    "swin_transformer": CONVENTIONS,
    "swin_features": CONVENTIONS,
    "swin_v2_transformer": CONVENTIONS_V2,
    "swin_v2_features": CONVENTIONS_V2,
}
"""The callables by which a convention is identified, the first that is offered, and the named conventions."""

ONLY_IN_V2 = ("height", "shrink-height")
"""The values of decisions that only Swin V2's conventions have."""

FAR = 1e4
"""Roundings, relative to the result, beyond which two results differ whatever the budget is."""

ALIKE = 1e-2
"""Share of the smallest budget below which the exact results of two conventions are one."""


@dataclass(frozen=True)
class Answer:
    """What an implementation did with one network: which named conventions do the same, and how it differs.

    ``rejected``: why it gave nothing, if so.  ``decisions``: where it follows no named convention, the
    nearest one and the decisions in which it would have to differ, if any combination of these does the same.
    ``asked``: the named conventions with which it was compared.
    """

    network: SmallNetwork
    follows: tuple[str, ...]
    rejected: str = ""
    decisions: str = ""
    asked: tuple[str, ...] = tuple(CONVENTIONS)


@dataclass(frozen=True)
class Identity:
    """The answers for several networks, and the conventions that they leave."""

    answers: list[Answer] = field(default_factory=list)

    @property
    def asked(self) -> tuple[str, ...]:
        """The named conventions with which the implementation was compared; none before the first answer."""
        return self.answers[0].asked if self.answers else ()

    @property
    def fits(self) -> list[str]:
        """The named conventions that do what the implementation does at every size."""
        return [name for name in self.asked if name not in self.separated]

    @property
    def separated(self) -> dict[str, list[SmallNetwork]]:
        """For each convention that does not fit, the networks with which it does something else."""
        out = {name: [a.network for a in self.answers if name not in a.follows] for name in self.asked}
        return {name: networks for name, networks in out.items() if networks}


def identify(
    implementation: Implementation, networks: Iterable[SmallNetwork] = SWEEP, explain: bool = True
) -> Identity:
    """Compares an implementation with the oracle under every named convention, network by network.

    ``explain``: where it follows none, looks for the decisions that explain its output.

    Errors: ``ValueError`` for an implementation that offers no whole network.
    """
    return Identity(list(ask_networks(implementation, networks, explain)))


def ask_networks(
    implementation: Implementation, networks: Iterable[SmallNetwork], explain: bool = True
) -> Iterator[Answer]:
    """Gives the answers of `identify` one by one, as they are found."""
    name = next((name for name in NETWORKS if implementation.offers(name)), None)
    if name is None:
        raise ValueError(
            "a convention is identified by a whole network, this implementation offers neither "
            f"{' nor '.join(NETWORKS)}: offer one of them"
        )
    rare = list(list_combinations(True, NETWORKS[name] is CONVENTIONS_V2))
    for network in networks:
        yield _ask_network(implementation, name, network, explain, rare)


def find_convention(implementation: Implementation) -> tuple[Convention, str]:
    """Returns the convention that an undeclared implementation is judged by, and how it was found.

    It tries the networks in `FEW`, until no convention is left.  Where one was rejected, it tries those of
    `SWEEP` too: a crash at some sizes looks like a rejection, and at others it shows what it is.
    """
    shown = getattr(implementation.adapter, "mask_value", "")  # of an exported file
    if not any(implementation.offers(name) for name in NETWORKS):
        found = convention_named(f"{CANONICAL.name},mask_value={shown}") if shown else CANONICAL
        return found, "assumed" if found == CANONICAL else "assumed, but for the mask that the file has"
    seen = Identity()
    for answer in ask_networks(implementation, choose_networks(implementation), explain=False):
        seen = Identity([*seen.answers, answer])
        if not seen.fits:
            break
    if seen.fits and any(answer.rejected for answer in seen.answers) and not implementation.scope.network:
        rest = [network for network in SWEEP if network not in FEW]
        seen = Identity([*seen.answers, *ask_networks(implementation, rest, explain=False)])
    fits = seen.fits
    if shown:
        fits = [name for name in fits if f"{convention_named(name).mask_value:g}" == shown] or fits
    if not fits:
        combination = None if implementation.scope.network else find_combination(implementation)
        if combination is None:
            return CANONICAL, "assumed: it follows none"
        return combination, "identified as decisions that no named convention has"
    first, *others = fits
    alike = f"identified; at its sizes the same as {', '.join(others)}" if others else "identified"
    found = see_mask(implementation, convention_named(first))
    return found, alike if implementation.scope.network else "identified"


def see_mask(implementation: Implementation, convention: Convention) -> Convention:
    """Returns a convention with the mask of -inf, if the implementation hides with that and not with its own.

    No image size tells one mask from the other: logits that are far apart do.
    """
    if isinf(convention.mask_value) or implementation.scope.network:
        return convention
    name = next(one for one in NETWORKS if implementation.offers(one))
    compared = _Comparing(implementation, name, PEAKED)
    hiding = convention_named(f"{convention.name},mask_value=-inf")
    return hiding if compared.same(hiding) and not compared.same(convention) else convention


def find_combination(implementation: Implementation) -> Convention | None:
    """Returns the decisions that an implementation follows: a named convention's with the fewest changes.

    None where no combination gives its results on all networks of `FEW`.
    """
    name = next(one for one in NETWORKS if implementation.offers(one))
    of_v2 = NETWORKS[name] is CONVENTIONS_V2
    small_first = sorted(FEW, key=lambda network: prod(network.image))
    compared = [_Comparing(implementation, name, network) for network in small_first]
    left: list[Convention] = []
    for rare in (False, True):
        if not left:
            left = list(list_combinations(rare, of_v2))
            for one in compared:
                left = [convention for convention in left if one.same(convention)]
    if not left:
        return None
    nearest, changed = _find_nearest(left, NETWORKS[name])
    words = [nearest, *(f"{key}={value}" for key, value in changed.items())]
    return see_mask(implementation, convention_named(",".join(words)))


def choose_networks(implementation: Implementation) -> Iterable[SmallNetwork]:
    """Returns the networks by which a convention is found: for an implementation of one network, that one."""
    scope = implementation.scope
    if not scope.network:
        return FEW
    cases = [replace(scope.only_network, image=image) for image in scope.image_sizes]
    # Under `peaked`, whose logits are far apart, a mask of -100 lets tokens of other regions be seen.
    asked = [("generic", case) for case in cases]
    if not getattr(implementation.adapter, "mask_value", ""):
        asked.append(("peaked", cases[0]))
    return [OnlyNetwork(case.image, recipe=recipe, only=case.config) for recipe, case in asked]


def _ask_network(
    implementation: Implementation, name: str, network: SmallNetwork, explain: bool, rare: list[Convention]
) -> Answer:
    """Compares the implementation with every named convention on one network.

    ``rare`` holds the combinations with a rare decision that are not ruled out; this network rules some out.
    """
    compared, asked = _Comparing(implementation, name, network), tuple(NETWORKS[name])
    follows = tuple(key for key, convention in NETWORKS[name].items() if compared.same(convention))
    rejected = compared.rejection
    if follows or rejected or not explain:
        return Answer(network, follows, rejected, asked=asked)
    return Answer(network, follows, decisions=_explain(compared, rare), asked=asked)


class _Comparing:
    """One network's images, and what the implementation gives for each set of parameter shapes."""

    def __init__(self, implementation: Implementation, name: str, network: SmallNetwork) -> None:
        self.implementation = implementation
        self.name = name
        self.network = network
        self.is_v2 = NETWORKS[name] is CONVENTIONS_V2
        self.config = network.config_v2 if self.is_v2 else network.config
        images = recipes.tokens("generic", (1, *network.image, 3), np.random.default_rng(0))
        self.images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        self.given: dict[str, Any] = {}
        self.perturbed: list[tuple[Any, Any, Residuals]] = []
        """Exact results, their budgets and the residuals: conventions that agree at this size share them."""

    def make_parameters(self, convention: Convention) -> Any:
        """Returns hot parameters of the shapes that a convention gives the network."""
        own = self.implementation.own
        if own:
            return own.params
        hot = hot_parameters(network_shapes(self.config, convention))
        return recipes.weights(self.network.recipe, hot)

    def get(self, params: Any) -> Any:
        """Returns what the implementation gives, flat, or the sentence with which it refused."""
        attentions = [stage["blocks"][0]["attn"] for stage in params["layers"]]  # V2's have no tables
        key = str([np.shape(one.get("relative_position_bias_table")) for one in attentions])
        if key not in self.given:
            self.implementation.fresh()
            network = getattr(self.implementation, self.name)
            try:
                self.given[key] = _flatten(network(self.images, params, self.config))
            except (BadAnswer, Declined, ProcessGone) as refused:
                self.given[key] = str(refused)
        return self.given[key]

    def rejects(self, convention: Convention) -> bool:
        """Tells whether a convention rejects this size."""
        return bool(find_refusal(self.name, (self.images, None, self.config), convention))

    def same(self, convention: Convention) -> bool:
        """Tells whether the implementation does what the oracle does under a convention: also reject."""
        if self.rejects(convention):
            return bool(self.rejection)
        params = self.make_parameters(convention)
        got = self.get(params)
        if isinstance(got, str):
            return False
        config = replace(self.config, convention=convention.name)  # the second oracle reads the name
        source = apply_convention(convention, self.implementation.source)
        expected = _flatten(getattr(source, self.name)(self.images, params, config))
        precision = self.implementation.precision
        far = FAR * precision.unit * np.linalg.norm(expected)
        if got.shape != expected.shape or np.linalg.norm(got - expected) > far:
            return False

        def compute(swin: Any) -> Any:
            return _flatten(getattr(swin, self.name)(self.images, params, self.config)), expected

        oracle = apply_convention(convention, swin_reference)
        residuals = self._find_residuals(expected) or perturb(compute, oracle, precision)
        answered = SimpleNamespace(**{self.name: lambda *_: got})
        outcome = within_budget(compute, answered, oracle, precision, residuals)
        self.perturbed.append((expected, outcome.pairs[0].beta, residuals))
        return outcome.holds

    @property
    def rejection(self) -> str:
        """Why the implementation takes the parameters of no convention; empty if it takes some."""
        reasons = []
        for convention in NETWORKS[self.name].values():
            if not self.rejects(convention):
                got = self.get(self.make_parameters(convention))
                if not isinstance(got, str):
                    return ""
                reasons.append(got)
        return reasons[0]

    def _find_residuals(self, expected: Any) -> Residuals:
        """Returns the residuals of a convention whose exact result is the same; empty where there is none."""
        for exact, beta, residuals in self.perturbed:
            if exact.shape == expected.shape and np.abs(exact - expected).max() < ALIKE * beta.min():
                return residuals
        return []


def _flatten(result: Any) -> Any:
    """Returns logits, or the maps of all stages, as one row of numbers."""
    maps = result if isinstance(result, list) else [result]
    return np.concatenate([np.asarray(map_, np.float64).ravel() for map_ in maps])


RARE = {"padded_keys": "hidden", "pad_side": "both", "small_table": "first"}
"""The decisions that no named convention takes."""


def list_combinations(rare: bool = False, of_v2: bool = False) -> Iterator[Convention]:
    """Gives every combination of decisions that has a result, with a name that says how it was made.

    ``rare``: those with one or more of the decisions in `RARE`, else those without.  ``of_v2``: those of V2,
    which has no bias table to read.

    >>> len(list(list_combinations())), len(list(list_combinations(rare=True)))
    (36, 204)
    >>> len(list(list_combinations(of_v2=True)))
    128
    """
    keys = ("image", "shift", "window", "padding", *(("offsets",) if of_v2 else ()))
    left_out = {"reject"} if of_v2 else {"reject", *ONLY_IN_V2}
    values = [[value for value in DECISIONS[key] if value not in left_out] for key in keys]
    for decided in (dict(zip(keys, chosen, strict=True)) for chosen in product(*values)):
        plain = Convention(",".join(f"{key}={value}" for key, value in decided.items()), **decided)
        if not rare:
            yield plain
            continue
        reads_table = decided["window"] != "keep" and not of_v2
        some = [key for key in RARE if key != "small_table" or reads_table]
        for number in range(1, len(some) + 1):
            for chosen in combinations(some, number):
                changes: dict[str, Any] = {key: RARE[key] for key in chosen}
                name = ",".join([plain.name, *(f"{key}={value}" for key, value in changes.items())])
                yield replace(plain, name=name, **changes)


def _explain(compared: _Comparing, rare: list[Convention]) -> str:
    """Says in which fewest decisions a named convention would have to differ; empty if no decisions do."""
    fitting = [
        convention for convention in list_combinations(of_v2=compared.is_v2) if compared.same(convention)
    ]
    if not fitting:
        rare[:] = fitting = [convention for convention in rare if compared.same(convention)]
    if not fitting:
        return ""
    name, changed = _find_nearest(fitting, NETWORKS[compared.name])
    words = "; ".join(DECISIONS[key][value] for key, value in changed.items())
    return f"{name}, but {words}" if words else f"{name}, but it takes what {name} rejects"


def _find_nearest(
    fitting: Sequence[Convention], named: Mapping[str, Convention]
) -> tuple[str, dict[str, str]]:
    """Returns the named convention that has to change in the fewest decisions to fit, and these."""
    steps = [
        (name, _keep_visible(differences(convention, other)))
        for name, convention in named.items()
        for other in fitting
    ]
    return min(steps, key=lambda step: len(step[1]))


def _keep_visible(changed: dict[str, Any]) -> dict[str, str]:
    """Leaves out what no image size reveals: mask_value, the clamp, whether other sizes are rejected."""
    return {key: value for key, value in changed.items() if key not in ("mask_value", "grid", "clamp")}
