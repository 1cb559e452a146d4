"""The maps of an ONNX graph: the values that the blocks of a Swin are given and give, as further outputs.

The norms tell where they are: each block has two, which see its input and the sum behind its attention, and
what a block gives is what the norm behind it is given.  Neither names nor other weights are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from swin_reference.outside import one_sentence

from swin_properties.adapters.exports import onnx_file
from swin_properties.adapters.exports.attended import find_windows, read_windows
from swin_properties.adapters.exports.onnx_file import Graph
from swin_properties.adapters.exports.recover import Step, list_steps

ARRANGING = (
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Pad", "Expand"),
    *("Slice", "Split", "Concat", "Gather", "DepthToSpace", "SpaceToDepth"),
)
"""The operators that move numbers or round them, and compute nothing."""


def name_norms(weights: Mapping[str, Any], depths: Sequence[int]) -> list[str]:
    """Returns the official names of the norms of a network, in the order of use.

    >>> name_norms({"norm.weight": 0}, (1, 1))  # doctest: +NORMALIZE_WHITESPACE
    ['layers.0.blocks.0.norm1', 'layers.0.blocks.0.norm2', 'layers.0.downsample.norm',
     'layers.1.blocks.0.norm1', 'layers.1.blocks.0.norm2', 'norm']
    """
    names = ["patch_embed.norm"] * ("patch_embed.norm.weight" in weights)
    for stage, depth in enumerate(depths):
        names += [
            f"layers.{stage}.blocks.{block}.{norm}" for block in range(depth) for norm in ("norm1", "norm2")
        ]
        names += [f"layers.{stage}.downsample.norm"] * (stage < len(depths) - 1)
    return [*names, "norm"]


def find_maps(graph: Graph, weights: Mapping[str, Any], depths: Sequence[int], file: str) -> dict[str, str]:
    """Returns the names of the values that are the maps of each block, by the names that `locate` gives them.

    ``weights`` are those of the network, by their official names.

    Errors: ``ValueError`` in one sentence for a graph that does not have the norms of such a network.
    """
    names = name_norms(weights, depths)
    every = list_steps(graph)
    steps = [step for step in every if step.kind == "norm"]
    if len(steps) != len(names):
        raise ValueError(
            f"the maps of blocks are found by their norms, {sum(depths)} blocks go with {len(names)}, {file} "
            f"has {len(steps)}: give a file that no optimiser has fused, or the nn.Module"
        )
    for name, step in zip(names, steps, strict=True):
        assert step.weight is not None
        wanted, size = np.size(weights[f"{name}.weight"]), graph.value(step.weight.name).size
        if wanted != size:
            raise ValueError(
                f"the maps of blocks are found by their norms, {name} has {wanted} channels, in {file} the "
                f"norm {step.weight.name} in its place has {size}: give the checkpoint of this network"
            )
    ends = {name: find_ends(graph, step) for name, step in zip(names, steps, strict=True)}
    places = dict(zip(names, (at for at, step in enumerate(every) if step.kind == "norm"), strict=True))
    maps: dict[str, str] = {}
    for name, following in pairwise(names):
        block, _, norm = name.rpartition(".")
        if norm not in ("norm1", "norm2"):
            continue
        given, gave = ends[name]
        maps |= {f"{name}.in": given, f"{name}.out": gave}
        if norm == "norm1":
            maps[f"{block}.in"] = given
            between = every[places[name] + 1 : places[following]]
            windows = find_windows(graph, between, ARRANGING)
            maps |= {f"{block}.{key}": value for key, value in windows.items()}
        else:
            maps[f"{block}.out"] = find_made(graph, ends[following][0])
    return maps


def find_ends(graph: Graph, step: Step) -> tuple[str, str]:
    """Returns the values that a norm is given and gives; it may be one node, or several."""
    if step.node.op_type == "LayerNormalization":
        return step.node.input[0], step.node.output[0]
    assert step.weight is not None
    given = graph.makers[step.node.input[1 - step.weight.number]].input[0]  # divided by the deviation
    centred = graph.makers.get(given)
    if centred is not None and centred.op_type == "Sub":
        given = centred.input[0]
    return given, step.node.output[0] if step.bias is None else step.bias.node.output[0]


def find_made(graph: Graph, name: str) -> str:
    """Returns the value that was computed, out of which operators that only move numbers made another."""
    while (node := graph.makers.get(name)) is not None and node.op_type in ARRANGING:
        varying = [one for one in node.input if one and one not in graph.constants]
        if not varying:
            break
        name = varying[0]
    return name


def record_maps(
    path: str,
    weights: Mapping[str, Any],
    depths: Sequence[int],
    start: Callable[[Any], Callable[[Any], list[Any]]],
    images: Any,
) -> dict[str, Any]:
    """Runs a file on images (1, 3, H, W) as it is and with its maps as further outputs, and returns both.

    ``start`` makes of a model what runs it.  The logits of the first run are ``logits``, those of the second
    ``head.out``.

    Errors: ``ValueError`` in one sentence as for `find_maps`, and for images that the file does not take.
    """
    name = Path(path).name
    model = onnx_file.read_model(path)
    maps = find_maps(Graph(model), weights, depths, name)
    batch = onnx_file.find_input_shape(model, name)[0] or len(images)
    half = onnx_file.takes_half(model)
    given = np.resize(images, (batch, *images.shape[1:])).astype(np.float16 if half else np.float32)

    def run() -> list[Any]:
        session = start(model)
        with one_sentence(f"a file takes the images that it says it takes, {name} takes no {given.shape}"):
            return [x[: max(1, len(x) * len(images) // batch)] for x in session(given)]

    logits = run()[0]
    known = {one.name for one in model.graph.output}
    further = [value for value in dict.fromkeys(maps.values()) if value not in known]
    empty = onnx_file.import_onnx().helper.make_empty_tensor_value_info
    first = len(model.graph.output)
    model.graph.output.extend(empty(value) for value in further)
    outputs = run()
    found = dict(zip(further, outputs[first:], strict=True))
    found |= {one.name: x for one, x in zip(model.graph.output, outputs[:first], strict=False)}
    heads = {"logits": logits, "head.out": outputs[0]} if logits.ndim == 2 else {}
    return read_windows({key: found[value] for key, value in maps.items()}) | heads
