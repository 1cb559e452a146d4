"""Reads how a class is made and called: which of its parameters is which size, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

SYNONYMS = {
    "dim": ("dim", "channels", "hidden_size", "input_dim", "in_dim", "embed_dim"),
    "input_resolution": ("input_resolution", "resolution", "input_size", "feat_size"),
    "num_heads": ("num_heads", "n_heads", "heads", "nhead", "num_attention_heads"),
    "window_size": ("window_size", "win_size", "ws"),
    "shift_size": ("shift_size",),
    "mlp_ratio": ("mlp_ratio",),
    "hidden": ("mlp_dim", "dim_mlp"),
    "qkv_bias": ("qkv_bias",),
    "qk_scale": ("qk_scale",),
    "pretrained_window_size": ("pretrained_window_size",),
    "pretrained_window_sizes": ("pretrained_window_sizes", "pretrained_window_size"),
    "depth": ("depth",),
    "out_dim": ("out_dim", "output_dim", "out_channels"),
    "downsample": ("downsample",),
    "drop_path": ("drop_path",),
    "drop_path_rate": ("drop_path_rate", "stochastic_depth_prob"),
    "in_features": ("in_features", "in_channels", "dim"),
    "hidden_features": ("hidden_features", "hid_features", "hidden_dim"),
    "hidden_channels": ("hidden_channels",),
    "activation_layer": ("activation_layer",),
    "img_size": ("img_size", "image_size", "pretrain_img_size", "input_size"),
    "patch_size": ("patch_size",),
    "in_chans": ("in_chans", "in_channels", "in_ch", "num_channels", "in_dim"),
    "embed_dim": ("embed_dim", "dim"),
    "norm_layer": ("norm_layer",),
    "output_fmt": ("output_fmt",),
    "num_classes": ("num_classes", "n_classes", "num_labels"),
    "depths": ("depths",),
    "ape": ("ape", "use_abs_pos_emb", "use_abs_pos", "use_absolute_embeddings"),
    "patch_norm": ("patch_norm",),
    "out_indices": ("out_indices",),
    "always_partition": ("always_partition",),
    "block": ("block",),
    "downsample_layer": ("downsample_layer",),
    "config": ("config",),
}
"""For each size the names that constructors give it."""

HEIGHT, WIDTH = ("H", "h", "height"), ("W", "w", "width")
BOTH = (
    "x_size",
    "hw",
    "hw_shape",
    "input_size",
    "input_dimensions",
    "input_resolution",
    "resolution",
    "size",
)
MASKS = ("mask", "mask_matrix", "attn_mask", "attention_mask")
"""The names that ``forward`` gives the grid's sides and the mask."""


class NotUnderstood(Exception):
    """A class or function has a parameter whose meaning its name does not tell; the message says which."""


def read_parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """Returns the named parameters of a function, or of what makes a class, without ``self``.

    A class that hands on ``**kwargs`` has those of the class it derives from as well.
    """
    found: dict[str, Parameter] = {}
    makers = (
        [vars(kind)["__init__"] for kind in function.__mro__ if "__init__" in vars(kind)]
        if inspect.isclass(function)
        else [function]
    )
    for maker in makers:
        words = inspect.signature(maker).parameters
        named = [p for p in words.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if inspect.isclass(function) or inspect.ismethod(maker) or next(iter(words), "") == "self":
            named = named[1:]
        found = {p.name: p for p in named} | found
        if not any(p.kind is p.VAR_KEYWORD for p in words.values()):
            break
    return found


def fit_arguments(kind: Callable[..., Any], facts: Mapping[str, str]) -> dict[str, str]:
    """Returns the arguments by which a class is made: the name of each parameter with an expression.

    ``facts`` has an expression for each size that is known; those that the class does not take are left out.

    Errors: `NotUnderstood` for a parameter that has no default and no known name.

    >>> def kind(dim, heads, drop=0.0): ...
    >>> fit_arguments(kind, {"dim": "x.shape[-1]", "num_heads": "num_heads", "mlp_ratio": "4.0"})
    {'dim': 'x.shape[-1]', 'heads': 'num_heads'}
    """
    words = read_parameters(kind)
    found: dict[str, str] = {}
    for fact, expression in facts.items():
        name = next((one for one in SYNONYMS[fact] if one in words and one not in found), None)
        if name is not None:
            found[name] = expression
    unknown = [
        p.name
        for p in words.values()
        if p.default is p.empty and p.name not in found and p.kind != p.POSITIONAL_ONLY
    ]
    if unknown:
        raise NotUnderstood(
            f"{kind.__name__} needs {', '.join(unknown)}: the name of an argument does not tell what to pass"
        )
    return {name: found[name] for name in words if name in found}


def takes(kind: Callable[..., Any], fact: str) -> bool:
    """Tells whether a class takes a size, under any of its names."""
    return any(name in read_parameters(kind) for name in SYNONYMS[fact])


def fit_forward(kind: Any, mask: str | None = None) -> str:
    """Returns the arguments after the first by which ``forward`` is called, as Python, with a leading comma.

    The sides of the grid are ``H`` and ``W``; ``mask`` is the expression of the mask, None if there is none.

    Errors: `NotUnderstood` for a parameter that has no default and no known name.

    >>> class Kind:
    ...     def forward(self, x, H, W): ...
    >>> fit_forward(Kind)
    ', H, W'
    """
    words = list(inspect.signature(kind.forward).parameters.values())[2:]
    found, by_name = "", False
    for p in words:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            break
        values = {**dict.fromkeys(HEIGHT, "H"), **dict.fromkeys(WIDTH, "W"), **dict.fromkeys(BOTH, "(H, W)")}
        if mask is not None:
            values |= dict.fromkeys(MASKS, mask)
        if p.name in values:
            found += f", {p.name}={values[p.name]}" if by_name else f", {values[p.name]}"
        elif p.default is p.empty:
            raise NotUnderstood(
                f"{kind.__name__}.forward needs {p.name}: the name of an argument does not tell what to pass"
            )
        else:
            by_name = True
    return found


def list_words(kind: type) -> set[str]:
    """Returns the names that the methods of a class use."""
    words: set[str] = set()
    for one in kind.__mro__:
        if one.__module__.partition(".")[0] == "torch":
            continue
        for value in vars(one).values():
            if (code := getattr(value, "__code__", None)) is not None:
                words |= {*code.co_names, *(x for x in code.co_consts if isinstance(x, str))}
    return words
