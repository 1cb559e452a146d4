"""``swin-oracle locate``: finds the blocks in which an implementation differs from the oracle."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import swin_reference
import swin_weights
from rich.console import Console
from swin_reference.config import CONVENTIONS, SwinConfig, convention_named
from swin_reference.config_files import load_fields
from swin_reference.parameters_v2 import network_shapes
from swin_reference.rules import Rejected
from swin_reference.sizes import pair

from swin_properties.adapters import exports
from swin_properties.adapters.exports.notes import WRITABLE
from swin_properties.adapters.implementation import apply_convention
from swin_properties.adapters.load import load, load_network, set_device, set_precision
from swin_properties.adapters.process import ProcessGone
from swin_properties.adapters.scope import read_scope
from swin_properties.budget.precision import Precision
from swin_properties.cases.case import write_value
from swin_properties.commands.words import (
    Work,
    add_convention,
    add_device,
    add_dtype,
    add_implementation,
    add_photograph,
    add_process,
    add_runtime,
    find_source,
    name_implementation,
    read_options,
    start_implementation,
)
from swin_properties.judging.implementation import load_implementation
from swin_properties.locate.ask import ask_adapter
from swin_properties.locate.compare import Location, Maps, compare, complete
from swin_properties.locate.steps import Steps
from swin_properties.locate.weights import PREFIX, find_other_weights
from swin_properties.predict import photo
from swin_properties.reports import files, location
from swin_properties.reports.drawing import svg
from swin_properties.reports.drawing.depth import draw_depth

OWN = "weight."
"""What the names of the weights begin with that an exported file has itself."""

DESCRIPTION = """Runs one photograph through an implementation and compares what it computes on the way with
the oracle: from the image on, where errors accumulate, and each block alone, on the very input that it got.
Names every block beyond its error budget, and which part of it. Exit code: 0 all is within the budget; 1 a
step is beyond it; 2 nothing could be compared."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "find the blocks in which an implementation differs from the oracle"
    locate = commands.add_parser("locate", help=words, description=DESCRIPTION)
    locate.set_defaults(prepare=prepare)
    needs = (
        "an nn.Module, a function or class that makes one, an ONNX file, or an adapter with swin_block or "
    )
    needs += "swin_features"
    add_implementation(locate, needs, program=True)
    add_photograph(locate)
    load = "load these weights into the module first (default: it is compared with the weights that it holds)"
    locate.add_argument("--load-weights", action="store_true", help=load)
    add_dtype(locate)
    add_device(locate)
    add_convention(locate)
    add_process(locate)
    add_runtime(locate)
    locate.add_argument("--json", metavar="FILE", help="also write what was found as JSON")
    locate.add_argument("--svg", metavar="FILE", help="also draw both lines along the depth")


def prepare(args: argparse.Namespace) -> Work:
    """Runs the implementation and compares; the work writes and prints what was found."""
    paths = [path for path in (args.json, args.svg) if path is not None]
    files.check_paths(paths, [find_source(args), *args.program, args.image, args.checkpoint, args.config])
    options = read_options(args, exports.RUNNING)
    try:
        if exports.is_export(args.implementation or ""):
            report = locate_export(args, options)
        else:
            weights = photo.load_weights(args.checkpoint, args.config, args.image_size, args.seed)
            found = start_implementation(args, modules=True)
            network = load_network(found) if isinstance(found, str) else found if found.layout else None
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


def locate_export(args: argparse.Namespace, options: dict[str, str]) -> location.Report:
    """Compares an ONNX file, whose maps are further outputs.

    The oracle is given the weights of the checkpoint, or where there is none those of the file.
    """
    name = args.implementation
    if not exports.is_onnx(name):
        raise ValueError(
            f"locate gives an ONNX file further outputs, {name} is a file of torch: give the nn.Module, or "
            "export it as ONNX"
        )
    if args.load_weights:
        raise ValueError("--load-weights is for an nn.Module, got an exported file: leave it out")
    options |= {"checkpoint": args.checkpoint} if args.checkpoint else {}
    words = argparse.Namespace(**{**vars(args), "implementation": exports.add_options(name, options)})
    found = start_implementation(words)
    found = load(found) if isinstance(found, str) else found
    found, precision = set_precision(set_device(found, args.device, name), args.dtype, name)
    only = read_scope(found.scope)
    if only.whole != "swin_transformer":
        raise ValueError(
            f"locate finds the blocks of a whole Swin V1 in an ONNX file, {name} holds "
            f"{'one block' if only.block else 'a Swin V2'}: judge it by swin-oracle check, or give the "
            "nn.Module"
        )
    fields = load_fields(args.config) if args.config else {}
    said = fields.get("image_size") if args.image_size is None else args.image_size
    size = choose_image_size(only.image_sizes, said, name)
    known = {"window_size": only.only_network.window} | ({"image_size": size} if size else {})
    weights = None
    if args.checkpoint:
        weights = photo.load_weights(args.checkpoint, args.config, args.image_size, args.seed, known)
        size = pair(weights.config.image_size)
    if size is None:
        raise ValueError(
            f"a photograph is resized to the image size of the network, {name} takes several: give it as "
            "--image-size"
        )
    images = precision.rounded(photo.photograph(args.image, size))
    recorded = found.record(images.astype(precision.dtype), {})
    others: list[str] = []
    if weights is None:
        config = replace(only.only_network.config, **{**fields, "image_size": size})
        own = {key.removeprefix(OWN): x for key, x in recorded.items() if key.startswith(OWN)}
        check_sizes(config, own, name, args.config)
        weights = photo.Weights(own, config, f"those of {name}")
    elif any(key.startswith(PREFIX) for key in recorded):
        flat = {key: precision.rounded(x) for key, x in weights.flat.items()}
        others = find_other_weights(recorded, flat, name, "export it with them, or leave --checkpoint out")
    maps = {
        key: precision.rounded(x.astype(np.float64))
        for key, x in recorded.items()
        if not key.startswith((OWN, PREFIX))
    }
    asked = CONVENTIONS if args.convention is None else [args.convention]
    convention, located = compare_by(asked, maps, images, weights, precision)
    notes = [note for note in (*found.notes, *found.faults) if note != WRITABLE]
    return location.Report(
        name,
        precision.name,
        str(getattr(found, "device", "cpu")),
        convention,
        "onnx",
        weights.source,
        args.image,
        located,
        tuple(others),
        tuple(notes),
        found.quantised,
    )


def choose_image_size(sizes: Sequence[tuple[int, int]], said: Any, name: str) -> tuple[int, int] | None:
    """Returns the image size of a file that takes ``sizes``, of several the one that is said; else None.

    Errors: ``ValueError`` where another size is said than the only one.

    >>> choose_image_size([(64, 64)], None, "a.onnx"), choose_image_size([(64, 64), (96, 64)], 96, "a.onnx")
    ((64, 64), (96, 96))
    """
    wanted = None if said is None else pair(said)
    if len(sizes) > 1:
        return wanted
    if wanted not in (None, sizes[0]):
        raise ValueError(
            f"a photograph has the size that the file takes, {name} takes {write_value(sizes[0])} pixels, "
            f"got {write_value(wanted)}: leave the size out"
        )
    return sizes[0]


def check_sizes(config: SwinConfig, weights: Mapping[str, Any], name: str, said: str | None) -> None:
    """Checks that a configuration is that of a file's weights.

    Errors: ``ValueError`` with the first weight of another shape.
    """
    wanted = swin_weights.flatten(network_shapes(config))
    for key in wanted.keys() | weights.keys():
        shapes = wanted.get(key), weights[key].shape if key in weights else None
        if shapes[0] is None or shapes[1] != tuple(shapes[0]):
            raise ValueError(
                f"the sizes of a network are those of its file, {said} gives {key} the shape {shapes[0]}, "
                f"in {name} it has {shapes[1]}: leave out what the file shows"
            )


def compare_by(
    names: Iterable[str], maps: Maps, images: Any, weights: photo.Weights, precision: Precision
) -> tuple[str, Location]:
    """Compares by conventions in turn until one has no step beyond its budget.

    Returns the convention with the fewest such steps, the first of equal ones, and what was found by it.  One
    that computes the same for these images as one before it is left out.

    Errors: ``ValueError`` where every convention rejects the sizes.
    """
    params = photo.round_weights(weights, precision)
    found: list[tuple[str, Location]] = []
    walked: list[Any] = []
    rejected: Rejected | None = None
    for name in names:
        convention = convention_named(name)
        config = replace(weights.config, convention=name)
        try:
            steps = Steps(apply_convention(convention, swin_reference), config, convention)
            results = steps.walk(images, params)
        except Rejected as reason:
            rejected = reason
            continue
        if any(all(map(np.array_equal, results, before)) for before in walked):
            continue
        walked.append(results)
        located = compare(complete(maps, steps), images, params, steps, steps, precision)
        found.append((name, located))
        if not located.exit_code:
            break
    if not found:
        raise ValueError(f"a convention takes the sizes of the network, none does: {rejected}")
    return min(found, key=lambda one: (len(one[1].beyond), one[1].exit_code))
