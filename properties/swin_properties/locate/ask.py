"""Asks an adapter for the maps of its network: block by block where it offers blocks, else stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.contract import V2_NAMES
from swin_properties.adapters.implementation import Implementation
from swin_properties.locate.steps import Place, Steps, find_params, list_places

CALLABLES = {"embedding": "patch_embed", "block": "swin_block", "merge": "patch_merging"}
"""The callable that computes each kind of step, by its name in V1."""


def name_callable(name: str, steps: Steps) -> str:
    """Returns the name of a callable in the version of Swin that is located in."""
    return V2_NAMES.get(name, name) if steps.is_v2 else name


def ask_adapter(
    implementation: Implementation, images: Any, params: Mapping[str, Any], steps: Steps
) -> tuple[dict[str, Any], list[str]]:
    """Returns the maps that an adapter computes, and notes on what could not be asked.

    Each callable is given what the adapter's own callables made before it; the oracle's ``steps`` take the
    place of those that it does not offer.

    Errors: ``ValueError`` for an adapter that offers neither ``swin_block`` nor ``swin_features``, or answers
    what no Swin answers.
    """
    block, features, network = (
        name_callable(name, steps) for name in ("swin_block", "swin_features", "swin_transformer")
    )
    if not implementation.offers(block) and not implementation.offers(features):
        raise ValueError(
            f"locate compares blocks or stages, this implementation offers neither {block} nor "
            f"{features}: add one of them"
        )
    maps: dict[str, Any] = {}
    notes: list[str] = []
    try:
        if implementation.offers(block):
            _ask(lambda: _ask_blocks(implementation, images, params, steps, maps), block, maps, notes)
        else:
            notes.append(f"it offers no {block}: only stages can be told apart")
        if implementation.offers(features):
            _ask(lambda: _ask_stages(implementation, images, params, steps, maps), features, maps, notes)
        else:
            notes.append(f"it offers no {features}: what is between its blocks is not compared")
        if implementation.offers(network):
            maps["logits"] = getattr(implementation, network)(images, params, steps.config)
            if "head.in" in maps:
                maps["head.out"] = maps["logits"]
    except (BadAnswer, Declined) as bad:
        raise ValueError(
            f"an implementation computes maps of a photograph, this one did not: {bad}"
        ) from None
    if not maps:
        raise ValueError(
            f"an implementation takes the photograph's size, this one does not: {'; '.join(notes)}"
        )
    return maps, notes


def _ask(ask: Callable[[], None], name: str, maps: dict[str, Any], notes: list[str]) -> None:
    """Asks; what is declined is noted, and what was asked before it is forgotten."""
    before = dict(maps)
    try:
        ask()
    except Declined as reason:
        maps.clear()
        maps.update(before)
        notes.append(f"it declined {name}: {reason}")


def _ask_blocks(
    implementation: Implementation,
    images: Any,
    params: Mapping[str, Any],
    steps: Steps,
    maps: dict[str, Any],
) -> None:
    rounded = implementation.precision.rounded
    own = Steps(implementation, steps.config, implementation.convention)
    x = images
    for place in list_places(steps.config)[:-1]:
        offered = implementation.offers(name_callable(CALLABLES[place.kind], steps))
        given = find_params(params, place)
        y = rounded((own if offered else steps).step(place, x, given))
        if offered:
            maps |= {f"{place.name}.in": x, f"{place.name}.out": y}
        if place.kind == "block":
            _ask_parts(implementation, own, place, x, given, maps)
        x = y


def _ask_parts(
    implementation: Implementation, own: Steps, place: Place, x: Any, params: Any, maps: dict[str, Any]
) -> None:
    """Asks the callables of a block's parts, each from what the one before gave, if all are offered."""
    names = ("layer_norm", name_callable("shifted_window_attention", own), "mlp")
    if not all(implementation.offers(name) for name in names):
        return
    rounded = implementation.precision.rounded
    if own.is_v2:
        attended = rounded(own.attention(place, x, params))
        normed = rounded(own.norm1(place, attended, params))
        fed = rounded(own.mlp_of_sum(place, x, normed, params))
        made = {"norm1.in": attended, "norm1.out": normed, "norm2.in": fed}
        maps |= {f"{place.name}.{key}": y for key, y in made.items()}
        maps[f"{place.name}.norm2.out"] = rounded(own.norm2(place, fed, params))
        return
    normed = rounded(own.norm1(place, x, params))
    attended = rounded(own.attention(place, normed, params))
    summed = rounded(x + attended)
    normed_again = rounded(own.norm2(place, summed, params))
    fed = rounded(own.mlp(place, normed_again, params))
    made = {"norm1": normed, "attention": attended, "norm2": normed_again, "mlp": fed}
    maps |= {f"{place.name}.{part}.out": y for part, y in made.items()} | {f"{place.name}.sum": summed}


def _ask_stages(
    implementation: Implementation,
    images: Any,
    params: Mapping[str, Any],
    steps: Steps,
    maps: dict[str, Any],
) -> None:
    x, features = images, getattr(implementation, name_callable("swin_features", steps))
    for stage, y in enumerate(features(images, params, steps.config)):
        maps |= {f"layers.{stage}.in": x, f"layers.{stage}.out": implementation.precision.rounded(y)}
        x = maps[f"layers.{stage}.out"]
    maps["head.in"] = x
