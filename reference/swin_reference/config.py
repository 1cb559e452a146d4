"""Configurations: the sizes of a Swin Transformer, as data.  No mathematics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from numbers import Integral, Real
from typing import Any

from swin_reference.conventions import CONVENTIONS as CONVENTIONS
from swin_reference.conventions import DECISIONS as DECISIONS
from swin_reference.conventions import Convention as Convention
from swin_reference.conventions import convention_named as convention_named
from swin_reference.outside import refusal
from swin_reference.sizes import Size, Windows, pair, stage_pairs

LARGEST_NETWORK = 2**30
"""The most parameters of a network; the largest Swin of the paper has 197 million."""


def _is_integer(value: Any, most: int = 2**24) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and -most <= int(value) <= most


def _is_size(value: Any, most: int = 2**16) -> bool:
    both = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    return all(_is_integer(side, most) for side in both)


def _is_window(value: Any) -> bool:
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return len(value) <= 16 and all(isinstance(one, tuple) and _is_window(one) for one in value)
    return _is_size(value) and prod(pair(value)) <= 2**12


def _are_stages(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= 16 and all(_is_integer(n, 2**12) for n in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and abs(float(value)) <= 2**16


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "image_size": (_is_size, "an integer or a tuple of two, at most 65536"),
    "patch_size": (_is_size, "an integer or a tuple of two, at most 65536"),
    "in_channels": (_is_integer, "an integer of at most 16777216"),
    "embed_dim": (_is_integer, "an integer of at most 16777216"),
    "depths": (_are_stages, "a tuple of at most 16 integers, each at most 4096"),
    "num_heads": (_are_stages, "a tuple of at most 16 integers, each at most 4096"),
    "window_size": (
        _is_window,
        "an integer, a tuple of two, or such a tuple for each stage, windows of at most 4096 tokens",
    ),
    "mlp_ratio": (_is_number, "a number of at most 65536"),
    "qkv_bias": (_is_boolean, "true or false"),
    "qk_scale": (lambda value: value is None or _is_number(value), "none or a number of at most 65536"),
    "patch_norm": (_is_boolean, "true or false"),
    "absolute_position_embedding": (_is_boolean, "true or false"),
    "num_classes": (_is_integer, "an integer of at most 16777216"),
    "convention": (lambda value: isinstance(value, str), "a name"),
    "pretrained_window_sizes": (_are_stages, "a tuple of at most 16 integers, each at most 4096"),  # of V2
}
"""For each field of a configuration, whether a value is of its type, and that type in words."""


def check_types(values: Mapping[str, Any], source: str) -> None:
    """Checks that each value has the type of its field of a configuration.

    Errors: ``ValueError`` for the first that has not.

    >>> check_types({"qkv_bias": "x"}, "a.json")
    Traceback (most recent call last):
    ...
    ValueError: the values of a.json have the types of its fields: qkv_bias is true or false, got 'x'
    """
    for name, value in values.items():
        fits, words = TYPES[name]
        if not fits(value):
            raise refusal(
                f"the values of {source} have the types of its fields: {name} is {words}, got {value!r}"
            )


@dataclass(frozen=True)
class SwinConfig:
    """The sizes of one Swin Transformer; they are checked when it is made.

    A size is an integer or ``(height, width)``: ``image_size`` and ``patch_size`` in pixels,
    ``window_size`` in tokens, which may be one ``(height, width)`` for each stage.  ``depths`` and
    ``num_heads`` have one entry for each stage.  Stage k has
    ``embed_dim * 2**k`` channels.  ``image_size`` is used by an absolute position embedding, and by
    conventions that decide windows, shifts or padding for one size.

    Errors: ``ValueError`` for sizes that do not fit each other.

    >>> SwinConfig(embed_dim=8, depths=(2,), num_heads=(2,), window_size=4).channels
    (8,)
    """

    image_size: Size = 224
    patch_size: Size = 4
    in_channels: int = 3
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: Windows = 7
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    qk_scale: float | None = None
    patch_norm: bool = True
    absolute_position_embedding: bool = False
    num_classes: int = 1000
    convention: str = "canonical"

    def __post_init__(self) -> None:
        check_types(vars(self), "a configuration")
        if min(*pair(self.image_size), *pair(self.patch_size)) < 1:
            raise ValueError(
                f"images and patches have at least one pixel, got image_size={self.image_size} and "
                f"patch_size={self.patch_size}: use positive sizes"
            )
        if len(self.depths) != len(self.num_heads) or not self.depths:
            raise ValueError(
                f"depths and num_heads have one entry for each stage, got {len(self.depths)} depths and "
                f"{len(self.num_heads)} num_heads: give both the same length, at least 1"
            )
        stage_pairs(self.window_size, len(self.depths))
        if min(self.depths) < 1 or min(self.num_heads) < 1:
            raise ValueError(
                f"each stage has at least one block and one head, got depths={self.depths} and "
                f"num_heads={self.num_heads}: use positive integers"
            )
        for stage, (channels, heads) in enumerate(zip(self.channels, self.num_heads, strict=True)):
            if channels < 1 or channels % heads:
                raise ValueError(
                    f"channels must be divisible by heads, got {channels} channels and {heads} heads in "
                    f"stage {stage}: change embed_dim={self.embed_dim} or num_heads[{stage}]"
                )
        if int(self.embed_dim * self.mlp_ratio) < 1 or self.num_classes < 0 or self.in_channels < 1:
            raise ValueError(
                "mlp_ratio * embed_dim and in_channels are at least 1 and num_classes at least 0, got "
                f"mlp_ratio={self.mlp_ratio}, in_channels={self.in_channels}, "
                f"num_classes={self.num_classes}: use positive values"
            )
        convention_named(self.convention)
        if self.count > LARGEST_NETWORK:
            raise ValueError(
                f"a network has at most {LARGEST_NETWORK} parameters, got {self.count}: use smaller sizes"
            )

    @property
    def count(self) -> int:
        """About how many parameters there are: without biases and norms, and in V2 with the tables of V1.

        >>> SwinConfig().count
        28222746
        """
        patch, tokens = (
            prod(pair(self.patch_size)),
            prod(pair(self.image_size)) // prod(pair(self.patch_size)),
        )
        tables = [(2 * height - 1) * (2 * width - 1) for height, width in self.windows]
        stages = zip(self.channels, self.depths, self.num_heads, tables, strict=True)
        blocks = sum(d * (4 * c * c + 2 * c * self.hidden(c) + rows * heads) for c, d, heads, rows in stages)
        merges = sum(8 * c * c for c in self.channels[:-1])
        positions = tokens * self.embed_dim if self.absolute_position_embedding else 0
        embedding = patch * self.in_channels * self.embed_dim
        return embedding + positions + blocks + merges + self.channels[-1] * self.num_classes

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels of each stage: embed_dim * 2**k."""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.depths)))

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """The window of each stage, (height, width), before a convention fits it to the grid."""
        return stage_pairs(self.window_size, len(self.depths))

    def hidden(self, channels: int) -> int:
        """Returns the width of an MLP's hidden layer: int(channels * mlp_ratio)."""
        return int(channels * self.mlp_ratio)


swin_t = SwinConfig()
swin_s = replace(swin_t, depths=(2, 2, 18, 2))
swin_b = replace(swin_s, embed_dim=128, num_heads=(4, 8, 16, 32))
swin_l = replace(swin_s, embed_dim=192, num_heads=(6, 12, 24, 48))
swin_b_384 = replace(swin_b, image_size=384, window_size=12)
swin_l_384 = replace(swin_l, image_size=384, window_size=12)

NAMED = {
    "swin_t": swin_t,
    "swin_s": swin_s,
    "swin_b": swin_b,
    "swin_l": swin_l,
    "swin_b_384": swin_b_384,
    "swin_l_384": swin_l_384,
}
"""The configurations of the paper, by name."""


def fields_from(
    values: Any, source: str = "the configuration", kind: type[SwinConfig] = SwinConfig
) -> dict[str, Any]:
    """Returns the fields of a ``kind`` of configuration that a mapping holds; lists become tuples.

    Errors: ``ValueError`` for keys that are not fields of ``kind``, or values of other types.

    >>> fields_from({"depths": [2]})
    {'depths': (2,)}
    """
    known = [field.name for field in fields(kind)]
    unknown = (
        [str(key) for key in values if key not in known] if isinstance(values, Mapping) else ["(no mapping)"]
    )
    if unknown:
        raise refusal(
            f"the keys of {source} are fields of {kind.__name__}, got {', '.join(unknown)}: "
            f"use some of {', '.join(known)}"
        )
    given = {key: _as_tuple(value) for key, value in values.items()}
    check_types(given, source)
    return given


def _as_tuple(value: Any) -> Any:
    """Returns a list, and the lists in it, as tuples; another value as it is."""
    if not isinstance(value, list):
        return value
    return tuple(tuple(one) if isinstance(one, list) else one for one in value)


def config_from(
    values: Any, source: str = "the configuration", kind: type[SwinConfig] = SwinConfig
) -> SwinConfig:
    """Returns the configuration with these fields; lists become tuples.

    Errors: ``ValueError`` for keys that are not fields of ``kind``, or values that do not fit.

    >>> config_from({"depths": [2], "num_heads": [3]}).depths
    (2,)
    """
    given = fields_from(values, source, kind)
    try:
        return kind(**given)
    except ValueError as error:
        raise refusal(str(error)) from None


def config_values(config: SwinConfig) -> dict[str, Any]:
    """Returns the fields as a plain dict: the inverse of `config_from`.

    >>> config_from(config_values(swin_t)) == swin_t
    True
    """
    return asdict(config)
