"""Loading a checkpoint: its weights under the official names, its layout, its configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from swin_reference.config import SwinConfig, config_values, convention_named, fields_from
from swin_reference.config_v2 import SwinV2Config
from swin_reference.outside import one_sentence
from swin_reference.sizes import pair

from swin_weights.layout_names import BLOCK, Names, is_v2, names_in
from swin_weights.layouts import official_name, rename_weights, restore_names
from swin_weights.names import RECOMPUTED, flatten, matched, unflatten
from swin_weights.reading import read
from swin_weights.recognise import one_or_pair, recognise_config, recognise_layout, tell_windows
from swin_weights.transformers_json import config_from_json
from swin_weights.wrappers import Found, find_swin

ONLY_IN_JSON = ("image_size", "window_size", "mlp_ratio", "pretrained_window_sizes")
"""The fields that a ``config.json`` says and that shapes do not show, or not exactly."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights holds, under the official names.

    ``weights`` are exactly the parameters of ``config``, flat, in the file's precision, bfloat16 as
    float32.  ``layout`` is the file's.  ``unknown`` are the fields of ``config`` that neither the file nor
    the caller gave: they have their defaults.  ``others`` are weights that a classifier does not have: the
    norms behind the earlier stages, of detectors and backbones.  ``notes`` say what was left out or assumed.
    """

    weights: Mapping[str, Any]
    config: SwinConfig
    layout: str
    unknown: tuple[str, ...] = ()
    others: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def params(self) -> dict[str, Any]:
        """The weights as the nested dict that the oracle's functions take."""
        return unflatten(self.weights)


def load(path: str | Path, **known: Any) -> Checkpoint:
    """Loads a checkpoint of Swin or Swin V2 in any of the `LAYOUTS` from a file or directory.

    It may be ``.npz``, ``.safetensors``, a file of torch (``.pth`` and others; code in a pickle is never
    run) or a directory of transformers.  Layout and configuration are read from names and shapes.
    ``known`` are fields of SwinConfig that the file does not hold: ``image_size``, ``qk_scale``, a
    ``window_size`` that is not square, the ``convention`` (canonical).  Of V2, whose weights show no window,
    they are fields of SwinV2Config: ``window_size`` and ``pretrained_window_sizes`` where no buffer in the
    file shows them.  Indices, offsets and masks in the file must be those that the oracle computes; those of
    another window are left out.

    The Swin is found behind any prefix; in a file with several, ``training.pth:teacher`` is the one whose
    names begin with ``teacher``.

    Errors: ``ValueError`` in one sentence for a file that does not read or is no Swin, for a field that
    is neither in the file nor in ``known``, and for weights that are missing, extra, misshaped or wrong,
    under the names that they have in the file.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "tiny.npz"
    >>> from swin_weights import save
    >>> from swin_reference.parameters import initial_parameters
    >>> config = SwinConfig(embed_dim=4, depths=(2,), num_heads=(2,), num_classes=3)
    >>> save(path, initial_parameters(config), "timm", config)
    >>> checkpoint = load(path)
    >>> checkpoint.layout, checkpoint.config.depths, checkpoint.unknown
    ('timm', (2,), ('image_size', 'qk_scale'))
    """
    path, part = _split_part(path)
    held, json_values, notes = read(path)
    with one_sentence(path.name):
        described = config_from_json(json_values)
        return _checkpoint(find_swin(held, path.name, part), notes, described, known)


def understand(flat: Mapping[str, Any], source: str, **known: Any) -> Checkpoint:
    """Returns what weights are that have the names of one of the `LAYOUTS`, as `load` does for a file.

    ``source`` begins the sentences of the errors.

    Errors: ``ValueError`` as for `load`.

    >>> understand({"a.weight": np.ones(2)}, "mine")
    Traceback (most recent call last):
    ...
    ValueError: mine: a checkpoint holds the stages of a Swin, but none of its 1 names belongs to one (the \
first is a.weight): check that the file is a Swin's
    """
    with one_sentence(source):
        return _checkpoint(find_swin(flat, source), [], {}, known)


def _split_part(path: str | Path) -> tuple[Path, str]:
    """Returns the path of a file, and what follows a colon in it: which Swin of the file is meant."""
    before, colon, part = str(path).rpartition(":")
    if colon and before and part and not os.path.exists(path) and os.path.exists(before):
        return Path(before), part
    return Path(path), ""


def _checkpoint(
    found: Found, notes: list[str], described: Mapping[str, Any], known: Mapping[str, Any]
) -> Checkpoint:
    flat = found.weights
    layout = recognise_layout(flat)
    names = names_in(layout, flat)
    known = fields_from(known, "the arguments", SwinV2Config if is_v2(flat) else SwinConfig)
    if described.keys() - {"image_size"} and ("pretrained_window_sizes" in described) != is_v2(flat):
        raise ValueError(
            "config.json and the weights beside it are of one version of Swin, here one is of V1 and the "
            "other of V2: use the file that was saved with them"
        )
    shapes = {name: x.shape for name, x in flat.items()}
    said = {field: described[field] for field in ONLY_IN_JSON if field in described} | dict(known)
    config, unknown, assumed = recognise_config(shapes, names, said)
    buffers = {name: x for name, x in flat.items() if _is_recomputed(name, names)}
    computed = restore_names(buffers, names, layout)
    config, unknown = _with_image_size_of_mask(computed, config, unknown)
    if isinstance(config, SwinV2Config) and "pretrained_window_sizes" in unknown:
        config, unknown = _with_trained_windows(computed, config, unknown)
    _require_image_size(config, unknown)
    others = {name: x for name, x in flat.items() if _is_output_norm(name, names)}
    own = {name: x for name, x in flat.items() if name not in buffers and name not in others}
    own, added = _add_last_norm(own, names)
    weights = restore_names(_match(own, expected_shapes(config, names, layout), found), names, layout)
    _check_config_json(described, config, known)
    stale = _check_buffers(computed, config, dict(zip(computed, map(found.place, buffers), strict=True)))
    official = names_in("official", weights)
    ordered = {name: weights[name] for name in expected_shapes(config, official, "official")}
    beside = restore_names(others, names, layout)
    all_notes = (*notes, *found.notes, *assumed, *added, *stale)
    return Checkpoint(ordered, config, layout, unknown, beside, all_notes)


def _match(own: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], found: Found) -> dict[str, Any]:
    """Returns `matched`, where errors name weights as the file does.

    What stands beside the Swin is extra if a weight is missing: it may be that weight under a wrong name.
    """
    given = {found.place(name): x for name, x in own.items()}
    if any(name not in own for name in shapes):
        beside = (name for name in found.left_out if name.startswith(found.prefix))
        given |= dict.fromkeys(beside, np.float32(0))
    right = matched(given, {found.place(name): shape for name, shape in shapes.items()})
    return {name: right[found.place(name)] for name in shapes}


def _add_last_norm(own: Mapping[str, Any], names: Names) -> tuple[dict[str, Any], list[str]]:
    """Returns the weights with a last norm, and a note if it is not the file's: extractors have none.

    A file with a head has lost its norm: then nothing is added.
    """
    theirs = [f"{names['norm'][0]}.{leaf}" for leaf in ("weight", "bias")]
    last = [
        x
        for name, x in own.items()
        if name.endswith(f"{names[f'{BLOCK}.norm2'][0].rpartition('.')[2]}.weight")
    ]
    head = names["head"][0] if "head" in names else "head"
    has_head = any(name.startswith(f"{head}.") for name in own)
    if any(name in own for name in theirs) or has_head or not last:
        return dict(own), []
    stand_in = dict(zip(theirs, (np.ones_like(last[-1]), np.zeros_like(last[-1])), strict=True))
    note = "it has no norm behind the last stage: one with weights 1 and biases 0 takes its place"
    return {**own, **stand_in}, [note]


# The functions below import the oracle's functions when a file is read: importing this module stays fast.


def expected_shapes(config: SwinConfig, names: Names, layout: str) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a configuration's weights, under the ``names`` of a layout."""
    from swin_reference.parameters_v2 import network_shapes

    from swin_weights.buffers import first_grid

    shapes = flatten(network_shapes(config))
    stand_ins = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    return {name: x.shape for name, x in rename_weights(stand_ins, names, layout, first_grid(config)).items()}


def _with_image_size_of_mask(
    buffers: Mapping[str, Any], config: SwinConfig, unknown: tuple[str, ...]
) -> tuple[SwinConfig, tuple[str, ...]]:
    """Returns the configuration with the image size read from the first mask, if it is unknown."""
    from swin_weights.buffers import mask_grid

    mask = buffers.get("layers.0.blocks.1.attn_mask")
    grid = None if mask is None else mask_grid(mask, config.windows[0])
    if grid is None or "image_size" not in unknown:
        return config, unknown
    (height, width), (ph, pw) = grid, pair(config.patch_size)
    left = tuple(field for field in unknown if field != "image_size")
    return replace(config, image_size=one_or_pair(height * ph, width * pw)), left


def _with_trained_windows(
    buffers: Mapping[str, Any], config: SwinV2Config, unknown: tuple[str, ...]
) -> tuple[SwinV2Config, tuple[str, ...]]:
    """Returns the configuration with the trained windows that tables of offsets show, if there are any."""
    from swin_weights.buffers import OFFSETS, read_trained_windows

    if not any(name.endswith(OFFSETS) for name in buffers):
        return config, unknown
    trained = read_trained_windows(buffers, len(config.depths))
    left = tuple(field for field in unknown if field != "pretrained_window_sizes")
    return replace(config, pretrained_window_sizes=trained), left


def _check_buffers(buffers: Mapping[str, Any], config: SwinConfig, named_in: Mapping[str, str]) -> list[str]:
    """Checks the numbers of indices, offsets and masks, and returns a note on those of another window."""
    from swin_weights.buffers import find_wrong_buffers, is_of_another_size

    wrong = find_wrong_buffers(buffers, config) if buffers else []
    stale = [name for name in wrong if is_of_another_size(name, buffers[name], config)]
    if len(wrong) > len(stale):
        raise ValueError(
            f"indices and masks are those of the windows {tell_windows(config.windows)}, "
            f"{', '.join(named_in[name] for name in wrong if name not in stale)} differ: pass the "
            "window_size of the network, or convert its bias tables if it orders them in another way"
        )
    if not stale:
        return []
    more = f" and {len(stale) - 1} more" if stale[1:] else ""
    first = f"{named_in[stale[0]]}{more}"
    return [f"{first}: left out, of another window than {tell_windows(config.windows)}"]


def _require_image_size(config: SwinConfig, unknown: tuple[str, ...]) -> None:
    """Checks that the image size is known, if the convention builds a network for one."""
    convention = convention_named(config.convention)
    if "image_size" in unknown and (convention.grid != "run-time" or convention.window.startswith("shrink")):
        raise ValueError(
            f"the {convention.name} convention builds a network for one image size, and the file does not "
            "say it: pass image_size="
        )


def _is_recomputed(name: str, names: Names) -> bool:
    return name.split(".")[-1] in RECOMPUTED and official_name(name, names) is not None


def _is_output_norm(name: str, names: Names) -> bool:
    official = official_name(name, names)
    return official is not None and re.fullmatch(r"norm\d+\.(weight|bias)", official) is not None


def _check_config_json(described: Mapping[str, Any], config: SwinConfig, known: Mapping[str, Any]) -> None:
    """Checks that ``config.json`` and the shapes say the same."""
    values = config_values(config)
    wrong = [
        f"{field} {value}, not {values[field]}"
        for field, value in described.items()
        if field not in known and _plain(values[field]) != _plain(value)
    ]
    if wrong:
        raise ValueError(
            f"config.json and the weights beside it are of one model, config.json says {', '.join(wrong)}: "
            "use the file that was saved with them"
        )


def _plain(value: Any) -> Any:
    """Returns a size of two equal sides as one number, another list as a tuple."""
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) == 2 and value[0] == value[1] else tuple(value)
    return value
