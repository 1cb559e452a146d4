"""What an adapter takes, as data: cases are moved inside its scope, not drawn and thrown away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import lcm, prod
from typing import Any, TypeVar, cast

from swin_reference import rules
from swin_reference.config import CONVENTIONS, Convention, SwinConfig
from swin_reference.conventions import nearest
from swin_reference.sizes import pair, round_up

from swin_properties.adapters.arguments import label_arguments
from swin_properties.adapters.contract import SCOPE, list_parameters
from swin_properties.cases.case import Case, GridCase, NetCase
from swin_properties.cases.case_v2 import NetV2Case
from swin_properties.cases.strategies import smallest_map

Pair = tuple[int, int]
C = TypeVar("C", bound=Case)

CHOICES = {"qkv_bias": ("always", "never"), "patch_norm": ("always", "never"), "shift": ("half",)}
"""The words that have one of some values; `image_sizes` has a list, the others are True."""


@dataclass(frozen=True)
class Scope:
    """A scope: each word of `contract.SCOPE`, or its default, which limits nothing.

    >>> print(Scope(square_windows=True, qkv_bias="always"))
    square_windows, qkv_bias always
    """

    square_windows: bool = False
    square_grids: bool = False
    whole_windows: bool = False
    qkv_bias: str = ""
    patch_norm: str = ""
    shift: str = ""
    own_shift: bool = False
    image_sizes: tuple[Pair, ...] = ()
    network: str = ""
    block: str = ""
    own_weights: bool = False
    no_qk_scale: bool = False
    no_position_embedding: bool = False
    no_pretrained_window: bool = False

    def __str__(self) -> str:
        return ", ".join(
            _write(field.name, getattr(self, field.name))
            for field in fields(self)
            if _is_set(self, field.name)
        )

    def lacks(self, part: str) -> bool:
        """Tells whether no call may have a part: a keyword, ``config.field`` or ``params.name``."""
        return {
            "qk_scale": self.no_qk_scale,
            "config.qk_scale": self.no_qk_scale,
            "pretrained_window_size": self.no_pretrained_window,
            "config.pretrained_window_sizes": self.no_pretrained_window or bool(self.network),
            "config.absolute_position_embedding": self.no_position_embedding or bool(self.network),
            "params.qkv.bias": self.qkv_bias == "never",
            "kept": bool(self.block),
            "config.depths": bool(self.network),
            "config.image_size": bool(self.network) and len(self.image_sizes) == 1,
        }.get(part, False)

    def find_reason(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], convention: Convention
    ) -> str:
        """Returns what of the scope a call of a callable is outside of; empty where it is inside.

        >>> Scope(square_windows=True).find_reason("relative_position_index", [(2, 3)], {}, CANONICAL)
        'square_windows'
        """
        if self == EVERYTHING:
            return ""
        call = _Call(name, dict(label_arguments(name, tuple(args))) | dict(kwargs), convention)
        outside = (word for word, finds in FINDS.items() if _is_set(self, word) and finds(self, call))
        return ", ".join(_write(word, getattr(self, word)) for word in outside)

    def fit(self, case: C, names: Collection[str], convention: Convention) -> C:
        """Returns the case nearest to this one for which the arguments of these callables are in scope.

        It has at least as many tokens as before, and whole windows where it had them.

        >>> case = GridCase(grid=(2, 6), window=(2, 3), shift=(1, 1))
        >>> print(Scope(square_windows=True).fit(case, ["swin_block"], CANONICAL))
        grid=3x6 window=3x3 shift=1x1
        """
        if self == EVERYTHING:
            return case
        fitted: Any = case
        if isinstance(case, GridCase):
            fitted = self._fit_tokens(case) if self.block else self._fit_grid(case, names, convention)
        elif isinstance(case, NetCase):
            fitted = self._fit_sizes(case) if self.network else self._fit_network(case)
        return cast("C", fitted)

    def _fit_grid(self, case: GridCase, names: Collection[str], convention: Convention) -> Any:
        asked = {parameter.name for name in names for parameter in list_parameters(name)}
        window, shift = case.window, case.shift
        square_patch = self.square_grids and "patch_size" in asked
        if square_patch or (self.square_windows and "window_size" in asked):
            window = (max(window),) * 2
        counts = [-(-side // m) for side, m in zip(case.grid, case.window, strict=True)]
        missing = [p - g for p, g in zip(case.padded, case.grid, strict=True)]
        sides = [n * m - min(k, m - 1) for n, m, k in zip(counts, window, missing, strict=True)]
        steps = window if not any(missing) else (1, 1)  # whole windows stay whole
        if self.whole_windows:
            steps = window if {"window_size", "patch_size"} & asked else (1, 1)
            merges = any(name.endswith("patch_merging") for name in names)
            steps = (lcm(steps[0], 2), lcm(steps[1], 2)) if merges else steps
        if self.square_grids or (self.square_windows and "new_window_size" in asked):
            sides, steps = [max(sides)] * 2, (lcm(*steps),) * 2
        height, width = (round_up(side, step) for side, step in zip(sides, steps, strict=True))
        if self.shift == "half":
            shift = (window[0] // 2, window[1] // 2) if any(shift) else (0, 0)
        shift = shift[0] % window[0], shift[1] % window[1]
        if self.own_shift:
            shift = keep_shift(shift, (height, width), window, convention)
        batch = -(-case.batch * prod(case.grid) // (height * width))
        return replace(
            case,
            batch=max(case.batch, batch),
            grid=(height, width),
            window=window,
            shift=shift,
            qkv_bias=_choose(self.qkv_bias, case.qkv_bias),
        )

    @property
    def only_network(self) -> NetCase:
        """The case that has the sizes of the one network."""
        return _parse_network(self.network)

    @property
    def only_block(self) -> GridCase:
        """The case that has the sizes of the one block."""
        return _parse_block(self.block)

    @property
    def has_one_size(self) -> bool:
        """Whether the sizes of cases are given: those of one network, or of one block."""
        return bool(self.network or self.block)

    @property
    def whole(self) -> str:
        """The callable of the one block, or of the one network: one of `WHOLES`."""
        network, network_v2, block = WHOLES
        if self.block:
            return block
        return network_v2 if isinstance(self.only_network, NetV2Case) else network

    @property
    def is_large(self) -> bool:
        """Whether the oracle takes seconds for an image of the one network, or for the one block."""
        if self.block:
            only = self.only_block
            return prod(only.grid) * only.channels**2 > LARGE_BLOCK
        return bool(self.network) and self.only_network.config.count > LARGE_NETWORK

    def _fit_tokens(self, case: GridCase) -> Any:
        """Returns the case of the one block, for at least as many tokens as before."""
        only = self.only_block
        least = 1 + case.seed % 2 if self.is_large else BATCHES[case.seed % len(BATCHES)]
        batch = least if self.is_large else max(least, -(-case.batch * prod(case.grid) // prod(only.grid)))
        sizes = {name: getattr(only, name) for name in GridCase.words() if name not in ("batch", "seed")}
        recipe = "own" if self.own_weights else case.recipe
        return replace(case, **sizes | {"batch": batch, "recipe": recipe})

    def _fit_sizes(self, case: NetCase) -> Any:
        """Returns the case of the one network, for about as many logits as before."""
        only = self.only_network
        logits = case.batch * (case.classes or case.embed_dim << len(case.depths) - 1)
        each = only.classes or only.embed_dim << len(only.depths) - 1
        images = self.image_sizes or (only.image,)
        image = images[case.seed // len(BATCHES) % len(images)]
        least = BATCHES[case.seed % len(BATCHES)]
        most = max(BATCHES[-1], MOST_NUMBERS * prod(only.patch) // (prod(image) * only.embed_dim))
        return replace(
            only,
            batch=1 + case.seed % 2 if self.is_large else max(least, min(-(-logits // each), most)),
            recipe="own" if self.own_weights else case.recipe,
            seed=case.seed,
            image=image,
            convention=case.convention,
        )

    def _fit_network(self, case: NetCase) -> Any:
        merges, patch = len(case.depths) - 1, case.patch
        grid = [-(-side // p) for side, p in zip(case.image, patch, strict=True)]
        missing = [n * p - side for n, p, side in zip(grid, patch, case.image, strict=True)]
        before, was_whole = (grid[0], grid[1]), _is_whole(grid, case.window, merges)
        window = (max(case.window),) * 2 if self.square_windows else case.window
        steps = [m << merges if self.whole_windows or was_whole else 1 for m in window]
        if self.square_grids:
            patch = (max(patch),) * 2
            grid, steps, missing = [max(grid)] * 2, [lcm(*steps)] * 2, [max(missing)] * 2
        height, width = (round_up(side, step) for side, step in zip(grid, steps, strict=True))
        lost = (0, 0) if self.whole_windows else missing
        image = height * patch[0] - lost[0], width * patch[1] - lost[1]
        if self.image_sizes:
            image = self.image_sizes[case.seed % len(self.image_sizes)]
        after = -(-image[0] // patch[0]), -(-image[1] // patch[1])
        old, new = (smallest_map(g, case.embed_dim, len(case.depths)) for g in (before, after))
        return replace(
            case,
            batch=max(case.batch, -(-case.batch * old // new)),
            image=image,
            patch=patch,
            window=window,
            qkv_bias=_choose(self.qkv_bias, case.qkv_bias),
            patch_norm=_choose(self.patch_norm, case.patch_norm),
            position_embedding=0 if self.no_position_embedding else case.position_embedding,
        )


WHOLES = ("swin_transformer", "swin_v2_transformer", "swin_block")
"""The callables of what an implementation of one size may have."""

BATCHES = (1, 2, 3, 5)
"""How many images an implementation of one network is given at least, in turns."""

LARGE_NETWORK = 2**22
"""The parameters from which on the one network is asked few cases, of one or two images."""

LARGE_BLOCK = 2**23
"""The products of a layer of the one block from which on it is asked few cases, of one or two batches."""

MOST_NUMBERS = 2**15
"""The most numbers in the first maps of all images of one network; the first `BATCHES` may have more."""

EVERYTHING = Scope()
"""The scope of an adapter that states none."""

CANONICAL = CONVENTIONS["canonical"]


def read_scope(stated: Any) -> Scope:
    """Returns the scope that an adapter states: a dict with words of `contract.SCOPE`, or its text.

    Errors: ``ValueError`` in one sentence for a word that is none, or a value that the word does not have.

    >>> read_scope({"shift": "half", "image_sizes": [224]})
    Scope(square_windows=False, square_grids=False, whole_windows=False, qkv_bias='', patch_norm='', \
shift='half', own_shift=False, image_sizes=((224, 224),), network='', block='', own_weights=False, \
no_qk_scale=False, no_position_embedding=False, no_pretrained_window=False)
    """
    if isinstance(stated, str):
        stated = _parse(stated)
    if stated is None:
        return EVERYTHING
    if not isinstance(stated, Mapping):
        raise ValueError(
            f"a scope is a dict from words to values, got {stated!r}: write {{'square_windows': True}}"
        )
    for word in stated:
        if word not in SCOPE:
            raise ValueError(
                f"the words of a scope are {', '.join(SCOPE)}, got {word!r}: use {nearest(str(word), SCOPE)}"
            )
    return Scope(**{word: _read(word, value) for word, value in stated.items()})


def write_scope(scope: Scope) -> str:
    """Returns a scope as the text that a message has: words with their values, separated by spaces.

    >>> write_scope(Scope(square_windows=True, shift="half", image_sizes=((224, 224), (192, 256))))
    'square_windows shift=half image_sizes=224x224,192x256'
    """
    words = []
    for field in fields(scope):
        value = getattr(scope, field.name)
        if not _is_set(scope, field.name):
            continue
        if field.name == "image_sizes":
            value = ",".join(f"{height}x{width}" for height, width in value)
        words.append(field.name if value is True else f"{field.name}={value}")
    return " ".join(words)


def _parse(text: str) -> dict[str, Any]:
    """Returns what the text of a scope states; `read_scope` checks it."""
    stated: dict[str, Any] = {}
    for part in text.split():
        word, equals, value = part.partition("=")
        stated[word] = value if equals else True
        if word == "image_sizes":
            sides = [size.split("x") for size in value.split(",")]
            numbers = all(side.isdecimal() for size in sides for side in size)
            stated[word] = [tuple(map(int, size)) for size in sides] if numbers else value
    return stated


def _read(word: str, value: Any) -> Any:
    """Returns the value of a word of a scope, checked."""
    if word == "image_sizes":
        try:
            sizes = tuple(pair(size) for size in value)
        except (TypeError, ValueError):
            sizes = ()
        if not sizes or min(min(size) for size in sizes) < 1:
            raise ValueError(
                f"image_sizes of a scope is a list of sizes, got {value!r}: write [224, (192, 256)]"
            )
        return sizes
    if word in ("network", "block"):
        try:
            parse = _parse_network if word == "network" else _parse_block
            parse(str(value))
        except ValueError as error:
            raise ValueError(f"{word} of a scope has words of a case, got {value!r}: {error}") from None
        return str(value)
    allowed: tuple[Any, ...] = CHOICES.get(word, (True, False))
    if not any(value is one or (isinstance(value, str) and value == one) for one in allowed):
        raise ValueError(
            f"{word} of a scope is {' or '.join(map(repr, allowed))}, got {value!r}: use one of these"
        )
    return value


def _parse_network(text: str) -> NetCase:
    """Returns the case of a network; one that has the width of the position bias's MLP is a Swin V2."""
    kind = NetV2Case if "bias_width=" in text else NetCase
    return kind.parse(text.replace(",", " "))


def _parse_block(text: str) -> GridCase:
    return GridCase.parse(text.replace(",", " "))


def keep_shift(shift: Pair, grid: Sequence[int], window: Pair, convention: Convention) -> Pair:
    """Returns a shift without the axes on which the convention drops a stage's shift.

    >>> keep_shift((1, 1), (4, 2), (2, 2), CANONICAL)
    (0, 0)
    """
    # A window of one token has no half: its shift is 0 whether it is dropped or not.
    rule = rules.stage_shift(grid, window, convention)
    sh, sw = (s if r or m == 1 else 0 for s, r, m in zip(shift, rule, window, strict=True))
    return sh, sw


def _choose(word: str, drawn: int) -> int:
    return {"always": 1, "never": 0}.get(word, drawn)


def _is_set(scope: Scope, word: str) -> bool:
    return bool(getattr(scope, word))


def _write(word: str, value: Any) -> str:
    """Returns a word of a scope with its value, as a report names it."""
    if word == "image_sizes":
        return f"{word} {' '.join(f'{height}x{width}' for height, width in value)}"
    return word if value is True else f"{word} {value}"


def _is_whole(grid: Sequence[int], window: Pair, merges: int) -> bool:
    return not any(side % (m << merges) for side, m in zip(grid, window, strict=True))


class _Call:
    """A call: what its arguments say of the words of a scope."""

    def __init__(self, name: str, given: Mapping[str, Any], convention: Convention) -> None:
        self.name, self.given, self.convention = name, given, convention
        self.config: SwinConfig | None = given.get("config")

    def windows(self) -> Iterator[Pair]:
        """Yields the windows that are given."""
        for label in ("window_size", "new_window_size"):
            if label in self.given:
                yield pair(self.given[label])
        if self.config:
            yield from self.config.windows

    def image(self) -> Pair | None:
        """Returns the size of the images, if it is given any."""
        return self.given["images"].shape[2:] if "images" in self.given else None

    def grid(self) -> Pair | None:
        """Returns the grid of tokens, if the callable is given one."""
        if "height" in self.given:
            return self.given["height"], self.given["width"]
        if "images" in self.given:
            patch = self.config.patch_size if self.config else self.given["patch_size"]
            sides = zip(self.given["images"].shape[2:], pair(patch), strict=True)
            height, width = (-(-side // p) for side, p in sides)
            return height, width
        of_tokens = ("window_attention", "cosine_window_attention", "layer_norm", "mlp")
        on_tokens = self.name in of_tokens or "x" not in self.given
        return None if on_tokens else self.given["x"].shape[1:3]

    def shift(self) -> tuple[Pair, Pair] | None:
        """Returns the shift and the window, if both are given."""
        if "shift_size" in self.given and "window_size" in self.given:
            return pair(self.given["shift_size"]), pair(self.given["window_size"])
        return None

    def bias(self) -> bool | None:
        """Returns whether qkv has a bias, if there are such parameters."""
        if self.config:
            return self.config.qkv_bias
        found = self.given.get("params")
        for part in ("blocks", 0, "attn", "qkv"):
            if isinstance(part, int):
                found = found[0] if isinstance(found, list) else found
            elif isinstance(found, Mapping) and part in found:
                found = found[part]
            elif part == "qkv":
                return None
            if part == "attn" and isinstance(found, Mapping) and "logit_scale" in found:  # of V2
                return "q_bias" in found
        return "bias" in found if found is not None else None

    def tears(self) -> bool:
        """Tells whether a grid is not made of whole windows, an image of whole patches, or a merge is odd."""
        grid = self.grid()
        if grid is None:
            return False
        if "images" in self.given:
            patch = pair(self.config.patch_size if self.config else self.given["patch_size"])
            if not _is_whole(self.given["images"].shape[2:], patch, 0):
                return True
        merges = len(self.config.depths) - 1 if self.config else self._merges()
        windows = list(self.windows())
        return not _is_whole(grid, windows[0] if windows else (1, 1), merges)

    def _merges(self) -> int:
        return int(self.name.endswith("patch_merging") or "downsample" in self.given.get("params", ()))


def _is_network(config: SwinConfig, only: SwinConfig) -> bool:
    """Tells whether a configuration is that of a network, whatever its images and its convention are."""
    same = replace(config, image_size=only.image_size, convention=only.convention, qk_scale=only.qk_scale)
    return same == only


def _is_other_block(scope: Scope, call: _Call) -> bool:
    """Tells whether a block is given other sizes than those of the one block."""
    if "num_heads" not in call.given or call.name.endswith("stage"):
        return False
    only = scope.only_block
    given = call.given["num_heads"], list(call.windows()), call.given["x"].shape[-1]
    return (
        given != (only.heads, [only.window], only.channels)
        or call.grid() not in (None, only.grid)
        or call.shift() not in (None, (only.shift, only.window))
    )


def _unequal(sizes: Iterable[Pair | None]) -> bool:
    return any(size is not None and size[0] != size[1] for size in sizes)


def _shifts_otherwise(_: Scope, call: _Call) -> bool:
    if (both := call.shift()) is None:
        return False
    shift, (mh, mw) = both
    return shift not in ((0, 0), (mh // 2, mw // 2))


def _shifts_where_dropped(_: Scope, call: _Call) -> bool:
    both, grid = call.shift(), call.grid()
    return (
        both is not None
        and grid is not None
        and keep_shift(both[0], grid, both[1], call.convention) != both[0]
    )


def _sized_otherwise(scope: Scope, call: _Call) -> bool:
    sizes = {call.image(), pair(call.config.image_size)} if call.config else set()
    return not sizes <= set(scope.image_sizes)


FINDS: dict[str, Callable[[Scope, _Call], Any]] = {
    "square_windows": lambda _, call: _unequal(call.windows()),
    "square_grids": lambda _, call: _unequal((call.grid(), call.image())),
    "whole_windows": lambda _, call: call.tears(),
    "qkv_bias": lambda scope, call: call.bias() == (scope.qkv_bias == "never"),
    "patch_norm": lambda scope, call: call.config and call.config.patch_norm == (scope.patch_norm == "never"),
    "shift": _shifts_otherwise,
    "own_shift": _shifts_where_dropped,
    "image_sizes": _sized_otherwise,
    "network": lambda scope, call: call.config and not _is_network(call.config, scope.only_network.config),
    "block": _is_other_block,
    "own_weights": lambda *_: False,  # whoever has the weights tells whether they are others
    "no_qk_scale": lambda _, call: (
        call.given.get("qk_scale") is not None or (call.config and call.config.qk_scale is not None)
    ),
    "no_position_embedding": lambda _, call: call.config and call.config.absolute_position_embedding,
    "no_pretrained_window": lambda _, call: (
        call.given.get("pretrained_window_size") is not None
        or any(getattr(call.config, "pretrained_window_sizes", ()))
    ),
}
"""For each word, whether a call is outside of what it says."""
