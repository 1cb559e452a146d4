"""``swin-oracle locate``: finds the blocks in which an implementation differs from the oracle."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import swin_reference
import swin_weights
from rich.console import Console
from swin_reference.config import CONVENTIONS, convention_named

from swin_properties.adapters.implementation import apply_convention
from swin_properties.adapters.load import load_network, set_device, set_precision
from swin_properties.adapters.process import ProcessGone
from swin_properties.commands.words import (
    Work,
    add_convention,
    add_device,
    add_dtype,
    add_implementation,
    add_photograph,
    add_process,
    find_source,
    name_implementation,
    start_implementation,
)
from swin_properties.judging.implementation import load_implementation
from swin_properties.locate.ask import ask_adapter
from swin_properties.locate.compare import compare, complete
from swin_properties.locate.steps import Steps
from swin_properties.locate.weights import PREFIX, find_other_weights
from swin_properties.predict import photo
from swin_properties.reports import files, location
from swin_properties.reports.drawing import svg
from swin_properties.reports.drawing.depth import draw_depth

DESCRIPTION = """Runs one photograph through an implementation and compares what it computes on the way with
the oracle: from the image on, where errors accumulate, and each block alone, on the very input that it got.
Names every block beyond its error budget, and which part of it. Exit code: 0 all is within the budget; 1 a
step is beyond it; 2 nothing could be compared."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "find the blocks in which an implementation differs from the oracle"
    locate = commands.add_parser("locate", help=words, description=DESCRIPTION)
    locate.set_defaults(prepare=prepare)
    needs = "an nn.Module, a function or class that makes one, or an adapter with swin_block or swin_features"
    add_implementation(locate, needs, program=True)
    add_photograph(locate)
    load = "load these weights into the module first (default: it is compared with the weights that it holds)"
    locate.add_argument("--load-weights", action="store_true", help=load)
    add_dtype(locate)
    add_device(locate)
    add_convention(locate)
    add_process(locate)
    locate.add_argument("--json", metavar="FILE", help="also write what was found as JSON")
    locate.add_argument("--svg", metavar="FILE", help="also draw both lines along the depth")


def prepare(args: argparse.Namespace) -> Work:
    """Runs the implementation and compares; the work writes and prints what was found."""
    paths = [path for path in (args.json, args.svg) if path is not None]
    files.check_paths(paths, [find_source(args), *args.program, args.image, args.checkpoint, args.config])
    weights = photo.load_weights(args.checkpoint, args.config, args.image_size, args.seed)
    found = start_implementation(args, modules=True)
    network = load_network(found) if isinstance(found, str) else found if found.layout else None
    try:
        if network is not None:
            report = locate_module(network, weights, args)
        else:
            report = locate_adapter(found, weights, args)
    except ProcessGone as gone:
        raise ValueError(f"an implementation computes maps, {name_implementation(args)}: {gone}") from None

    def work(console: Console) -> int:
        if args.json is not None:
            files.write(args.json, location.write_json(report))
        if args.svg is not None:
            sizes = f"{report.implementation} in {report.precision}"
            files.write(args.svg, svg.make_document(draw_depth(report.location, "Where it differs", sizes)))
        console.print(f"weights: {report.weights}", markup=False, highlight=False, soft_wrap=True)
        console.print(location.make_table(report.location))
        for line in location.describe(report):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return report.exit_code

    return work


def locate_module(network: Any, weights: photo.Weights, args: argparse.Namespace) -> location.Report:
    """Compares a network that is an nn.Module, watched by hooks."""
    network, precision = set_precision(
        set_device(network, args.device, name_implementation(args)), args.dtype, name_implementation(args)
    )
    name = args.convention or (network.convention if network.convention in CONVENTIONS else "canonical")
    convention = convention_named(name)
    weights = replace(weights, config=replace(weights.config, convention=name))
    images, params = photo.make_inputs(weights, args.image, precision)
    steps = Steps(apply_convention(convention, swin_reference), weights.config, convention)
    flat = swin_weights.flatten(params)
    given = {key: x.astype(precision.dtype) for key, x in flat.items()} if args.load_weights else {}
    recorded = network.record(images.astype(precision.dtype), given)
    others = find_other_weights(recorded, flat, name_implementation(args))
    maps = {key: x.astype(np.float64) for key, x in recorded.items() if not key.startswith(PREFIX)}
    notes = []
    if "head.out" not in maps:
        notes.append("it gives no logits (B, classes): its head is not compared")
    located = compare(complete(maps, steps), images, params, steps, steps, precision)
    return location.Report(
        name_implementation(args),
        precision.name,
        str(network.device),
        name,
        network.layout,
        weights.source,
        args.image,
        located,
        tuple(others),
        tuple(notes),
    )


def locate_adapter(found: Any, weights: photo.Weights, args: argparse.Namespace) -> location.Report:
    """Compares an adapter, asked block by block and stage by stage."""
    if args.load_weights:
        raise ValueError("--load-weights is for an nn.Module, an adapter is given them always: leave it out")
    implementation = load_implementation(found, args.dtype, args.convention, args.device)
    convention, precision = implementation.convention, implementation.precision
    config = replace(weights.config, convention=convention.name)
    images, params = photo.make_inputs(weights, args.image, precision)
    steps = Steps(implementation.oracle, config, convention)
    exact = Steps(implementation.expected, config, convention)
    maps, notes = ask_adapter(implementation, images, params, steps)
    return location.Report(
        name_implementation(args),
        precision.name,
        implementation.device,
        convention.name,
        "",
        weights.source,
        args.image,
        compare(maps, images, params, steps, exact, precision),
        (),
        tuple(notes),
    )
