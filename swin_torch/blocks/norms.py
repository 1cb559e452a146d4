"""A residual sum and the LayerNorm after it, in one pass over the tokens where a Triton kernel runs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from swin_torch.backends import triton


def add_norm(
    x: Tensor, branch: Tensor, gain: Tensor, shift: Tensor, eps: float, ahead: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns y = x + branch, and LayerNorm(y); ``ahead``, the bias of a later layer, is then added to y.

    It may overwrite ``branch``, and has no gradient.

    Shapes: (..., C) twice, gain, shift and ahead (C) -> (..., C) twice.

    >>> x, one = torch.tensor([[1.0, 3.0]]), torch.ones(2)
    >>> add_norm(x, torch.zeros(1, 2), one, one, 0.0, ahead=one)
    (tensor([[2., 4.]]), tensor([[0., 2.]]))
    """
    if triton.asked_for(x) and triton.takes_rows(x, branch, gain, shift, ahead):
        return triton.launch_add_norm(x, branch, gain, shift, eps, ahead)
    alike = branch.dtype == torch.result_type(x, branch) and branch.shape == x.shape
    y = branch.add_(x) if alike and branch.is_contiguous() else x + branch
    normed = layer_norm(y, [y.shape[-1]], gain, shift, eps)
    return y if ahead is None else y.add_(ahead), normed
