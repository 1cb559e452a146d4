"""Writes a report as JSON, in the form that `report.schema.json` beside this file defines."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import isfinite
from typing import Any

from swin_properties.judging.report import Counterexample, LawResult, Report
from swin_properties.laws.law import LAWS

SCHEMA = 2
"""The version of the schema, which grows when readers of the last version would not understand the next.

Version 2: the statuses are "holds" and "broken" (were "held" and "fell"), `cause` and `caught` (were
`diagnosis` and `catches`), and each law has `where`, its file and line.
"""


def text(report: Report) -> str:
    """Returns the report as JSON text."""
    return json.dumps(_report(report), indent=2, allow_nan=False) + "\n"


def _report(report: Report) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "catalogue": report.catalogue,
        "implementation": report.implementation,
        "precision": report.precision,
        "device": report.device,
        "convention": report.convention,
        "convention_chosen": report.chosen,
        "scope": report.scope,
        "recognised": list(report.recognised),
        "notes": list(report.notes),
        "faults": list(report.faults),
        "quantised": report.quantised,
        "effort": report.effort,
        "seed": report.seed,
        "exit_code": report.exit_code,
        "required_but_not_offered": list(report.required),
        "stale": [asdict(known) for known in report.stale],
        "cause": report.cause,
        "caught": report.caught,
        "largest_sizes": report.sizes._asdict(),
        "first_wrong_component": report.first,
        "few_shapes": report.few_shapes,
        "without_graph_optimisation": None if report.unoptimised is None else _law(report.unoptimised),
        "laws": [_law(result) for result in report.results],
    }


def _law(result: LawResult) -> dict[str, Any]:
    infinite = result.rho is not None and not isfinite(result.rho)
    return {
        "name": result.law,
        "sentence": result.sentence,
        "where": result.where,
        "tier": LAWS[result.law].tier,
        "status": result.status,
        "cases": result.cases,
        "planned_cases": result.cases if result.planned is None else result.planned,
        "rho": "infinite" if infinite else result.rho,
        "missing": list(result.missing),
        "declined": len(result.declined),
        "known": None if result.known is None else asdict(result.known),
        "counterexample": None if result.counterexample is None else _counterexample(result.counterexample),
    }


def _counterexample(found: Counterexample) -> dict[str, Any]:
    told = {"case": str(found.case), "seen": found.seen, "reproduce": found.reproduce, "needed": found.needed}
    told |= {"traceback": found.traceback} if found.traceback else {}
    return told if found.usual is None else {**told, "usual": _counterexample(found.usual)}
