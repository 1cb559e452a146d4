"""LayerNorm, and a residual sum with the LayerNorm after it: without gradients, by Triton where it runs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from swin_torch.backends import triton


def norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float, dtype: torch.dtype | None = None) -> Tensor:
    """Returns LayerNorm(x), without a gradient, in a type: that of x, unless another is given.

    Shapes: (..., C), gain and shift (C) -> (..., C).

    >>> norm(torch.tensor([[1.0, 3.0]]), torch.ones(2), torch.zeros(2), 0.0)
    tensor([[-1.,  1.]])
    """
    dtype = dtype or x.dtype
    if triton.is_asked_for(x) and triton.takes_norm(x, gain, shift):
        return triton.launch_norm(x, gain, shift, eps, dtype)
    return layer_norm(x, [x.shape[-1]], gain, shift, eps).to(dtype)


def norm_backward(
    gradient: Tensor, x: Tensor, gain: Tensor, shift: Tensor, eps: float, onto: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of a LayerNorm's input, plus ``onto``, and of its weight and bias.

    Shapes: (..., C) twice, gain and shift (C), onto (..., C) -> (..., C), (C), (C).

    >>> x, one = torch.tensor([[1.0, 3.0]]), torch.ones(2)
    >>> norm_backward(torch.tensor([[2.0, 0.0]]), x, one, one, 0.0)
    (tensor([[0., 0.]]), tensor([-2.,  0.]), tensor([2., 0.]))
    """
    gradient = gradient.resolve_neg().contiguous()
    if triton.is_asked_for(x) and triton.takes_norm(x, gain, shift):
        return triton.launch_norm_backward(gradient, x, gain, eps, onto)
    wide = torch.promote_types(x.dtype, gain.dtype)  # PyTorch's backward takes one type only on a GPU
    given, parameters, sizes = x.to(wide), (gain.to(wide), shift.to(wide)), [x.shape[-1]]
    _, mean, rstd = torch.native_layer_norm(given, sizes, *parameters, eps)
    of_x, of_gain, of_shift = torch.ops.aten.native_layer_norm_backward(
        gradient.to(wide), given, sizes, mean, rstd, *parameters, [True] * 3
    )
    return of_x.to(x.dtype) if onto is None else onto + of_x.to(x.dtype), of_gain, of_shift


def add_norm(
    x: Tensor,
    branch: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    ahead: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns y = x + branch, and LayerNorm(y); ``ahead``, the bias of a later layer, is then added to y.

    The norm is in the type of y, unless another is given.  It may overwrite ``branch``, and has no gradient.

    Shapes: (..., C) twice, gain, shift and ahead (C) -> (..., C) twice.

    >>> x, one = torch.tensor([[1.0, 3.0]]), torch.ones(2)
    >>> add_norm(x, torch.zeros(1, 2), one, one, 0.0, ahead=one)
    (tensor([[2., 4.]]), tensor([[0., 2.]]))
    """
    wide = torch.result_type(x, branch)
    if triton.is_asked_for(x) and triton.takes_rows(x, branch, gain, shift, ahead):
        return triton.launch_add_norm(x, branch, gain, shift, eps, ahead, dtype or wide)
    alike = branch.dtype == wide and branch.shape == x.shape
    y = branch.add_(x) if alike and branch.is_contiguous() else x + branch
    normed = layer_norm(y, [y.shape[-1]], gain, shift, eps)
    normed = normed if dtype is None else normed.to(dtype)
    return y if ahead is None else y.add_(ahead), normed
