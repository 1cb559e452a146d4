"""One block in an exported file: its weights, its window and shift, and the grid of tokens that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from math import isqrt, prod
from typing import Any

import numpy as np
import swin_reference
from swin_reference.outside import one_sentence, parse_integers
from swin_weights import unflatten

from swin_properties.adapters.exports import onnx_file
from swin_properties.adapters.exports.exported import (
    Exported,
    ExportedBlock,
    Run,
    find_mask_value,
    write_words,
)
from swin_properties.adapters.exports.notes import QUANTISED, WRITABLE, describe_weights
from swin_properties.adapters.exports.onnx_file import Graph
from swin_properties.adapters.exports.recover import NOT_UNDERSTOOD, NotRecovered, recover_block
from swin_properties.adapters.exports.torch_file import TorchFile

Pair = tuple[int, int]

LAYERS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")

SECOND_NAMES = {"mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2"}
"""The names that some libraries give to the layers of the MLP, and the official ones."""

MAY_BE_MISSING = {"attn.qkv.bias"}
NAMES = {
    *(f"{layer}.{leaf}" for layer in LAYERS for leaf in ("weight", "bias")),
    "attn.relative_position_bias_table",
}
"""The official names of the weights of a block."""

GIVEN_AS = "tokens (B, H, W, C) or (B, H * W, C)"


def is_state_of_block(names: Mapping[str, Any]) -> bool:
    """Tells whether weights are those of one block by their names.

    >>> is_state_of_block({"norm1.weight": 0, "attn.qkv.weight": 0}), is_state_of_block({"norm.weight": 0})
    (True, False)
    """
    return {"norm1.weight", "attn.qkv.weight"} <= names.keys()


def name_weights(held: Mapping[str, Any]) -> dict[str, str]:
    """Returns the official name of each weight of a block, and the name by which a file holds it.

    >>> name_weights({"norm1.weight": 0, "mlp.3.bias": 0, "attn.relative_position_index": 0})
    {'norm1.weight': 'norm1.weight', 'mlp.fc2.bias': 'mlp.3.bias'}
    """
    names = {}
    for name in held:
        layer, _, leaf = name.rpartition(".")
        if leaf in ("weight", "bias") or leaf == "relative_position_bias_table":
            names[f"{SECOND_NAMES.get(layer, layer)}.{leaf}"] = name
    return names


def read_sizes(held: Mapping[str, Any], tokens: int | None, name: str) -> dict[str, Any]:
    """Returns the fields of `GridCase` that the weights of a block tell.

    ``tokens`` is how many tokens a window has, None if that is not known: then the squarest window is taken.

    Errors: ``ValueError`` in one sentence for a table that is that of no window.
    """
    rows, heads = held["attn.relative_position_bias_table"].shape
    sides = [side for side in range(1, rows + 1) if rows % (2 * side - 1) == 0]
    windows = [(a, (rows // (2 * a - 1) + 1) // 2) for a in sides if rows // (2 * a - 1) % 2]
    fits = [(a, b) for a, b in windows if tokens in (None, a * b)]
    if not fits:
        raise ValueError(
            f"the table of a window of a x b tokens has (2a - 1) (2b - 1) rows, that of {name} has {rows}: "
            "export the block with the table of one window"
        )
    window = min(fits, key=lambda sides: abs(sides[0] - sides[1]))
    return describe_block(held, window, heads)


def describe_block(weights: Mapping[str, Any], window: Pair, heads: int) -> dict[str, Any]:
    """Returns the fields of `GridCase` for the weights of a block, but for its grid and its shift."""
    channels = weights["norm1.weight"].size
    return {
        "window": window,
        "heads": heads,
        "head_dim": channels // heads,
        "qkv_bias": int("attn.qkv.bias" in weights),
        "hidden": weights["mlp.fc1.weight"].shape[0],
    }


def choose_grid(shape: tuple[int | None, ...], sizes: Mapping[str, Any], image_size: str, name: str) -> Pair:
    """Returns the grid of tokens that a block is asked: that of its file, or the user's ``--image-size``.

    >>> sizes = {"window": (4, 4), "heads": 2, "head_dim": 4}
    >>> choose_grid((1, 64, 8), sizes, "", "a"), choose_grid((1, None, 12, 8), sizes, "", "a")
    ((8, 8), (8, 12))

    Errors: ``ValueError`` in one sentence for a file that takes no such tokens, or does not tell its grid.
    """
    channels = sizes["heads"] * sizes["head_dim"]
    sides = parse_integers("--image-size", image_size) if image_size else ()
    given = (sides[0], sides[-1]) if sides else None
    if len(shape) not in (3, 4) or shape[-1] not in (None, channels):
        written = " x ".join(str(side or "any") for side in shape)
        raise ValueError(
            f"an exported block of {channels} channels takes {GIVEN_AS}, {name} takes {written}: export it so"
        )
    height, width = sizes["window"]
    if len(shape) == 4:
        usual = given or (2 * height, 3 * width)
        return shape[1] or usual[0], shape[2] or usual[1]
    count = shape[1]
    if given is None and count is not None and isqrt(count) ** 2 == count:
        return isqrt(count), isqrt(count)
    if given is None or count not in (None, prod(given)):
        told = "any number of tokens" if count is None else f"{count} tokens"
        raise ValueError(
            f"tokens (B, H * W, C) do not tell the grid, {name} takes {told}"
            + (f", not {given[0]}x{given[1]}" if given else "")
            + ": give its sides with --image-size HxW"
        )
    return given


def find_shift(
    run: Run,
    weights: Mapping[str, Any],
    sizes: Mapping[str, Any],
    shape: tuple[int | None, ...],
    half: bool,
) -> Pair:
    """Returns the shift of a block: none, or half a window along an axis, whichever gives the nearest tokens.

    The errors are compared by their geometric mean: where a block has a fault, some tokens are right all the
    same, and these tell most.  ``sizes`` has the grid.  ``weights`` have their official names.
    """
    channels = sizes["heads"] * sizes["head_dim"]
    images, rank = shape[0] or 1, len(shape)
    x = np.random.default_rng(0).integers(-64, 65, (images, *sizes["grid"], channels)) / 64
    given = x.reshape(images, -1, channels) if rank == 3 else x
    grid = "x".join(map(str, sizes["grid"]))
    with one_sentence(f"a block takes the tokens of its grid, this file does not take those of {grid}"):
        got = np.asarray(run(given.astype(np.float16 if half else np.float32)), np.float64).reshape(x.shape)
    params = unflatten({name: np.asarray(w, np.float64) for name, w in weights.items()})
    height, width = sizes["window"]
    shifts = dict.fromkeys(product((0, height // 2), (0, width // 2)))

    def measure(shift: Pair) -> float:
        exact = swin_reference.swin_block(x, params, sizes["heads"], sizes["window"], shift)
        return float(np.log(np.abs(got - exact) + np.finfo(np.float64).tiny).mean())

    return min(shifts, key=measure)


def tell_sizes(sizes: Mapping[str, Any]) -> str:
    """Returns the sizes of a block in words."""
    grid, window, shift = (f"{a}x{b}" for a, b in (sizes["grid"], sizes["window"], sizes["shift"]))
    return (
        f"one block: grid {grid}, window {window}, shift {shift} by its numbers, {sizes['heads']} heads of "
        f"{sizes['head_dim']}"
    )


def open_onnx(
    graph: Graph, name: str, checkpoint: str, image_size: str, start: Callable[[Any], Any]
) -> Exported:
    """Returns the adapter of an ONNX file with one block."""
    _check_alone(checkpoint, name)
    if len(inputs := onnx_file.list_inputs(graph.model)) != 1:
        raise ValueError(
            f"an exported block takes {GIVEN_AS} alone, {name} takes {len(inputs)} inputs: export it so"
        )
    try:
        found = recover_block(graph)
    except NotRecovered as why:
        raise ValueError(
            f"the weights of a block are recovered from an ONNX file, those of {name} are not: {why}"
        ) from None
    except NOT_UNDERSTOOD as why:
        raise ValueError(
            f"the graph of an exported block is read, that of {name} is not understood: "
            f"{type(why).__name__}: {why}"
        ) from None
    shape = onnx_file.find_shape(graph.model)
    precision, quantised = onnx_file.find_precision(graph), onnx_file.is_quantised(graph)
    run = onnx_file.make_run(start, graph.model)  # before the weights get new places
    write = None
    if not quantised and not found.faults:
        write = found.make_writer(start)
    sizes = describe_block(found.weights, found.sizes["window"], found.sizes["heads"])
    sizes |= {"grid": choose_grid(shape, sizes, image_size, name)}
    half = onnx_file.takes_half(graph.model)
    exported = _make_block(precision, half, sizes, shape, run, write, found.weights, quantised)
    exported.faults += found.faults
    exported.mask_value = found.mask_value or find_mask_value(graph.list_stored())
    if found.folded:
        exported.absent = ("relative_position_index",)
    return exported


def open_torch(file: TorchFile, name: str, checkpoint: str, image_size: str) -> Exported:
    """Returns the adapter of a .pt2 file with one block."""
    _check_alone(checkpoint, name)
    if not name.endswith(".pt2"):
        raise ValueError(
            f"a TorchScript file does not say what it takes, {name} holds one block: export it to .pt2 or "
            "ONNX"
        )
    names = name_weights(file.weights)
    if odd := sorted((names.keys() ^ NAMES) - MAY_BE_MISSING):
        raise ValueError(
            f"a block of Swin V1 has the weights of the contract, {name} differs in {', '.join(odd[:3])}"
        )
    weights = {official: file.weights[own] for official, own in names.items()}
    sizes = read_sizes(weights, file.tokens, name)

    def write(new: Mapping[str, Any]) -> Run:
        return file.write({names[official]: x for official, x in new.items()})

    sizes |= {"grid": choose_grid(file.shape, sizes, image_size, name)}
    half = file.precision == "float16"
    exported = _make_block(file.precision, half, sizes, file.shape, file.run, write, weights)
    exported.mask_value = find_mask_value(file.buffers)
    return exported


def _make_block(
    precision: str,
    half: bool,
    sizes: Mapping[str, Any],
    shape: tuple[int | None, ...],
    run: Run,
    write: Callable[[Mapping[str, Any]], Run] | None,
    weights: Mapping[str, Any],
    quantised: bool = False,
) -> ExportedBlock:
    """Returns the adapter of one block; ``sizes`` lack its shift, which is found here."""
    whole = {**sizes, "shift": find_shift(run, weights, sizes, shape, half)}
    notes = [tell_sizes(whole), f"{len(weights)} weights recovered from the file"]
    notes += describe_weights(weights, precision) + [WRITABLE] * (write is not None)
    notes += [QUANTISED] * quantised
    scope = {"block": write_words(whole)}
    made = ExportedBlock(shape, precision, scope, shape[0], run, write, weights, notes, [], quantised)
    made.half_input = half
    return made


def _check_alone(checkpoint: str, name: str) -> None:
    """Checks that no checkpoint is given."""
    if checkpoint:
        raise ValueError(
            f"a checkpoint is one of a whole network, {name} holds one block with weights of its own: leave "
            f"--checkpoint {checkpoint} out"
        )
