"""Recognises a copy: its version, its style, how each callable is called, and what it does not take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from swin_reference.config_v2 import SwinV2Config
from swin_reference.sizes import pair
from swin_weights import understand
from swin_weights.layout_names import is_v2
from torch import nn

from swin_properties.adapters.contract import (
    CONTRACT,
    V2_NAMES,
)
from swin_properties.adapters.copies.parts import FUNCTIONS, Parts, find_parts
from swin_properties.adapters.copies.signatures import NotUnderstood, fit_forward, list_words, takes
from swin_properties.adapters.copies.templates import V1, Candidate, Copied, bias_table
from swin_properties.adapters.copies.trials import SQUARES, TRIALS, run, try_ways
from swin_properties.adapters.copies.written import Recognised
from swin_properties.adapters.exports.network import describe_network, describe_sizes
from swin_properties.adapters.scope import Scope
from swin_properties.cases.case import GridCase, NetCase
from swin_properties.cases.case_v2 import GridV2Case


def recognise(module: ModuleType, name: str, given: Any = None) -> tuple[Recognised, Parts] | None:
    """Returns what a module is as a copy, and its classes; None if it has no classes of a Swin.

    ``given`` is the class of the network, or the network itself, if it was named.

    Errors: ``ValueError`` for a network whose weights have names of their own.
    """
    network = given if isinstance(given, nn.Module) else None
    parts = find_parts(module, given if network is None else type(network))
    parts.network = parts.space.network = network
    if not parts.is_copy and given is None:
        return None
    copied = Copied(parts, find_version(parts))
    found = Recognised(name, copied.version, style=find_style(copied))
    own_case = None if network is None else read_sizes(found, network)
    for v1_name, candidates in list_ways(copied.version):
        callable_ = V2_NAMES.get(v1_name, v1_name) if copied.version == 2 else v1_name
        if v1_name in FUNCTIONS and v1_name not in parts.functions:
            found.refused[callable_] = "there is no function of this name"
            continue
        try:
            ways = list(candidates(copied))
        except NotUnderstood as reason:
            found.refused[callable_] = str(reason)
            continue
        is_network = own_case is not None and v1_name in ("swin_features", "swin_transformer")
        trials = (({CONTRACT[callable_].kind: own_case}, {}),) if is_network else TRIALS
        try_ways(found, parts, callable_, ways, trials)
    read_scope(found, copied)
    found.style_convention = refine_style(found, parts)
    found.single_tokens = copied.version == 1 or takes_single_tokens(found, parts)
    return found, parts


def read_sizes(found: Recognised, network: nn.Module) -> NetCase:
    """Returns the case of a network that is given, of its own sizes, and states them as the scope.

    Errors: ``ValueError`` in one sentence where they are not known from its weights.
    """
    state = {key: x.detach().cpu().float().numpy() for key, x in network.state_dict().items()}
    image = find_image_size(network)
    known = {} if image is None else {"image_size": image}
    try:
        checkpoint = understand(state, found.name, **known)
    except ValueError as error:
        raise ValueError(
            f"a network that is given names its weights as a public Swin does, this one does not: {error}: "
            "write an adapter, with names= in TorchAdapter.loaded"
        ) from None
    config = checkpoint.config
    sizes = describe_sizes(config, checkpoint.weights)
    found.version = 2 if isinstance(config, SwinV2Config) else 1
    fixed = pair(image) if image is not None else (None, None)
    found.scope |= describe_network(sizes, fixed) | {"no_qk_scale": True}
    only = Scope(network=found.scope["network"]).only_network
    return replace(only, image=found.scope["image_sizes"][0])


def find_image_size(network: Any) -> Any:
    """Returns the size of the images for which a network was built; None where it keeps none."""
    for owner in (network, getattr(network, "patch_embed", None), getattr(network, "config", None)):
        for word in ("img_size", "image_size"):
            size = getattr(owner, word, None)
            if isinstance(size, int) or (isinstance(size, (tuple, list)) and len(size) == 2):
                return size if isinstance(size, int) else tuple(size)
    return None


def takes_single_tokens(found: Recognised, parts: Parts) -> bool:
    """Tells whether V2's attention takes windows one token wide: public ones give NaN."""
    square = "cosine_window_attention" not in found.methods or found.scope.get("square_windows")
    window = (1, 1) if square else (1, 4)
    case = GridV2Case(grid=(4, 4), window=window, shift=(0, 0), heads=1, head_dim=4)
    for name in ("cosine_window_attention", "shifted_cosine_window_attention", "swin_v2_block"):
        if name in found.methods:
            gave = run(found, parts, name, *CONTRACT[name].arguments(case))
            return gave is None or not np.isnan(gave).any()
    return True


def list_ways(version: int) -> Iterator[tuple[str, Callable[[Copied], Iterator[Candidate]]]]:
    """Yields each callable, by its name in V1, and the ways to compute it."""
    yield from V1.items()
    if version == 2:
        yield "continuous_position_bias_table", bias_table


def find_version(parts: Parts) -> int:
    """Returns the version of Swin: that of the names in the code of an attention or a block."""
    names = [
        word
        for part in ("attention", "block", "network")
        if (kind := parts.classes.get(part)) is not None
        for word in list_words(kind)
    ]
    return 2 if is_v2(names) else 1


def find_style(copied: Copied) -> str:
    """Returns the convention of the code that this has the form of; empty where it has none of them."""
    classes, second = copied.parts.classes, "-v2" if copied.version == 2 else ""
    if "block" in classes and takes(classes["block"], "config"):
        return f"transformers{second}"
    if "attention" in classes and takes(classes["attention"], "shift_size"):
        return f"torchvision{second}"
    if "stage" in classes and takes(classes["stage"], "out_dim"):
        return f"timm{second}"
    if "block" in classes and takes(classes["block"], "input_resolution"):
        return f"official{second}"
    return "detection" if gets_sides(copied.parts) and not second else ""


def gets_sides(parts: Parts) -> bool:
    """Tells whether a stage is given the sides of its grid when it is called."""
    try:
        return "stage" in parts.classes and "H" in fit_forward(parts.classes["stage"])
    except NotUnderstood:
        return False


def refine_style(found: Recognised, parts: Parts) -> str:
    """Returns the convention of the style, with padding where it rejects grids and the code does not."""
    if not found.style and found.version == 2 and gets_sides(parts):
        return "canonical,shift=never,mask_value=-100"  # what detection decides, which has no name for V2
    if not found.style.startswith("official"):
        return found.style
    second, changes = found.style.endswith("v2"), ""
    for name, change in (("swin_block", "padding=pad-roll"), ("patch_merging", "grid=built-ceil")):
        callable_ = V2_NAMES[name] if second else name
        if callable_ not in found.methods:
            continue
        kind = CONTRACT[callable_].kind
        case: GridCase = replace(SQUARES[kind], grid=(5, 5))
        if run(found, parts, callable_, *CONTRACT[callable_].arguments(case)) is not None:
            changes += f",{change}"
    return found.style + changes


def read_scope(found: Recognised, copied: Copied) -> None:
    """Adds to the scope what the classes do not take."""
    classes = copied.parts.classes
    used = [classes[part] for part in ("attention", "block", "network") if part in classes]
    if copied.version == 2 or any(not takes(kind, "qk_scale") for kind in used):
        found.scope["no_qk_scale"] = True
    network = classes.get("network")
    if network is not None and not takes(network, "ape") and not takes(network, "config"):
        found.scope["no_position_embedding"] = True
    if any(takes(kind, "config") for kind in used) or (
        network is not None and not takes(network, "patch_norm")
    ):
        found.scope["patch_norm"] = "always"
    if any(not takes(kind, "qkv_bias") and not takes(kind, "config") for kind in used):
        found.scope["qkv_bias"] = "always"
    if drops_shift(found, copied):
        found.scope["own_shift"] = True


def drops_shift(found: Recognised, copied: Copied) -> bool:
    """Tells whether a block drops its shift itself where one window spans the grid."""
    name = "swin_v2_block" if copied.version == 2 else "swin_block"
    if name not in found.methods:
        return False
    kind = CONTRACT[name].kind
    case: GridCase = replace(SQUARES[kind], grid=(4, 4))
    *arguments, shift = CONTRACT[name].arguments(case)[:5]
    gave = [run(found, copied.parts, name, *arguments, one) for one in (shift, (0, 0))]
    return gave[0] is not None and bool(np.array_equal(*gave))
