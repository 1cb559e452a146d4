"""Arrays to tensors and back, at any level of nested parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def tensors(value: Any, dtype: torch.dtype, device: str) -> Any:
    """Arrays as tensors; those of floats as leaves of ``dtype`` that collect a gradient.

    >>> tensors({"bias": np.zeros(1)}, torch.float16, "cpu")["bias"].dtype
    torch.float16
    """
    if isinstance(value, np.ndarray):
        # A fresh array: torch takes no negative strides, and warns of read-only memory.
        tensor = torch.as_tensor(np.array(value, order="C"), device=device)
        return nn.Parameter(tensor.to(dtype)) if tensor.is_floating_point() else tensor
    return _each(lambda child: tensors(child, dtype, device), value)


def arrays(value: Any) -> Any:
    """Tensors as NumPy arrays: float64 stays, other floats become float32.

    >>> arrays([torch.ones(1, dtype=torch.bfloat16)])
    [array([1.], dtype=float32)]
    """
    if isinstance(value, Tensor):
        narrow = value.is_floating_point() and value.dtype != torch.float64
        return value.detach().to(torch.float32 if narrow else value.dtype).cpu().numpy()
    return _each(arrays, value)


def backward(outputs: Any, cotangents: Any) -> None:
    """Backward from the scalar <cotangents, outputs>; with cotangents of its own, torch loads sympy first.

    >>> x = nn.Parameter(torch.ones(2))
    >>> backward(3 * x, torch.tensor([1.0, 2.0])); x.grad
    tensor([3., 6.])
    """
    pairs = [(outputs, cotangents)] if isinstance(outputs, Tensor) else zip(outputs, cotangents, strict=True)
    torch.autograd.backward([(y * u.detach()).sum() for y, u in pairs])


def cleared(value: Any) -> None:
    """Forgets what the leaves of a value, at any level, have collected.

    >>> leaf = nn.Parameter(torch.ones(1))
    >>> leaf.sum().backward(); cleared([{"bias": leaf}]); gradient(leaf)
    tensor([0.])
    """
    if isinstance(value, nn.Parameter):
        value.grad = None
    _each(cleared, value)


def gradient(leaf: Any) -> Any:
    """What a leaf has collected, zeros if nothing; None for what has no gradient.

    >>> gradient([nn.Parameter(torch.ones(1)), 7])
    [tensor([0.]), None]
    """
    if isinstance(leaf, nn.Parameter):
        return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return _each(gradient, leaf) if isinstance(leaf, (Mapping, list)) else None


def _each(convert: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: convert(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(convert(child) for child in value)
    return value
