"""What the ways of computing know of a block of Swin V2: its layers and parameters, and what they must fit.

The kernels are those of Swin: they are given the bias table that the weights make, and cosines for q k^T.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from swin_torch.blocks.parts import Branches, Parameters, find_layers
from swin_torch.blocks.touched import Kinds, find_touch
from swin_torch.geometry import functional_v2
from swin_torch.geometry.conventions import Convention
from swin_torch.geometry.exported import is_in_a_graph

Weights = tuple[Tensor, Tensor, Tensor]

BIAS_MLP: Kinds = {"": nn.Sequential, "0": nn.Linear, "1": nn.ReLU, "2": nn.Linear}
"""The layers that compute the bias table."""


class CosineAttention(nn.Module):
    """The parameters and sizes of a cosine window attention."""

    logit_scale: nn.Parameter
    cpb_mlp: nn.Sequential
    qkv: nn.Linear
    q_bias: nn.Parameter | None
    v_bias: nn.Parameter | None
    proj: nn.Linear
    window_size: tuple[int, int]
    pretrained_window_size: tuple[int, int] | None
    convention: Convention

    def __init__(self) -> None:
        """Keeps no table yet."""
        super().__init__()
        self._kept: tuple[Weights, Tensor] | None = None

    def __getstate__(self) -> dict[str, object]:
        """Returns what is copied and saved: not the kept table."""
        return self.__dict__ | {"_kept": None}

    def compute_table(self) -> Tensor:
        """Returns the bias table that the weights make: ((2 Mh - 1)(2 Mw - 1), heads).

        Without gradients on a CPU the table is kept, and returned while the weights have the same numbers.
        These are compared, since a tensor's version does not show every change.  While a graph is
        recorded the table is computed, since the graph's weights may be replaced.
        """
        sizes = self.window_size, self.pretrained_window_size
        if find_touch(self.cpb_mlp, BIAS_MLP) is not None:
            offsets = functional_v2.find_offsets(
                *sizes, self.logit_scale.dtype, self.logit_scale.device, self.convention.offsets
            )
            return 16 * self.cpb_mlp(offsets).sigmoid()
        layers: Any = self.cpb_mlp
        of: Weights = (layers[0].weight, layers[0].bias, layers[2].weight)
        if torch.is_grad_enabled() or is_in_a_graph() or not _lie_on_a_cpu(of):
            return functional_v2.continuous_position_bias_table(*of, *sizes, self.convention.offsets)
        kept = self._kept
        if kept is not None and all(map(_equal, kept[0], of)):
            return kept[1]
        with torch.inference_mode(False), torch.no_grad():
            weights = of[0].clone(), of[1].clone(), of[2].clone()
            table = functional_v2.continuous_position_bias_table(*weights, *sizes, self.convention.offsets)
        self._kept = weights, table
        return table

    def find_factors(self) -> Tensor:
        """Returns what multiplies the cosines, one a head."""
        return functional_v2.find_factors(self.logit_scale, self.convention.clamp)


class BlockV2(Branches):
    """The layers of a block of Swin V2: x + norm1((S)W-MSA(x)), then x + norm2(MLP(x))."""

    attn: CosineAttention


def _lie_on_a_cpu(of: Weights) -> bool:
    return all(one.is_cpu and functional_v2.is_plain(one) for one in of)


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def find_parameters(block: BlockV2) -> tuple[Parameters, Tensor]:
    """Returns the parameters that kernels are given for a block of V2, and the factors of the cosines."""
    attn = block.attn
    norm1, qkv, proj, norm2, fc1, fc2 = find_layers(block)
    of = Parameters(
        norm1.weight,
        norm1.bias,
        qkv.weight,
        functional_v2.join_biases(attn.q_bias, attn.v_bias),
        attn.compute_table(),
        proj.weight,
        proj.bias,
        norm2.weight,
        norm2.bias,
        fc1.weight,
        fc1.bias,
        fc2.weight,
        fc2.bias,
    )
    return of, attn.find_factors()


def find_misfit_of_attention(attn: CosineAttention, channels: int) -> str | None:
    """Returns what is wrong with the parameters that only V2 has; None if nothing is.

    One is missing, or has a shape or a device that does not fit; or qkv or the last layer has a bias.
    """
    heads = attn.logit_scale.numel() if attn.logit_scale is not None else 0
    first: Any = attn.cpb_mlp[0]
    last: Any = attn.cpb_mlp[2]
    device = first.weight.device
    wanted: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "logit_scale": (attn.logit_scale, (heads, 1, 1)),
        "q_bias": (attn.q_bias, (channels,)),
        "v_bias": (attn.v_bias, (channels,)),
        "cpb_mlp.0.weight": (first.weight, (first.out_features, 2)),
        "cpb_mlp.0.bias": (first.bias, (first.out_features,)),
        "cpb_mlp.2.weight": (last.weight, (heads, first.out_features)),
    }
    for name, (one, shape) in wanted.items():
        if one is None and not name.endswith("_bias"):
            return f"{name} is missing"
        if one is not None and one.shape != shape:
            return f"the parameter {name} is of shape {tuple(one.shape)}, not {shape}"
        if one is not None and one.device != device:
            return f"the parameter {name} is on another device"
    if (attn.q_bias is None) != (attn.v_bias is None):
        return "only one of q_bias and v_bias is there"
    return None if attn.qkv.bias is None and last.bias is None else "a layer has a bias that V2 has not"
