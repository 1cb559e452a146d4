"""Writes where an implementation differs: as a table with sentences, and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any

from rich.table import Table

from swin_properties.budget.budget import RHO_LIMIT, RHO_MAX_LIMIT, Deviation
from swin_properties.locate.compare import Found, Location
from swin_properties.reports.terminal import name_device, write_rho

SCHEMA = 1
"""The version of the JSON, which grows when readers of the last version would not understand the next."""

UNDISTURBED = {
    "": ("logits", ""),
    "onnx": (
        "logits without further outputs",
        "what a runtime fuses where no further output is asked (--optimisation off fuses nothing)",
    ),
    "module": ("logits without hooks", "what hooks switch off"),
}
"""By how a network was watched: what its undisturbed logits are called, and what watching may change."""

MOST_NAMES = 3
"""The most weights that a sentence names."""


@dataclass(frozen=True)
class Report:
    """Where an implementation differs, and what was compared.

    ``layout`` is that of a module, ``onnx`` for an exported file, empty for an adapter.  ``others`` are the
    weights of a network that differ from those that the oracle was given.  ``notes`` say what could not be
    compared.  ``quantised``: rho is a measure, no verdict.
    """

    implementation: str
    precision: str
    device: str
    convention: str
    layout: str
    weights: str
    image: str
    location: Location
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    quantised: bool = False

    @property
    def exit_code(self) -> int:
        """Returns 0 where all is within the budget, else 1; 2 for a quantised file, which is not judged."""
        return 2 if self.quantised else self.location.exit_code


def make_table(location: Location) -> Table:
    """Returns a line for each step: its rho from the image on, its rho alone, and what is wrong with it."""
    table = Table(box=None, pad_edge=False)
    for name in ("step", "name"):
        table.add_column(name, no_wrap=True)
    for name in ("rho from image", "rho alone"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="fold")
    for one in (*location.steps, *location.stages):
        wrong = f"[bold red]beyond: {_name_fault(one)}[/]" if one.beyond else ""
        table.add_row(one.place.words, one.place.name, _write(one.whole), _write(one.alone), wrong)
    return table


def _name_fault(one: Found) -> str:
    """Returns in few words what is beyond its budget."""
    own = one.alone is not None and not one.alone.holds
    return ", ".join(one.wrong_parts) or ("its budget" if own else "its input")


def _write(found: Deviation | None) -> str:
    return "" if found is None else write_rho(found.rho)


def describe(report: Report) -> list[str]:
    """Returns what the table shows in sentences, the verdict last."""
    location = report.location
    lines = [f"note: {note}" for note in report.notes]
    if report.others:
        named = ", ".join(report.others[:MOST_NAMES])
        more = len(report.others) - MOST_NAMES
        lines.append(
            f"other weights than the oracle was given: {named}" + (f" and {more} more" if more > 0 else "")
        )
    asked = {one.place.stage for one in location.steps if one.place.kind == "block"}
    if not report.quantised:  # every step is beyond: the table shows by how much
        lines += [_describe_step(one, one.place.stage in asked) for one in location.beyond]
    logits = location.logits
    if logits is not None:
        word = "within" if logits.holds else "beyond"
        name, changing = UNDISTURBED.get(report.layout, UNDISTURBED["module"])
        lines.append(f"{name}: {_measure(logits)}: {word} the budget")
        if not logits.holds and not location.beyond:
            lines.append(
                "no step is beyond its budget, these logits are: look at "
                + f"{changing}, and at " * bool(changing)
                + "what stands between the steps"
            )
    names = " and ".join(one.place.words for one in location.beyond)
    verdict = (
        f"differs at {names}"
        if names
        else "differs"
        if location.exit_code
        else "within its budget throughout"
    )
    if report.quantised:
        verdict = "is quantised: measured, not judged"
    where = f"{report.precision}{name_device(report.device)}, {report.convention} convention"
    return [*lines, f"{report.implementation} in {where}: {verdict}"]


def _describe_step(one: Found, by_blocks: bool) -> str:
    """Returns what is wrong with a step; ``by_blocks``: the blocks of its stage were asked as well."""
    head = f"{one.place.words} ({one.place.name})"
    sentences = []
    if one.handed is not None and not one.handed.holds:
        sentences.append(f"{head} is given something else than the step before gave: {_measure(one.handed)}")
    if one.alone is not None and not one.alone.holds:
        sentences.append(
            f"{head} is beyond its budget on its own input: {_measure(one.alone)}{_explain(one, by_blocks)}"
        )
    return "; ".join(sentences)


def _measure(found: Deviation) -> str:
    return (
        f"rho {write_rho(found.rho)} (limit {RHO_LIMIT:g}), worst element {write_rho(found.rho_max)} budgets "
        f"(limit {RHO_MAX_LIMIT:g})"
    )


def _explain(one: Found, by_blocks: bool) -> str:
    """Returns what in a block or a stage is wrong, as the end of a sentence."""
    if one.place.kind == "stage" and by_blocks:
        return "; its blocks are right when they are asked alone: look at what the stage gives them"
    if one.place.kind != "block":
        return ""
    if not one.parts:
        return "; its parts are not known"
    if not one.wrong_parts:
        return "; its parts are right, each alone: look at what joins them"
    inside = ""
    if one.inside is not None:
        right = (
            "right inside the windows that it is given: look at their roll, their order and their mask, or "
            "whether it follows another --convention"
        )
        inside = f" ({right if one.inside.holds else 'inside the windows'})"
    parts = [part + inside if part == "attention" else part for part in one.wrong_parts]
    return f"; what is wrong is its {' and its '.join(parts)}"


def write_json(report: Report) -> str:
    """Returns the report as JSON text."""
    location = report.location
    content = {
        "schema": SCHEMA,
        "implementation": report.implementation,
        "precision": report.precision,
        "device": report.device,
        "convention": report.convention,
        "layout": report.layout,
        "weights": report.weights,
        "image": report.image,
        "exit_code": report.exit_code,
        "limits": {"rho": RHO_LIMIT, "rho_max": RHO_MAX_LIMIT},
        "beyond": [one.place.name for one in location.beyond],
        "steps": [_write_step(one) for one in location.steps],
        "stages": [_write_step(one) for one in location.stages],
        "logits": _write_deviation(location.logits),
        "other_weights": list(report.others),
        "notes": list(report.notes),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _write_step(one: Found) -> dict[str, Any]:
    return {
        "name": one.place.name,
        "step": one.place.words,
        "from_image": _write_deviation(one.whole),
        "alone": _write_deviation(one.alone),
        "handed": _write_deviation(one.handed),
        "beyond": one.beyond,
        "parts": [{"part": name, **(_write_deviation(part) or {})} for name, part in one.parts],
        "inside_windows": _write_deviation(one.inside),
    }


def _write_deviation(found: Deviation | None) -> dict[str, Any] | None:
    if found is None:
        return None
    numbers = {"rho": found.rho, "rho_max": found.rho_max}
    written = {name: value if isfinite(value) else "infinite" for name, value in numbers.items()}
    return {**written, "holds": found.holds}
