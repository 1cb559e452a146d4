"""What the ways of computing know of a block and a merge: their layers, parameters and shapes.

Shapes are compared before C or a Triton kernel is given an address.  A block whose shapes do not fit is
computed in the plain way, whose error says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from swin_torch.blocks.touched import Kinds
from swin_torch.geometry.conventions import Convention
from swin_torch.geometry.sizes import Size, check_window

Shape = tuple[int, ...]

KEEPING = {
    "most": "what is fastest: 10 C numbers a token with C kernels, 12 C in V2, 16 C elsewhere",
    "little": "9 C numbers a token; norms, the projection and GELU are computed again, in V2 the MLP",
    "halves": "2 C numbers a token, the inputs of the block's two halves; all else is computed again",
}
"""What training may keep of a block for backward, from the fastest to the smallest."""


class Computed(nn.Module):
    """A module that is computed in one of several ways.

    ``ways`` is "fast", which takes the first way that applies, or "plain".  ``keeping`` is one of `KEEPING`,
    or None for "little" on a GPU and "most" elsewhere.  ``kinds`` holds the type of the module itself, under
    the name "", and of each submodule.
    """

    kinds: ClassVar[Kinds]
    ways: str
    keeping: str | None

    def __init__(self, ways: str, keeping: str | None) -> None:
        """Chooses both; `choose` may choose others later."""
        super().__init__()
        self.choose(ways, keeping)

    def choose(self, ways: str, keeping: str | None = None) -> None:
        """Sets how the module is computed from now on.

        Errors: ``ValueError`` for other ways, or something else to keep.
        """
        if ways not in ("fast", "plain"):
            raise ValueError(f"a block is computed in ways 'fast' or 'plain', got {ways!r}: use one of these")
        if keeping not in (None, *KEEPING):
            raise ValueError(
                f"training keeps {', '.join(KEEPING)} for backward, got {keeping!r}: use one of these"
            )
        self.ways, self.keeping = ways, keeping


class Attention(nn.Module):
    """The parameters and sizes of a window attention."""

    relative_position_bias_table: nn.Parameter
    qkv: nn.Linear
    proj: nn.Linear
    window_size: tuple[int, int]
    qk_scale: float | None


class MlpLayers(nn.Module):
    """The layers of an MLP."""

    fc1: nn.Linear
    fc2: nn.Linear


class Branches(Computed):
    """What the blocks of Swin and Swin V2 share: two norms, an MLP, and branches that training may drop."""

    convention: Convention
    drop_path_rate: float
    norm1: nn.LayerNorm
    norm2: nn.LayerNorm
    mlp: MlpLayers

    def draw_kept(self, x: Tensor) -> Tensor | None:
        """Returns the random factors of drop path for one branch, (B); None where nothing is dropped."""
        if not self.training or self.drop_path_rate == 0:
            return None
        return x.new_empty(x.shape[0]).bernoulli_(1 - self.drop_path_rate) / (1 - self.drop_path_rate)


class Block(Branches):
    """The layers of a block: x + (S)W-MSA(norm1(x)), then x + MLP(norm2(x))."""

    attn: Attention


class Merge(Computed):
    """The layers of a merge: a norm and a linear layer."""

    norm: nn.LayerNorm
    reduction: nn.Linear


class Parameters(NamedTuple):
    """The parameters of a block in the order of its layers.  Only qkv may have no bias."""

    norm1: Tensor
    norm1_bias: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    table: Tensor
    proj: Tensor
    proj_bias: Tensor
    norm2: Tensor
    norm2_bias: Tensor
    fc1: Tensor
    fc1_bias: Tensor
    fc2: Tensor
    fc2_bias: Tensor


def find_layers(block: Any) -> tuple[Any, ...]:
    """Returns the norms and linear layers of a block, of Swin or Swin V2, in their order."""
    attn, mlp = block.attn, block.mlp
    return block.norm1, attn.qkv, attn.proj, block.norm2, mlp.fc1, mlp.fc2


def find_parameters(block: Block, layers: tuple[Any, ...] | None = None) -> Parameters:
    """Returns the parameters of a block; with its ``layers`` given it takes less time."""
    norm1, qkv, proj, norm2, fc1, fc2 = find_layers(block) if layers is None else layers
    return Parameters(
        norm1.weight,
        norm1.bias,
        qkv.weight,
        qkv.bias,
        block.attn.relative_position_bias_table,
        proj.weight,
        proj.bias,
        norm2.weight,
        norm2.bias,
        fc1.weight,
        fc1.bias,
        fc2.weight,
        fc2.bias,
    )


def is_whole(of: Parameters) -> bool:
    """Tells whether no parameter is missing, except perhaps the bias of qkv."""
    return all(one is not None for name, one in zip(of._fields, of, strict=True) if name != "qkv_bias")


def find_misfit(
    layers: tuple[Any, ...], of: Parameters, x: Tensor, window_size: Size, kept: Sequence[Tensor | None]
) -> str | None:
    """Returns which tensor does not have the shape that goes with the others; None if all have.

    A missing parameter fits, except the bias table and the weight of fc1.  x has at least one token, and each
    layer at least one channel.
    """
    device, table, fc1 = x.device, of.table, of.fc1
    if x.dim() != 4 or x.is_meta or not x.numel():
        return "x is no grid of tokens (B, H, W, C) with numbers in it"
    if table is None or not table.is_floating_point() or table.device != device or table.dim() != 2:
        return "the bias table is no matrix of floats on the device of x"
    if table.layout != torch.strided:
        return "the bias table is sparse"  # a layer refuses a sparse weight, an addition of the bias does not
    if fc1 is None or fc1.dim() != 2:
        return "the weight of fc1 is no matrix"
    batch, _, _, channels = x.shape
    if layers[0].normalized_shape != (channels,) or layers[3].normalized_shape != (channels,):
        return f"the norms are not of the {channels} channels of x"
    wanted = list_shapes(channels, fc1.shape[0], table.shape[1], window_size)
    if not wanted:
        return "the channels do not divide into heads"
    for place, shape in enumerate(wanted):
        one = of[place]
        if one is not None and one.shape != shape:
            return f"the parameter {of._fields[place]} is of shape {tuple(one.shape)}, not {shape}"
    for one in kept:
        if one is not None and (one.shape != (batch,) or one.device != device):
            return "drop path has no factor for each image, on the device of x"
    return None


@lru_cache(maxsize=64)
def list_shapes(channels: int, hidden: int, heads: int, window_size: Size) -> tuple[Shape, ...]:
    """Returns the shapes of a block's `Parameters`, or no shape if no block has these sizes.

    >>> list_shapes(4, 8, 2, (1, 2))[3:7]
    ((12,), (3, 2), (4, 4), (4,))
    """
    if min(channels, hidden, heads) < 1 or channels % heads:
        return ()
    height, width = check_window(window_size)
    vector, table = (channels,), ((2 * height - 1) * (2 * width - 1), heads)
    qkv = (3 * channels, channels), (3 * channels,)
    proj, fc1, fc2 = (channels, channels), (hidden, channels), (channels, hidden)
    return vector, vector, *qkv, table, proj, vector, vector, vector, fc1, (hidden,), fc2, vector


def find_merge_misfit(x: Tensor, norm: nn.LayerNorm, layer: nn.Linear) -> str | None:
    """Returns which shapes of a grid, a merge's norm and its linear layer do not go together; None if all do.

    Only the bias of the linear layer may be missing, and none of the tensors is empty.
    """
    gain, shift, weight, bias, channels = norm.weight, norm.bias, layer.weight, layer.bias, (4 * x.shape[-1],)
    if weight is None or weight.dim() != 2 or not (x.numel() and weight.numel()) or x.is_meta:
        return "x or the weight has no numbers"
    if not weight.shape[1:] == channels == norm.normalized_shape:
        return f"the norm or the weight is not of the {channels[0]} channels of 2x2 tokens"
    if not all(one is not None and one.shape == channels for one in (gain, shift)):
        return "the norm has no weight or no bias of its channels"
    return None if bias is None or bias.shape == weight.shape[:1] else "the bias is not of the weight's rows"
