"""Modules that hold given parameters, for one call of the adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import torch
from swin_weights import flatten
from torch import nn

Params = Mapping[str, Any]
Module = TypeVar("Module", bound=nn.Module)


def loaded(params: Params, kind: Callable[..., Module], *sizes: Any, **options: Any) -> Module:
    """A module in evaluation mode that holds exactly ``params``, the very tensors: gradients reach them.

    Errors: torch's ``RuntimeError`` naming what is missing, extra or misshaped.

    >>> loaded({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, nn.Linear, 2, 1)(torch.ones(2)).item()
    2.0
    """
    return _holding(params, _made(kind, sizes, tuple(options.items())))


def owned(params: Params, kind: Callable[..., Module], *sizes: Any, **options: Any) -> Module:
    """The same in a module of its own: `loaded` gives one module to all calls at the same sizes.

    >>> one, two = (owned({"weight": torch.full((1, 1), x)}, nn.Linear, 1, 1, bias=False) for x in (1.0, 2.0))
    >>> one(torch.ones(1)).item(), two(torch.ones(1)).item()
    (1.0, 2.0)
    """
    return _holding(params, _made.__wrapped__(kind, sizes, tuple(options.items())))


def _holding(params: Params, module: Module) -> Module:
    module.load_state_dict(flatten(params), strict=True, assign=True)
    return module.eval()


@lru_cache(64)
def _made(
    kind: Callable[..., Module], sizes: tuple[Any, ...], options: tuple[tuple[str, Any], ...]
) -> Module:
    """One module for all calls at the same sizes: making it takes longer than running it."""
    with torch.device("meta"):  # no time spent on initial values
        return kind(*sizes, **dict(options))


def hidden_width(mlp: Params) -> int:
    """The width of an MLP's hidden layer.

    >>> hidden_width({"fc1": {"weight": torch.ones(4, 1)}})
    4
    """
    width: int = mlp["fc1"]["weight"].shape[0]
    return width
