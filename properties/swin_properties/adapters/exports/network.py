"""Opens an exported file, and the network in it: with weights of the laws, or with its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any

import swin_weights
from swin_reference.config import SwinConfig
from swin_reference.config_v2 import SwinV2Config
from swin_reference.outside import parse_integers
from swin_reference.sizes import pair
from swin_weights.recognise import tell_windows

from swin_properties.adapters.exports import ONNX, block, onnx_file, torch_file
from swin_properties.adapters.exports.exported import (
    Exported,
    ExportedNetwork,
    ExportedNetworkV2,
    Run,
    find_mask_value,
    write_words,
)
from swin_properties.adapters.exports.maps import record_maps
from swin_properties.adapters.exports.notes import QUANTISED, WRITABLE, compare_weights, describe_weights
from swin_properties.adapters.exports.recover import (
    NOT_UNDERSTOOD,
    NotRecovered,
    Recovered,
    begins_as_block,
    recover,
)


def describe_network(sizes: Mapping[str, Any], sides: tuple[int | None, ...]) -> dict[str, Any]:
    """Returns the scope of one network, by the fields of its `NetCase` and the sides of its images."""
    return {"network": write_words(sizes), "image_sizes": choose_images(sides, sizes)}


def choose_images(sides: tuple[int | None, ...], sizes: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Returns the sizes of images to ask: that of the file, or several where it says that it takes any.

    >>> sizes = {"patch": (2, 2), "window": (4, 4), "depths": (1, 1)}
    >>> choose_images((32, 32), sizes), choose_images((None, None), sizes)
    ([(32, 32)], [(32, 32), (32, 48), (48, 32), (34, 38)])
    """
    whole = [p * m << len(sizes["depths"]) - 1 for p, m in zip(sizes["patch"], sizes["window"], strict=True)]
    patch = sizes["patch"]
    height, width = whole
    wanted = [
        (2 * height, 2 * width),
        (2 * height, 3 * width),
        (3 * height, 2 * width),
        (2 * height + patch[0], 2 * width + 3 * patch[1]),
    ]
    fixed = [tuple(side or other for side, other in zip(sides, size, strict=True)) for size in wanted]
    return list(dict.fromkeys((height, width) for height, width in fixed))


def open_export(
    path: str,
    checkpoint: str = "",
    image_size: str = "",
    runtime: str = "onnxruntime",
    provider: str = "CPUExecutionProvider",
    optimisation: str = "on",
) -> Exported:
    """Returns the adapter of an exported file.

    Errors: ``ValueError`` in one sentence for a file that does not read, is no Swin, or gives no weights.
    """
    if path.endswith(ONNX):
        return _open_onnx(path, checkpoint, image_size, runtime, provider, optimisation != "off")
    return _open_torch(path, checkpoint, image_size)


def _open_onnx(
    path: str, checkpoint: str, image_size: str, runtime: str, provider: str, optimise: bool
) -> Exported:
    model = onnx_file.read_model(path)
    name = Path(path).name
    start = partial(onnx_file.make_session, name=name, runtime=runtime, provider=provider, optimise=optimise)
    run = onnx_file.make_run(start, model)
    graph = onnx_file.Graph(model)
    if begins_as_block(graph):
        return block.open_onnx(graph, name, checkpoint, image_size, start)
    shape = onnx_file.find_input_shape(model, name)
    precision = onnx_file.find_precision(graph)
    quantised = onnx_file.is_quantised(graph)
    found, reason = None, ""
    try:
        found = recover(graph)
    except NotRecovered as why:
        reason = str(why)
    except NOT_UNDERSTOOD as why:
        reason = f"its graph is not understood, {type(why).__name__}: {why}"
    tokens = partial(onnx_file.find_tokens, model, start)
    given = _load_checkpoint(checkpoint, shape, found, tokens) if checkpoint else None
    if found is None and given is None:
        raise ValueError(
            f"the weights of a Swin are recovered from an ONNX file, those of {name} are not: {reason}: "
            "give its checkpoint with --checkpoint"
        )
    notes, faults = [f"batch {shape[0] or 'any'}, image {_tell_sides(shape[2:])}"], []
    write = None
    if found is None:
        assert given is not None
        weights = {name: x.astype(precision) for name, x in given.weights.items()}
        sizes = describe_sizes(given.config, given.weights)
        notes.append(f"weights are those of {checkpoint}; they are not recovered from the file: {reason}")
        notes += describe_weights(weights, precision)
    else:
        weights, sizes = found.weights, found.sizes
        faults += found.faults
        notes.append(f"{len(weights)} weights recovered from the file")
        if found.folded:
            notes.append(
                "the bias is stored for each pair of tokens: the file has no relative position index"
            )
        notes += describe_weights(weights, precision)
        if given is not None:
            faults += compare_weights(weights, given.weights, checkpoint)
        if not quantised and not found.faults:
            write = found.make_writer(start)
            notes.append(WRITABLE)
    if quantised:
        notes.append(QUANTISED)
    exported = _make_network(sizes, shape, precision, run, write, weights, notes, faults, quantised)
    exported.mask_value = (found.mask_value if found else "") or find_mask_value(graph.list_stored())
    if found is not None and found.folded:
        exported.absent = ("relative_position_index",)
    exported.half_input = onnx_file.takes_half(model)
    exported.own, exported.tells_weights = found.weights if found else {}, not checkpoint
    exported.watch = partial(record_maps, path, weights, sizes["depths"], start)
    return exported


def _open_torch(path: str, checkpoint: str, image_size: str) -> Exported:
    file = torch_file.open_torch(path)
    shape, precision = file.shape, file.precision
    name = Path(path).name
    if block.is_state_of_block(file.weights):
        return block.open_torch(file, name, checkpoint, image_size)
    if image_size:
        sides = parse_integers("--image-size", image_size)
        shape = (*shape[:2], sides[0], sides[-1])
    said = _image_size(shape)
    if any(one.endswith("logit_scale") for one in file.weights):  # a Swin V2, whose weights tell no window
        said |= _window_size(file.tokens)
        shown = "window_size" in said or any(one.endswith("relative_coords_table") for one in file.weights)
        if not shown:
            raise ValueError(
                "a file of Swin V2 shows its window in a table of offsets or, a .pt2 file, in its softmax, "
                f"{name} does not: export it to .pt2"
            )
    held = swin_weights.load(checkpoint, **said) if checkpoint else None
    reason = ""
    found = None
    try:
        found = swin_weights.understand(file.weights, name, **said)
    except ValueError as why:
        reason = str(why)
    if found is None and held is None:
        raise ValueError(
            f"the weights of a Swin are recovered by the names in a file, those of {name} are not: {reason}: "
            "give its checkpoint with --checkpoint"
        )
    known = found or held
    assert known is not None
    weights = {name: x.astype(precision) for name, x in known.weights.items()}
    if None in shape[2:] and path.endswith(torch_file.SCRIPT):
        if "image_size" in known.unknown:
            raise ValueError(
                f"a TorchScript file does not say how large its images are, {name} is one: give --image-size"
            )
        shape = (*shape[:2], *pair(known.config.image_size))
    notes, faults = [f"batch {shape[0] or 'any'}, image {_tell_sides(shape[2:])}"], []
    if found is None:
        notes.append(f"weights are those of {checkpoint}; they are not recovered from the file: {reason}")
    else:
        notes.append(f"{len(found.weights)} weights recovered from the file, {found.layout} layout")
        notes += describe_weights(found.weights, precision)
        if held is not None:
            faults += compare_weights(found.weights, held.weights, checkpoint)
    write = None
    if found is not None:
        layout = found.layout

        def write(weights: Mapping[str, Any]) -> Run:
            return file.write(swin_weights.to_layout(weights, layout))

        notes.append(WRITABLE)
    sizes = describe_sizes(known.config, known.weights)
    exported = _make_network(sizes, shape, precision, file.run, write, weights, notes, faults)
    exported.half_input = precision == "float16"
    exported.mask_value = find_mask_value(file.buffers)
    return exported


def _make_network(
    sizes: Mapping[str, Any], shape: tuple[int | None, ...], precision: str, *rest: Any
) -> Exported:
    """Returns the network of a file, by its version of Swin; ``rest`` is what `Exported` takes."""
    kind = ExportedNetworkV2 if "bias_width" in sizes else ExportedNetwork
    return kind(precision, describe_network(sizes, shape[2:]), shape[0], *rest)


def _image_size(shape: tuple[int | None, ...]) -> dict[str, Any]:
    height, width = shape[2:]
    return {"image_size": (height, width)} if height and width else {}


def _window_size(tokens: int | None) -> dict[str, Any]:
    """Returns the window that has so many tokens, if a square one has."""
    side = isqrt(tokens or 0)
    return {"window_size": side} if side and side * side == tokens else {}


def _load_checkpoint(
    path: str, shape: tuple[int | None, ...], found: Recovered | None, find_tokens: Callable[[], int | None]
) -> Any:
    known = _image_size(shape)
    if found is not None:
        return swin_weights.load(path, **known, window_size=found.sizes["window"])
    try:
        return swin_weights.load(path, **known)
    except ValueError:  # perhaps a Swin V2, whose weights tell no window
        return swin_weights.load(path, **known, **_window_size(find_tokens()))


def describe_sizes(config: SwinConfig, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of `NetCase` for a configuration.

    Errors: ``ValueError`` for windows that differ from stage to stage.
    """
    if len(set(config.windows)) > 1:
        raise ValueError(
            "a network that is judged without an adapter has one window for all stages, this one has "
            f"{tell_windows(config.windows)}: write an adapter"
        )
    of_v2: dict[str, Any] = {}
    if isinstance(config, SwinV2Config):
        width = weights["layers.0.blocks.0.attn.cpb_mlp.0.weight"].shape[0]
        pretrained = config.pretrained_window_sizes
        of_v2 = {"bias_width": width} | ({"pretrained": pretrained} if any(pretrained) else {})
    return of_v2 | {
        "patch": pair(config.patch_size),
        "window": config.windows[0],
        "depths": config.depths,
        "heads": config.num_heads,
        "embed_dim": config.embed_dim,
        "hidden": weights["layers.0.blocks.0.mlp.fc1.weight"].shape[0],
        "qkv_bias": int(config.qkv_bias),
        "patch_norm": int(config.patch_norm),
        "position_embedding": int(config.absolute_position_embedding),
        "classes": config.num_classes,
    }


def _tell_sides(sides: tuple[int | None, ...]) -> str:
    return "x".join(str(side) if side else "any" for side in sides)
