"""Cases: the sizes, recipe and seed of one input, as data that prints as one line and parses back."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from math import inf, nextafter, prod
from typing import Any, Self

import numpy as np
from swin_reference import parameters, rules, sizes
from swin_reference.config import SwinConfig, convention_named
from swin_reference.outside import parse_integers, refusal

from swin_properties.cases import recipes
from swin_properties.cases.remember import remember

LARGEST = 2**27
"""The most numbers of an array of a case: 1 GiB in float64."""


@dataclass(frozen=True, eq=False)
class Own:
    """Weights that came with an implementation, nested: two are equal if they are one object."""

    params: Any


@dataclass(frozen=True)
class Case:
    """What every case has: it prints as ``name=value`` words, and parses from them."""

    batch: int
    recipe: str
    seed: int
    precision: str = field(default="float64", kw_only=True)
    """The precision whose bits the recipe ``full`` uses, which is no word of the case: a report names it."""
    own: Own | None = field(default=None, kw_only=True, repr=False)
    """The weights of the recipe ``own``, which are no word of the case: the implementation has them."""

    def __post_init__(self) -> None:
        if self.batch < 1 or self.seed < 0:
            raise ValueError(
                f"a case has a batch of at least 1 and a seed of at least 0, got batch={self.batch} "
                f"seed={self.seed}: use larger ones"
            )
        if self.recipe not in recipes.RECIPES:
            raise ValueError(
                f"a recipe is one of {', '.join(recipes.RECIPES)}, got {self.recipe!r}: use a listed name"
            )

    def __str__(self) -> str:
        values = [(name, getattr(self, name), default) for name, (_, default) in self.words().items()]
        return " ".join(f"{name}={write_value(value)}" for name, value, default in values if value != default)

    @classmethod
    def words(cls) -> dict[str, tuple[str, Any]]:
        """The type and the default of each word of a case."""
        return {f.name: (str(f.type), f.default) for f in fields(cls) if f.name not in ("precision", "own")}

    def in_precision(self, precision: str) -> Self:
        """The same case, whose numbers, if they are ``full``, are those of a precision."""
        return replace(self, precision=precision) if self.recipe == "full" else self

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of ``str``; a field without a word has its default.

        Errors: ``ValueError`` for a word that is no field, a value that does not parse, or sizes that
        cannot be.

        >>> print(GridCase.parse("window=2 grid=4x6"))
        grid=4x6 window=2x2
        """
        pairs = [word.partition("=")[::2] for word in text.split()]
        words = dict(pairs)
        kinds = {name: kind for name, (kind, _) in cls.words().items()}
        if odd := sorted(set(words) - set(kinds)):
            raise refusal(
                f"a case of this law has the words {', '.join(kinds)}, got {', '.join(odd)}: "
                "use some of these"
            )
        if len(words) < len(pairs):
            raise refusal(f"a case has each word once, got {text}: leave one out")
        try:
            return cls(**{name: _read(name, kinds[name], word) for name, word in words.items()})
        except ValueError as error:
            raise refusal(str(error)) from None

    def _check_flags(self, *names: str) -> None:
        if wrong := [name for name in names if getattr(self, name) not in (0, 1)]:
            raise ValueError(f"{wrong[0]} is 0 or 1, got {getattr(self, wrong[0])}: use one of them")

    def _check_count(self, *counts: int) -> None:
        """Checks how many numbers the arrays of a case have, before memory is taken for them."""
        if max(counts) > LARGEST:
            raise ValueError(f"an array of a case has at most {LARGEST} numbers, got {max(counts)}: use less")

    def _find_own(self) -> Any:
        """Returns the weights of the recipe ``own``."""
        if self.own is None:
            raise ValueError("the recipe own is of an implementation with weights of its own: use another")
        return self.own.params

    def hot(self, shapes: Any) -> Any:
        """Hot parameters of any shapes, from this case's seed, by the recipe."""
        hot = parameters.hot_parameters(shapes, self.seed)
        return recipes.filled(hot, self.rng(9), self.precision) if self.recipe == "full" else hot

    def rng(self, stream: int) -> np.random.Generator:
        """The random numbers of this case; streams are independent of each other."""
        return np.random.default_rng([self.seed, stream])


@dataclass(frozen=True)
class GridCase(Case):
    """A grid of tokens with windows, shift and heads: for everything up to a block."""

    batch: int = 1
    recipe: str = "generic"
    seed: int = 0
    grid: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    shift: tuple[int, int] = (0, 0)
    heads: int = 1
    head_dim: int = 1
    qkv_bias: int = 1
    hidden: int = 0
    """The width of a block's MLP; 0 is twice the channels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes.shift_pair(self.shift, self.window)
        if min(*self.grid, self.heads, self.head_dim) < 1:
            raise ValueError(f"grid, heads and head_dim are at least 1, got {self}: use larger ones")
        self._check_flags("qkv_bias")
        tokens, padded = self.batch * prod(self.padded), prod(self.padded)
        logits = tokens * prod(self.window) * self.heads
        width = max(4 * self.channels, self.hidden)
        self._check_count(tokens * width, logits, padded**2, 3 * width * self.channels)

    @property
    def channels(self) -> int:
        """C = heads * head_dim."""
        return self.heads * self.head_dim

    @property
    def padded(self) -> tuple[int, int]:
        """The grid padded to whole windows."""
        height, width = (sizes.round_up(g, m) for g, m in zip(self.grid, self.window, strict=True))
        return height, width

    @property
    def offset_rows(self) -> tuple[int, int]:
        """The bias table's two axes: 2 Mh - 1 and 2 Mw - 1."""
        return 2 * self.window[0] - 1, 2 * self.window[1] - 1

    @remember
    def tokens(self, channels: int | None = None, batch: int | None = None) -> Any:
        """Tokens (B, H, W, C) by the recipe."""
        shape = (batch or self.batch, *self.grid, channels or self.channels)
        return recipes.tokens(self.recipe, shape, self.rng(1), self.precision)

    @remember
    def windows(self) -> Any:
        """Tokens already in windows, (B * nW, N, C), for the padded grid's windows."""
        height, width = self.padded
        count = self.batch * height * width // prod(self.window)
        shape = (count, 1, prod(self.window), self.channels)
        return recipes.tokens(self.recipe, shape, self.rng(1), self.precision)[:, 0]

    @remember
    def attention(self) -> Any:
        """Parameters of a window attention by the recipe."""
        shapes = parameters.window_attention_shapes(
            self.channels, self.heads, self.window, bool(self.qkv_bias)
        )
        return recipes.weights(self.recipe, self.hot(shapes))

    @remember
    def block(self) -> Any:
        """Parameters of a block by the recipe."""
        if self.recipe == "own":
            return self._find_own()
        hidden = self.hidden or 2 * self.channels
        shapes = parameters.block_shapes(self.channels, self.heads, self.window, hidden, bool(self.qkv_bias))
        return recipes.weights(self.recipe, self.hot(shapes))

    def merging(self) -> Any:
        """Parameters of a patch merging."""
        return self.hot(parameters.merging_shapes(self.channels))

    def together(self) -> Any:
        """Which tokens of the padded grid, counted row by row, share a true window: booleans (P, P)."""
        h, w = (axis.ravel() for axis in np.indices(self.padded))
        row, column = (h - self.shift[0]) // self.window[0], (w - self.shift[1]) // self.window[1]
        return np.equal.outer(row, row) & np.equal.outer(column, column)

    def true_window(self, token: tuple[int, int]) -> Any:
        """Which tokens of the grid are in the true shifted window of ``token``: booleans (H, W)."""
        h, w = np.indices(self.grid)
        (mh, mw), (sh, sw) = self.window, self.shift
        same_row = (h - sh) // mh == (token[0] - sh) // mh
        return same_row & ((w - sw) // mw == (token[1] - sw) // mw)


@dataclass(frozen=True)
class NetCase(Case):
    """A whole network: for stages, features and the classifier."""

    batch: int = 1
    recipe: str = "generic"
    seed: int = 0
    image: tuple[int, int] = (1, 1)
    patch: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    depths: tuple[int, ...] = (1,)
    heads: tuple[int, ...] = (1,)
    embed_dim: int = 1
    qkv_bias: int = 1
    patch_norm: int = 1
    position_embedding: int = 0
    classes: int = 1
    hidden: int = 0
    """The width of the first stage's MLPs; 0 is twice the channels."""
    convention: str = "canonical"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_flags("qkv_bias", "patch_norm", "position_embedding")
        pixels, tokens = prod(self.image), prod(self.image) // max(1, prod(self.patch))
        numbers = self.batch * max(3 * pixels, 4 * tokens * self.embed_dim)
        self._check_count(self.config.count, numbers, tokens**2, self.batch * self.classes)

    @property
    def config(self) -> SwinConfig:
        """The configuration these sizes make."""
        return SwinConfig(
            image_size=self.image,
            patch_size=self.patch,
            embed_dim=self.embed_dim,
            depths=self.depths,
            num_heads=self.heads,
            window_size=self.window,
            mlp_ratio=find_ratio(self.hidden, self.embed_dim) if self.hidden else 2.0,
            qkv_bias=bool(self.qkv_bias),
            patch_norm=bool(self.patch_norm),
            absolute_position_embedding=bool(self.position_embedding),
            num_classes=self.classes,
            convention=self.convention,
        )

    @property
    def stage_grids(self) -> list[tuple[int, int]]:
        """The token grid of every stage."""
        return rules.stage_grids(self.config, convention_named(self.convention))

    @property
    def grid(self) -> tuple[int, int]:
        """The token grid of the first stage."""
        return self.stage_grids[0]

    @property
    def stage_windows(self) -> list[tuple[int, int]]:
        """The window of every stage, of which the convention may shrink some."""
        return rules.stage_windows(self.config, convention_named(self.convention))

    @property
    def stage_window(self) -> tuple[int, int]:
        """The window of the first stage: its grid may have shrunk it."""
        return rules.stage_window(self.grid, self.window, convention_named(self.convention))

    def shift(self, block: int) -> tuple[int, int]:
        """The shift of a block of the first stage, counted from 0."""
        shift = rules.stage_shift(self.grid, self.stage_window, convention_named(self.convention))
        return shift if block % 2 else (0, 0)

    @remember
    def images(self) -> Any:
        """Images (B, 3, H, W) by the recipe."""
        shape = (self.batch, *self.image, 3)
        return np.ascontiguousarray(
            recipes.tokens(self.recipe, shape, self.rng(1), self.precision).transpose(0, 3, 1, 2)
        )

    @remember
    def tokens(self) -> Any:
        """Tokens of the first stage's grid, (B, H, W, C), by the recipe."""
        shape = (self.batch, *self.grid, self.embed_dim)
        return recipes.tokens(self.recipe, shape, self.rng(2), self.precision)

    @remember
    def network(self) -> Any:
        """Parameters of the network by the recipe."""
        shapes = parameters.parameter_shapes(self.config)
        if self.recipe == "own":
            return self._find_own()
        return recipes.weights(self.recipe, self.hot(shapes))


def under(case: Any, convention: str) -> Any:
    """Returns a case under a convention, by name; only cases of networks have one.

    >>> print(under(NetCase(), "timm"), under(GridCase(heads=2), "timm"))
    convention=timm heads=2
    """
    return replace(case, convention=convention) if hasattr(case, "convention") else case


def find_ratio(hidden: int, channels: int) -> float:
    """Returns the ratio of an MLP's width to its channels, for which int(channels * ratio) is the width.

    >>> find_ratio(32, 8), int(49 * find_ratio(103, 49))
    (4.0, 103)
    """
    ratio = hidden / channels
    return ratio if int(channels * ratio) == hidden else nextafter(ratio, inf)


@dataclass(frozen=True)
class ScheduleCase(Case):
    """The depths of a network and the eighths of drop path's rate: for the schedule of its rates."""

    batch: int = 1
    recipe: str = "generic"
    seed: int = 0
    eighths: int = 4
    depths: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eighths < 8 or not self.depths or min(self.depths) < 1:
            raise ValueError(
                f"eighths are 0 to 7 and each stage has at least one block, got eighths={self.eighths} "
                f"depths={write_value(self.depths)}: use such"
            )

    @property
    def rate(self) -> float:
        """The rate of the last block, an exact number in every precision."""
        return self.eighths / 8


ALWAYS = {
    "GridCase": ("batch", "grid", "window", "shift"),
    "NetCase": ("batch", "image", "patch", "window", "depths"),
}
"""The words that are told of a case also where they have their default value."""


def describe_case(case: Case, component: str = "") -> str:
    """Returns a case as a reader is told it: the sizes that matter always, the others where they differ.

    A patch embedding's window is its patch, and its grid the image; a merge has no window.

    >>> describe_case(GridCase(grid=(1, 2), heads=2))
    'batch=1 grid=1x2 window=1x1 shift=0x0 heads=2'
    >>> describe_case(GridCase(grid=(3, 1), window=(3, 1)), "patch_embed")
    'batch=1 image=3x1 patch=3x1'
    """
    always = next((ALWAYS[one.__name__] for one in type(case).__mro__ if one.__name__ in ALWAYS), ())
    renamed = rename_words(component)
    words = []
    for name, (_, default) in case.words().items():
        value = getattr(case, name)
        if value != default or (name in always and name in renamed):
            words.append(f"{renamed.get(name, name)}={write_value(value)}")
    return " ".join(words)


SIZES = ("batch", "grid", "window", "shift", "image", "patch", "depths", "heads", "head_dim")
"""The words of cases that are sizes."""


def rename_words(component: str) -> dict[str, str]:
    """Returns what a reader is told in place of the sizes of a component's cases, without those it has not.

    >>> rename_words("patch_embed")["window"], "window" in rename_words("patch_merging")
    ('patch', False)
    """
    names = {word: word for word in SIZES}
    if component == "patch_embed":
        names |= {"grid": "image", "window": "patch"}
    without = {"patch_embed": ("shift",), "patch_merging": ("window", "shift")}.get(component, ())
    return {word: name for word, name in names.items() if word not in without}


def write_value(value: Any) -> str:
    """A value of a case as one word; pairs and longer tuples are joined by x."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _read(name: str, kind: str, word: str) -> Any:
    """The inverse of `write_value`, by the field's annotation."""
    if kind == "str":
        return word
    if kind == "int":
        return parse_integers(name, word, 1)[0]
    if kind == "tuple[int, ...]":
        return parse_integers(name, word, 16)
    numbers = parse_integers(name, word)
    return numbers[0], numbers[-1]
