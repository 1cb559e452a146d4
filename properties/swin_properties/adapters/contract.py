"""The contract: what an implementation may offer, what each callable is given, and what it must give.

`Swin` has the callables and their signatures, `CONTRACT` has everything else that is known of each.  Every
other list of callables comes from these two.

What holds for all of them:

- Arrays are NumPy arrays.  They are float64 where the implementation computes in float64, else float32.
- ``params`` is a nested dict with the names of the official checkpoint; ``blocks`` and ``layers`` are lists.
  A linear layer's weight is (out, in), a convolution's (out, in, height, width).
- A size is ``(height, width)``, or an integer where the two are equal.  An
  adapter that is wrapped in `swin_properties.pairs` always gets a pair.
- A window and a shift are applied as they are given.  Only stages and networks decide them (`swin_stage`,
  `swin_features`, `swin_transformer` and those of V2): even blocks are not shifted, odd blocks by half a
  window, and a window that spans the grid is not shifted at all.  A convention may decide otherwise.
- ``config`` is a `SwinConfig`, of V2 a `SwinV2Config`.
- Swin V2 has the same windows, mask, index, embedding and MLP.  What it has otherwise has a name of its own.
- A callable that is missing, and an optional argument that its signature lacks, are not offered.
- An adapter that does not take every input says which it takes in its ``scope``, a dict of words and values.
  Its method ``declines`` refuses what these words cannot say.
- ``qk_scale`` takes the place of 1 / sqrt(d).  ``kept`` holds drop path's factors of a block's two branches,
  (B,) each: 0, or 1 / (1 - rate).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from inspect import Parameter, signature
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from swin_reference import parameters, rules, rules_v2
from swin_reference.config import Convention, SwinConfig
from swin_reference.config_v2 import SwinV2Config
from swin_reference.sizes import Size, pair
from swin_reference.types import Params

from swin_properties.budget.precision import Precision
from swin_properties.cases.case import Case, GridCase, NetCase, ScheduleCase
from swin_properties.cases.case_v2 import V2_CASES, GridV2Case

Array = NDArray[Any]

Kept = tuple[Array, Array]
"""Drop path's factors of the attention and of the MLP branch, each (B,): 0 or 1 / (1 - p)."""


class Swin(Protocol):
    """The callables that an implementation may offer, in the order in which a reader would check them."""

    def window_partition(self, x: Array, window_size: Size) -> Array:
        """Cuts grids of tokens into windows: batch by batch, then row by row."""

    def window_reverse(self, windows: Array, window_size: Size, height: int, width: int) -> Array:
        """Puts windows together to grids; the inverse of `window_partition`."""

    def cyclic_shift(self, x: Array, shift_size: Size) -> Array:
        """Rolls the grid by -s along each axis."""

    def reverse_cyclic_shift(self, x: Array, shift_size: Size) -> Array:
        """Rolls the grid by +s along each axis."""

    def shifted_window_mask(self, height: int, width: int, window_size: Size, shift_size: Size) -> Array:
        """Returns 0 where a token may attend to another after the shift, a negative number where not."""

    def relative_position_index(self, window_size: Size) -> Array:
        """Returns the row of the bias table for each pair of tokens of a window."""

    def relative_position_bias(self, table: Array, window_size: Size) -> Array:
        """Looks up the bias of each pair of tokens of a window."""

    def resize_relative_position_bias(self, table: Array, window_size: Size, new_window_size: Size) -> Array:
        """Resizes a bias table to another window: bicubic, a = -3/4, corners not aligned."""

    def window_attention(
        self,
        x: Array,
        params: Params,
        num_heads: int,
        window_size: Size,
        mask: Array | None = None,
        qk_scale: float | None = None,
    ) -> Array:
        """Attends inside each window: softmax(q k^T / sqrt(d) + bias + mask) v, projected."""

    def shifted_window_attention(
        self,
        x: Array,
        params: Params,
        num_heads: int,
        window_size: Size,
        shift_size: Size,
        qk_scale: float | None = None,
    ) -> Array:
        """Attends inside each shifted window of a grid: the whole (S)W-MSA."""

    def layer_norm(self, x: Array, params: Params, eps: float = 1e-5) -> Array:
        """Normalises each token over its channels."""

    def mlp(self, x: Array, params: Params) -> Array:
        """Applies two linear layers with GELU between them."""

    def patch_embed(self, images: Array, params: Params, patch_size: Size) -> Array:
        """Makes a token of each patch of an image."""

    def patch_merging(self, x: Array, params: Params) -> Array:
        """Makes one token of each 2 x 2 tokens."""

    def swin_block(
        self,
        x: Array,
        params: Params,
        num_heads: int,
        window_size: Size,
        shift_size: Size,
        kept: Kept | None = None,
        qk_scale: float | None = None,
    ) -> Array:
        """Adds the attention of the normed tokens, then the MLP of the normed sum."""

    def drop_path_rates(self, rate: float, depths: Sequence[int]) -> Sequence[Array]:
        """Returns drop path's rate of every block: it grows linearly from 0 to ``rate`` over all blocks."""

    def swin_stage(
        self,
        x: Array,
        params: Params,
        depth: int,
        num_heads: int,
        window_size: Size,
        kept: Sequence[Kept] | None = None,
        qk_scale: float | None = None,
    ) -> Array:
        """Applies blocks, every second one shifted, then the merge where it has one."""

    def swin_features(
        self,
        images: Array,
        params: Params,
        config: SwinConfig,
        kept: Sequence[Sequence[Kept]] | None = None,
    ) -> Sequence[Array]:
        """Returns the map of every stage, before its merge and without a norm."""

    def swin_transformer(
        self,
        images: Array,
        params: Params,
        config: SwinConfig,
        kept: Sequence[Sequence[Kept]] | None = None,
    ) -> Array:
        """Classifies images: embedding, stages, norm, mean over the tokens, head."""

    def continuous_position_bias_table(
        self, params: Params, window_size: Size, pretrained_window_size: Size | None = None
    ) -> Array:
        """Computes the bias table of a window from its offsets: 16 sigmoid(MLP(T))."""

    def cosine_window_attention(
        self,
        x: Array,
        params: Params,
        num_heads: int,
        window_size: Size,
        mask: Array | None = None,
        pretrained_window_size: Size | None = None,
    ) -> Array:
        """Attends inside each window: softmax(tau cos(q, k) + bias + mask) v, projected."""

    def shifted_cosine_window_attention(
        self,
        x: Array,
        params: Params,
        num_heads: int,
        window_size: Size,
        shift_size: Size,
        pretrained_window_size: Size | None = None,
    ) -> Array:
        """Attends by cosine inside each shifted window of a grid: the whole (S)W-MSA of V2."""

    def swin_v2_patch_merging(self, x: Array, params: Params) -> Array:
        """Makes one token of each 2 x 2 tokens, and norms it."""

    def swin_v2_block(
        self,
        x: Array,
        params: Params,
        num_heads: int,
        window_size: Size,
        shift_size: Size,
        kept: Kept | None = None,
        pretrained_window_size: Size | None = None,
    ) -> Array:
        """Adds attention, then the MLP, each followed by its LayerNorm."""

    def swin_v2_stage(
        self,
        x: Array,
        params: Params,
        depth: int,
        num_heads: int,
        window_size: Size,
        kept: Sequence[Kept] | None = None,
        pretrained_window_size: Size | None = None,
    ) -> Array:
        """Applies blocks of V2, every second one shifted, then the merge where it has one."""

    def swin_v2_features(
        self,
        images: Array,
        params: Params,
        config: SwinV2Config,
        kept: Sequence[Sequence[Kept]] | None = None,
    ) -> Sequence[Array]:
        """Returns the map of every stage of V2, before its merge and without a norm."""

    def swin_v2_transformer(
        self,
        images: Array,
        params: Params,
        config: SwinV2Config,
        kept: Sequence[Sequence[Kept]] | None = None,
    ) -> Array:
        """Classifies images with Swin V2: embedding, stages, norm, mean over the tokens, head."""


class ByName(Protocol):
    """What calls a callable, or `vjp`, by its name."""

    def raw(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Returns the positional arguments as they are after the call, and the very result."""


class Asked(Swin, ByName, Protocol):
    """A Swin as a law is given it: with exact results to compare with, and a precision."""

    expected: Swin
    """The exact results: the oracle's, for the oracle itself the second oracle's."""

    precision: Precision
    """What the implementation computes in."""

    def shares_memory(self, given: Any, result: Any) -> list[bool]:
        """Tells for each array of the last call's arguments whether the result shares memory with it."""


SCOPE = {
    "square_windows": "windows have equal sides",
    "square_grids": "grids have equal sides, and images too",
    "whole_windows": "grids are made of whole windows, images of whole patches, and merged sides are even",
    "qkv_bias": '`"always"` or `"never"`: whether attention has a bias of queries, keys and values',
    "patch_norm": '`"always"` or `"never"`: whether networks have a norm after their patch embedding',
    "shift": '`"half"`: a shift is 0 or floor(M / 2), on both axes',
    "own_shift": "a block sets its shift to 0 itself, where the convention does so in a stage",
    "image_sizes": "a list: the sizes of the images that networks take",
    "network": "a text such as `depths=2x2,heads=2x4`: the sizes of the only network, words of a case; "
    "`bias_width` makes it a Swin V2",
    "block": "a text such as `grid=8x8,window=4x4,shift=2x2`: the sizes of the only block, words of a case",
    "own_weights": "the network, or the block, has the weights in the attribute `own_weights`, and no others",
    "no_qk_scale": "no `qk_scale` is taken, neither as an argument nor in a configuration",
    "no_position_embedding": "no network has an absolute position embedding",
    "no_pretrained_window": "`pretrained_window_size`, the window of V2's training, is not given",
}
"""The words by which an adapter states its scope, in a dict ``scope``; what each says of what it takes."""


@dataclass(frozen=True)
class Entry:
    """What the contract says of one callable besides its signature."""

    takes: str
    """The shapes of its arrays, in words."""
    gives: str
    """The shape of its result, in words."""
    shape: Callable[..., Any]
    """The shape of its result, computed from its arguments; of `swin_features` a list of shapes."""
    arguments: Callable[[Any], tuple[Any, ...]]
    """Example arguments, made from a case."""
    kind: type[Case] = GridCase
    """The type of the case that `arguments` takes."""
    missing: tuple[str, ...] = ()
    """The parameters and parts that may be missing in ``params``."""
    varies: str = ""
    """What else may be other than in the paper."""
    refuses: str = ""
    """What a convention may refuse, in words."""
    refuse: Callable[..., None] | None = None
    """Takes the arguments and a convention, and raises `Rejected` for what the convention refuses."""


def _ceil(length: int, step: int) -> int:
    return -(-length // step)


def _count_tokens(window_size: Size) -> int:
    return prod(pair(window_size))


def _same(x: Array, *_: Any) -> Any:
    return x.shape


def _shape_embedding(images: Array, params: Params, patch_size: Size) -> Any:
    ph, pw = pair(patch_size)
    grid = _ceil(images.shape[2], ph), _ceil(images.shape[3], pw)
    return len(images), *grid, len(params["proj"]["weight"])


def _shape_merged(x: Array, *_: Any) -> Any:
    batch, height, width, channels = x.shape
    return batch, _ceil(height, 2), _ceil(width, 2), 2 * channels


def _shape_reversed(windows: Array, window_size: Size, height: int, width: int) -> Any:
    tokens = len(windows) * _count_tokens(window_size)
    return tokens // (height * width), height, width, windows.shape[3]


def _shape_maps(images: Array, _params: Params, config: SwinConfig, *_: Any) -> Any:
    ph, pw = pair(config.patch_size)
    height, width = _ceil(images.shape[2], ph), _ceil(images.shape[3], pw)
    return [
        (len(images), _ceil(height, 2**stage), _ceil(width, 2**stage), channels)
        for stage, channels in enumerate(config.channels)
    ]


def _refuse_image(convention: Convention, images: Array, _: Params, patch_size: Size) -> None:
    rules.pixels_taken(images.shape[2:], patch_size, convention)


def _refuse_odd_sides(convention: Convention, x: Array, _: Params) -> None:
    rules.merged_grid(x.shape[1:3], convention)


def _refuse_window(
    convention: Convention, x: Array, _params: Params, _heads: int, window_size: Size, *_: Any
) -> None:
    rules.pads_before_roll(x.shape[1:3], window_size, convention)


def _refuse_blocks(convention: Convention, grid: tuple[int, int], window_size: Size) -> None:
    rules.pads_before_roll(grid, rules.stage_window(grid, window_size, convention), convention)


def _refuse_stage(
    convention: Convention, x: Array, params: Params, _depth: int, _heads: int, window_size: Size, *_: Any
) -> None:
    _refuse_blocks(convention, x.shape[1:3], window_size)
    if "downsample" in params:
        rules.merged_grid(x.shape[1:3], convention)


def _refuse_network(
    convention: Convention, images: Array, _params: Params, config: SwinConfig, *_: Any
) -> None:
    rules.check_image(images.shape[2:], config, convention)
    if isinstance(config, SwinV2Config) and convention.grid == "built-nominal":
        rules_v2.nominal_grid(config, len(config.depths) - 1)
    grid = rules.token_grid(images.shape[2:], config.patch_size, convention)
    for stage, window in enumerate(config.windows):
        _refuse_blocks(convention, grid, window)
        if stage < len(config.depths) - 1:
            grid = rules.merged_grid(grid, convention)


def _whole(case: GridCase) -> GridCase:
    """Returns the case on a grid of whole windows."""
    return replace(case, grid=case.padded)


def _table(case: GridCase) -> Array:
    table: Array = case.attention()["relative_position_bias_table"]
    return table


def _make_images(case: GridCase) -> Array:
    """Returns images as large as the grid, for patches as large as the window."""
    return np.ascontiguousarray(case.tokens(3).transpose(0, 3, 1, 2))


RECTANGLES = "rectangular windows"
SHIFTS = "rectangular windows, a shift along one axis"
HEADS = "rectangular windows, any number of heads"
PATTERNS = "rectangular windows, a shift along one axis, any number of heads"

CONTRACT: dict[str, Entry] = {
    "window_partition": Entry(
        "(B, H, W, C), whole windows",
        "(B nW, Mh, Mw, C)",
        lambda x, window_size: (
            prod(x.shape[:3]) // _count_tokens(window_size),
            *pair(window_size),
            x.shape[3],
        ),
        lambda case: (_whole(case).tokens(), case.window),
        varies=RECTANGLES,
    ),
    "window_reverse": Entry(
        "(B nW, Mh, Mw, C)",
        "(B, H, W, C)",
        _shape_reversed,
        lambda case: (
            case.windows().reshape(-1, *case.window, case.channels),
            case.window,
            *case.padded,
        ),
        varies=RECTANGLES,
    ),
    "cyclic_shift": Entry(
        "(B, H, W, C)",
        "the same, rolled by -s",
        _same,
        lambda case: (case.tokens(), case.shift),
        varies="a shift along one axis",
    ),
    "reverse_cyclic_shift": Entry(
        "(B, H, W, C)",
        "the same, rolled by +s",
        _same,
        lambda case: (case.tokens(), case.shift),
        varies="a shift along one axis",
    ),
    "shifted_window_mask": Entry(
        "",
        "(nW, N, N): 0 or negative",
        lambda height, width, window_size, *_: (
            height * width // _count_tokens(window_size),
            *(_count_tokens(window_size),) * 2,
        ),
        lambda case: (*case.padded, case.window, case.shift),
        varies=SHIFTS,
    ),
    "relative_position_index": Entry(
        "",
        "(N, N) integers",
        lambda window_size: (_count_tokens(window_size),) * 2,
        lambda case: (case.window,),
        varies=RECTANGLES,
    ),
    "relative_position_bias": Entry(
        "((2Mh-1)(2Mw-1), heads)",
        "(heads, N, N)",
        lambda table, window_size: (table.shape[1], *(_count_tokens(window_size),) * 2),
        lambda case: (_table(case), case.window),
        varies=HEADS,
    ),
    "resize_relative_position_bias": Entry(
        "((2Mh-1)(2Mw-1), heads)",
        "the same for the new window",
        lambda table, _, new_window_size: (
            prod(2 * side - 1 for side in pair(new_window_size)),
            table.shape[1],
        ),
        lambda case: (_table(case), case.window, (case.window[0] + 1, case.window[1] + 2)),
        varies=HEADS,
    ),
    "window_attention": Entry(
        "(B nW, N, C); `mask` (nW, N, N), added to the logits",
        "(B nW, N, C)",
        _same,
        lambda case: (case.windows(), case.attention(), case.heads, case.window),
        missing=("qkv.bias",),
        varies=HEADS,
    ),
    "shifted_window_attention": Entry(
        "(B, H, W, C), any H and W",
        "(B, H, W, C)",
        _same,
        lambda case: (case.tokens(), case.attention(), case.heads, case.window, case.shift),
        missing=("qkv.bias",),
        varies=PATTERNS,
        refuses="grids that are not whole windows",
        refuse=_refuse_window,
    ),
    "layer_norm": Entry(
        "(..., C)",
        "(..., C)",
        _same,
        lambda case: (case.tokens(), case.hot(parameters.norm_shapes(case.channels))),
    ),
    "mlp": Entry(
        "(..., C)",
        "(..., C)",
        _same,
        lambda case: (case.tokens(), case.hot(parameters.mlp_shapes(case.channels, 2 * case.channels))),
    ),
    "patch_embed": Entry(
        "(B, 3, H, W)",
        "(B, H/p, W/p, C), sides rounded up",
        _shape_embedding,
        lambda case: (
            _make_images(case),
            case.hot(parameters.patch_embed_shapes(8 * case.channels, case.window)),
            case.window,
        ),
        missing=("norm",),
        varies="rectangular patches",
        refuses="images that are not whole patches",
        refuse=_refuse_image,
    ),
    "patch_merging": Entry(
        "(B, H, W, C)",
        "(B, H/2, W/2, 2C), sides rounded up",
        _shape_merged,
        lambda case: (case.tokens(), case.merging()),
        refuses="odd sides",
        refuse=_refuse_odd_sides,
    ),
    "swin_block": Entry(
        "(B, H, W, C); `kept`: drop path's factors of the attention and the MLP branch, each (B,)",
        "(B, H, W, C)",
        _same,
        lambda case: (case.tokens(), case.block(), case.heads, case.window, case.shift),
        missing=("qkv.bias",),
        varies=PATTERNS,
        refuses="grids that are not whole windows",
        refuse=_refuse_window,
    ),
    "drop_path_rates": Entry(
        "a number 0 <= `rate` < 1, and a list with the depth of every stage",
        "for each stage an array (depth,)",
        lambda _, depths: [(depth,) for depth in depths],
        lambda case: (case.rate, list(case.depths)),
        ScheduleCase,
    ),
    "swin_stage": Entry(
        "(B, H, W, C); `kept`: one for each block, as a block takes it",
        "(B, H, W, C); with `downsample` merged",
        lambda x, params, *_: _shape_merged(x) if "downsample" in params else x.shape,
        lambda case: (
            case.tokens(),
            case.network()["layers"][0],
            case.depths[0],
            case.heads[0],
            case.window,
        ),
        NetCase,
        missing=("qkv.bias", "downsample"),
        varies=HEADS,
        refuses="grids that are not whole windows or smaller than one, odd sides before a merge",
        refuse=_refuse_stage,
    ),
    "swin_features": Entry(
        "(B, 3, H, W); `kept`: one for each stage, as a stage takes it",
        "a list of the stages' maps",
        _shape_maps,
        lambda case: (case.images(), case.network(), case.config),
        NetCase,
        missing=("qkv.bias", "patch_embed.norm", "absolute_pos_embed", "head"),
        varies="rectangular windows and patches, any number of heads",
        refuses="images of another size than `config.image_size`; what an embedding or a stage refuses",
        refuse=_refuse_network,
    ),
    "swin_transformer": Entry(
        "(B, 3, H, W); `kept`: one for each stage, as a stage takes it",
        "(B, classes); without `head` (B, channels)",
        lambda images, _, config, *__: (len(images), config.num_classes or config.channels[-1]),
        lambda case: (case.images(), case.network(), case.config),
        NetCase,
        missing=("qkv.bias", "patch_embed.norm", "absolute_pos_embed", "head"),
        varies="rectangular windows and patches, any number of heads",
        refuses="images of another size than `config.image_size`; what an embedding or a stage refuses",
        refuse=_refuse_network,
    ),
}
"""What the contract says of each callable of `Swin`."""

V2_NAMES = {
    "window_attention": "cosine_window_attention",
    "shifted_window_attention": "shifted_cosine_window_attention",
    "patch_merging": "swin_v2_patch_merging",
    "swin_block": "swin_v2_block",
    "swin_stage": "swin_v2_stage",
    "swin_features": "swin_v2_features",
    "swin_transformer": "swin_v2_transformer",
}
"""The callables of V1 that V2 has otherwise, with V2's names; it has all others as V1 has them."""

CONTRACT["continuous_position_bias_table"] = Entry(
    "`params`: the layers `0` and `2` of the MLP",
    "((2Mh-1)(2Mw-1), heads)",
    lambda params, window_size, *_: (
        prod(2 * side - 1 for side in pair(window_size)),
        len(params["2"]["weight"]),
    ),
    lambda case: (case.attention()["cpb_mlp"], case.window),
    GridV2Case,
    varies=HEADS,
)
for _name, _v2_name in V2_NAMES.items():
    _entry = CONTRACT[_name]
    CONTRACT[_v2_name] = replace(
        _entry,
        kind=V2_CASES[_entry.kind],
        missing=tuple("q_bias, v_bias" if part == "qkv.bias" else part for part in _entry.missing),
    )


def result_shape(name: str, args: tuple[Any, ...], convention: Convention) -> Any:
    """Returns the shape of a callable's result under a convention, which may drop part of an image.

    >>> from swin_reference.config import CONVENTIONS
    >>> embed = np.ones((1, 3, 9, 8)), {"proj": {"weight": np.ones((5, 3, 4, 4))}}, 4
    >>> [result_shape("patch_embed", embed, CONVENTIONS[name]) for name in ("canonical", "timm")]
    [(1, 3, 2, 5), (1, 2, 2, 5)]
    """
    if name in ("patch_embed", "swin_features", "swin_v2_features") and convention.image == "drop":
        images, params, sizes = args[:3]
        patch_size = sizes if name == "patch_embed" else sizes.patch_size
        bottom, right = rules.pixels_taken(images.shape[2:], patch_size, convention)
        args = images[:, :, :bottom, :right], params, sizes
    return CONTRACT[name].shape(*args)


def find_refusal(name: str, args: tuple[Any, ...], convention: Convention) -> str:
    """Returns why a convention refuses a callable's sizes, in one sentence; empty where it takes them.

    >>> from swin_reference.config import CONVENTIONS
    >>> find_refusal("patch_merging", (np.ones((1, 3, 4, 1)), {}), CONVENTIONS["canonical"])
    ''
    """
    if (refuse := CONTRACT[name].refuse) is not None:
        try:
            refuse(convention, *args)
        except rules.Rejected as rejected:
            return str(rejected)
    return ""


def list_parameters(name: str) -> list[Parameter]:
    """Returns the parameters of a callable, in order.

    >>> [parameter.name for parameter in list_parameters("window_partition")]
    ['x', 'window_size']
    """
    return list(signature(getattr(Swin, name)).parameters.values())[1:]


def write_signature(name: str) -> str:
    """Returns a callable and its parameters as Python would be written, without types.

    >>> write_signature("layer_norm")
    'layer_norm(x, params, eps=1e-5)'
    """
    plain = (parameter.replace(annotation=Parameter.empty) for parameter in list_parameters(name))
    return f"{name}({', '.join(map(str, plain))})".replace("e-0", "e-")
