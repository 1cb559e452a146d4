"""Whether modules are as this package made them: only then do their parameters say all that they compute."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules import module as every

Kinds = Mapping[str, type[nn.Module]]
"""The type that this package gives each submodule, by the submodule's name."""

NUMBERS = frozenset((Tensor, nn.Parameter, type(None)))
"""Types of parameters; another type may hold its numbers elsewhere, or in another form."""


def untouched(module: nn.Module, kind: type[nn.Module], kinds: Kinds) -> bool:
    """Tells whether a module and all below it are of these kinds, with no hook and no forward of their own.

    Parametrizations and low-rank adapters give another type, pruning and weight_norm register hooks.  A block
    that ``fully_shard`` was called on is untouched too: it gathers parameters and adds nothing.

    >>> layer = nn.Linear(2, 3)
    >>> handle = layer.register_forward_hook(lambda *_: None)
    >>> untouched(layer, nn.Linear, {}), handle.remove(), untouched(layer, nn.Linear, {})
    (False, None, True)
    """
    if (
        every._global_forward_hooks
        or every._global_forward_pre_hooks
        or every._global_backward_hooks
        or every._global_backward_pre_hooks
    ):
        return False
    if type(module) is not kind and _is_sharded(module, kind):
        return _are_all(module, kinds)
    return _is_one(module, kind, kinds)


def _is_one(module: nn.Module, kind: type[nn.Module] | None, kinds: Kinds) -> bool:
    held = module.__dict__  # asking a module for its attributes takes several times as long
    if (
        type(module) is not kind
        or held["_forward_hooks"]
        or held["_forward_pre_hooks"]
        or held["_backward_hooks"]
        or held["_backward_pre_hooks"]
        or "forward" in held
    ):
        return False
    return _are_all(module, kinds)


def _are_all(module: nn.Module, kinds: Kinds) -> bool:
    """Tells whether parameters and submodules are untouched; loops, as generators take twice as long."""
    held = module.__dict__
    for parameter in held["_parameters"].values():
        if type(parameter) not in NUMBERS and not torch.compiler.is_compiling():  # it has types of its own
            return False
    for name, part in held["_modules"].items():  # noqa: SIM110
        if not _is_one(part, kinds.get(name), kinds):
            return False
    return True


def _is_sharded(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Tells whether ``fully_shard`` gave the module its class; its hooks fire, whatever way it takes."""
    names = [base.__name__ for base in type(module).__bases__]
    return names == ["FSDPModule", kind.__name__] and issubclass(type(module), kind)
