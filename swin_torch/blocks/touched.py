"""Whether modules are as this package made them: only then do their parameters say all that they compute."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules import module as every

Kinds = Mapping[str, type[nn.Module]]
"""The type that this package gives a module, under the name "", and each submodule, by its name."""

NUMBERS = frozenset((Tensor, nn.Parameter, type(None)))
"""The types of parameters.  A parameter of another type may hold its numbers elsewhere or in another form."""

HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"


def find_touch(module: nn.Module, kinds: Kinds) -> str | None:
    """Returns what was changed in a module or below it since this package made it; None if nothing was.

    A change is a hook, another type, a forward of its own, or a parameter of another type.  Parametrizations
    and low-rank adapters give another type; pruning and weight_norm register hooks.  ``fully_shard`` gives a
    block another type too, but only gathers its parameters: that is no change.

    >>> layer = nn.Linear(2, 3)
    >>> handle = layer.register_forward_hook(lambda *_: None)
    >>> find_touch(layer, {"": nn.Linear}), handle.remove(), find_touch(layer, {"": nn.Linear})
    ('it has a forward hook', None, None)
    """
    if (
        every._global_forward_hooks
        or every._global_forward_pre_hooks
        or every._global_backward_hooks
        or every._global_backward_pre_hooks
    ):
        return "a hook is registered on all modules"
    kind = kinds[""]
    if type(module) is not kind and _is_sharded(module, kind):
        found = _touch_below(module, kinds)
    else:
        found = _touch(module, kind, kinds)
    return None if found is None else f"{'.'.join(found[:-1]) or 'it'} {found[-1]}"


def _touch(module: nn.Module, kind: type[nn.Module] | None, kinds: Kinds) -> tuple[str, ...] | None:
    """Returns the names that lead to the submodule that was changed, then what was changed."""
    held = module.__dict__  # asking a module for its attributes takes several times as long
    if type(module) is not kind:
        return (f"is a {type(module).__name__}",)
    if (
        held["_forward_hooks"]
        or held["_forward_pre_hooks"]
        or held["_backward_hooks"]
        or held["_backward_pre_hooks"]
    ):
        hook = next(name for name in HOOKS if held[name])
        return (f"has a {hook[1:-1].replace('_', ' ')}",)
    if "forward" in held or "forward" in held["_modules"]:
        return ("has a forward of its own",)
    return _touch_below(module, kinds)


def _touch_below(module: nn.Module, kinds: Kinds) -> tuple[str, ...] | None:
    """Returns the same for the parameters and submodules; it loops, for generators take twice as long."""
    held = module.__dict__
    for name, parameter in held["_parameters"].items():
        if type(parameter) not in NUMBERS and not torch.compiler.is_compiling():  # it has types of its own
            return (f"has a {name} of type {type(parameter).__name__}",)
    for name, part in held["_modules"].items():
        found = _touch(part, kinds.get(name), kinds)
        if found is not None:
            return (name, *found)
    return None


def _is_sharded(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Tells whether ``fully_shard`` gave the module its class; its hooks fire, whatever way it takes."""
    names = [base.__name__ for base in type(module).__bases__]
    return names == ["FSDPModule", kind.__name__] and issubclass(type(module), kind)
