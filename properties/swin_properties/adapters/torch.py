"""A base class that makes an adapter of torch code: arrays become tensors, tensors become arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, TypeVar, cast

import numpy as np
import torch
from swin_weights import flatten
from torch import Tensor, nn

from swin_properties.adapters.layouts import find_larger, find_offset
from swin_properties.adapters.on_tensors import Names, OnTensors, check_parameters, convert_each
from swin_properties.adapters.replay import Replay

PRECISIONS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
"""The precisions that torch computes in, by name."""

Module = TypeVar("Module", bound=nn.Module)


class TorchAdapter(OnTensors):
    """What torch code offers to be judged by, in one precision on one device.

    Subclass it and write the callables you offer for tensors, under their names in the adapter: what
    they are given is tensors of the precision on the device, and what they return is made NumPy.  One may
    call another: tensors stay tensors.  Gradients, `vjp`, come by autograd.

    Errors: ``ValueError`` for a precision other than float64, float32, float16 and bfloat16.

    >>> class Mine(TorchAdapter):
    ...     def layer_norm(self, x, params, eps=1e-5):
    ...         return self.loaded(nn.LayerNorm(x.shape[-1], eps), params)(x)
    >>> Mine().layer_norm(np.array([[1.0, 3.0]]), {"weight": np.ones(2), "bias": np.ones(2)}, eps=0.0)
    array([[0., 2.]], dtype=float32)
    """

    framework = "torch"
    precisions: dict[str, torch.dtype] = PRECISIONS

    ways_to_modules: tuple[str, ...] = ("loaded", "holding")
    """The methods that give a module holding given parameters: `prepare` calls them once."""

    def _set(self, precision: str, device: str) -> None:
        super()._set(precision, device)
        if precision == "float64" and torch.device(device).type == "mps":
            raise ValueError("torch has no float64 on mps, got float64: use another --dtype or --device")

    def with_device(self, name: str) -> Any:
        """The same adapter on another device: cpu, cuda or mps.

        On a GPU float32 is float32 from now on, in products and convolutions, not tf32.

        Errors: ``ValueError`` for a device that torch does not see here.

        >>> TorchAdapter().with_device("cpu").device
        'cpu'
        """
        there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not there.get(name, False):
            seen = ", ".join(device for device, is_there in there.items() if is_there)
            raise ValueError(f"a device is one that torch sees, here {seen}, got {name!r}: use one of these")
        forbid_tf32(name)
        return super().with_device(name)

    def loaded(
        self, module: Module | Callable[[], Module], params: Mapping[str, Any], names: Names = dict
    ) -> Module:
        """The module, in evaluation mode, computing with exactly ``params``: gradients reach them.

        ``module`` may be a function that makes it, which `prepare` then calls once.  ``names`` turns the
        official flat dict of names into the module's own; it may split and join tensors.  Buffers that
        the module computes itself need not be given.

        Errors: ``ValueError`` naming every missing, extra and misshaped parameter.

        >>> weights = {"fc": {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}}
        >>> module = nn.Sequential(nn.Linear(2, 1))
        >>> renamed = lambda flat: {name.replace("fc", "0"): x for name, x in flat.items()}
        >>> TorchAdapter().loaded(module, weights, renamed)(torch.ones(2))
        tensor([2.])
        >>> TorchAdapter().loaded(nn.Linear(2, 1), {"weight": torch.ones(1, 2), "b": torch.zeros(1)})
        Traceback (most recent call last):
        ...
        ValueError: a Linear holds exactly the given parameters: missing bias; extra b
        """
        made = cast("Module", module if isinstance(module, nn.Module) else module())
        made.to(self.device, self.precisions[self.precision]).eval()
        return self.holding(made, names(flatten(params)))

    def holding(self, module: Module, given: Mapping[str, Tensor]) -> Module:
        """The module with exactly the given parameters, by its own names, in place of those it held.

        A module that is kept may be given others, again and again.

        Errors: ``ValueError`` as for `loaded`.

        >>> module = nn.Linear(1, 1, bias=False)
        >>> for weight in (2.0, 3.0):
        ...     print(TorchAdapter().holding(module, {"weight": torch.full((1, 1), weight)})(torch.ones(1)))
        tensor([2.])
        tensor([3.])
        """
        parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
        check_parameters(type(module).__name__, parameters | buffers, given, optional=buffers)
        for name, tensor in given.items():
            owner, _, own = name.rpartition(".")
            holder = module.get_submodule(owner)
            # The very tensor, even one that is computed: a new Parameter would cut the gradient.
            (holder._parameters if own in holder._parameters else holder._buffers)[own] = tensor  # type: ignore[assignment]
        return module

    def vjp(self, name: str, cotangent: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The gradient of <cotangent, callable ``name`` of the arguments>, for each positional argument.

        Shaped like the array or the nested dict it belongs to; None for a size.

        >>> class Mine(TorchAdapter):
        ...     def cyclic_shift(self, x, shift_size):
        ...         return torch.roll(x, (-shift_size, -shift_size), (1, 2))
        >>> x = np.arange(4.0).reshape(1, 2, 2, 1)
        >>> Mine().vjp("cyclic_shift", x, x, 1)[0].ravel()
        array([3., 2., 1., 0.], dtype=float32)
        """
        given = self._tensors(cotangent), *self._tensors(args, leaf=True)
        return tuple(self._arrays(self._pulled_back(name, *given, **self._tensors(kwargs))))

    def prepare(self, name: str, *args: Any, **kwargs: Any) -> Callable[[], Any]:
        """Returns a callable with its arguments on the device and its modules loaded: a call only works.

        It gives tensors, and waits for a CUDA device unless a CUDA graph is recorded.  ``vjp`` and its
        arguments make a forward and a backward; all else runs without gradients.

        Errors: ``ValueError`` for a callable that makes its module anew in each call.

        >>> class Mine(TorchAdapter):
        ...     def layer_norm(self, x, params, eps=1e-5):
        ...         return self.loaded(lambda: nn.LayerNorm(x.shape[-1], eps), params)(x)
        >>> params = {"weight": np.ones(2), "bias": np.ones(2)}
        >>> Mine().prepare("layer_norm", np.array([[1.0, 3.0]]), params, eps=0.0)()
        tensor([[0., 2.]])
        """
        own, replays = copy(self), []
        for way in self.ways_to_modules:
            replays.append(Replay(getattr(own, way)))
            setattr(own, way, replays[-1])
        given, kwargs = self._tensors(args, leaf=name == "vjp"), self._tensors(kwargs)

        def work() -> Any:
            for replay in replays:
                replay.start()
            result = own._pulled_back(*given, **kwargs) if name == "vjp" else own._run(name, *given, **kwargs)
            if torch.device(self.device).type == "cuda" and not torch.cuda.is_current_stream_capturing():
                torch.cuda.synchronize(self.device)
            return result

        work(), work()  # loads the modules, then sees that they are not made again
        return work

    def _has_tensors(self, args: tuple[Any, ...]) -> bool:
        return any(isinstance(value, Tensor) for value in args)

    def _answer(self, on_tensors: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        with torch.no_grad():
            return self._arrays(on_tensors(self, *self._tensors(args), **self._tensors(kwargs)))

    def _run(self, name: str, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return getattr(type(self), name).__wrapped__(self, *args, **kwargs)

    def _pulled_back(self, name: str, cotangent: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        _clear(args)
        _backward(getattr(type(self), name).__wrapped__(self, *args, **kwargs), cotangent)
        return tuple(_gradient(leaf) for leaf in args)

    def _tensors(self, value: Any, leaf: bool = False) -> Any:
        """Arrays, at any level, as tensors; as a ``leaf`` those of floats collect a gradient."""
        if not isinstance(value, np.ndarray):
            return convert_each(lambda child: self._tensors(child, leaf), value)
        larger = find_larger(value)
        if larger is None or min(value.strides) < 0:  # which torch does not take
            return self._tensor(value).requires_grad_(leaf and value.dtype.kind == "f")
        memory, strides = self._tensor(larger), [stride // value.itemsize for stride in value.strides]
        placed = memory.as_strided(value.shape, strides, find_offset(value))
        return placed.requires_grad_(leaf and value.dtype.kind == "f")

    def _tensor(self, array: Any) -> Tensor:
        """An array as a tensor of its own memory: torch warns of memory that is read-only."""
        tensor = torch.as_tensor(np.array(array, order="C"), device=self.device)
        return tensor.to(self.precisions[self.precision]) if tensor.is_floating_point() else tensor

    def _arrays(self, value: Any) -> Any:
        """Tensors, at any level, as NumPy arrays: float64 in float64, other floats as float32."""
        if not isinstance(value, Tensor):
            return convert_each(self._arrays, value)
        wide = torch.float64 if self.precision == "float64" else torch.float32
        tensor = value.detach().to(wide) if value.is_floating_point() else value
        return tensor.cpu().numpy()


def forbid_tf32(device: str) -> None:
    """Makes products and convolutions on a GPU compute in float32 where they are given float32."""
    if device.partition(":")[0] == "cuda":
        cudnn: Any = torch.backends.cudnn
        torch.backends.cuda.matmul.fp32_precision = cudnn.conv.fp32_precision = "ieee"


def _backward(outputs: Any, cotangents: Any) -> None:
    """Backward from the scalar <cotangents, outputs>; with cotangents of its own, torch loads sympy first."""
    pairs = [(outputs, cotangents)] if isinstance(outputs, Tensor) else zip(outputs, cotangents, strict=True)
    torch.autograd.backward([(y * u.detach()).sum() for y, u in pairs])


def _clear(value: Any) -> None:
    """Forgets what the leaves of a value, at any level, have collected."""
    if isinstance(value, Tensor):
        value.grad = None
    convert_each(_clear, value)


def _gradient(leaf: Any) -> Any:
    """What a leaf has collected, zeros if nothing; None for what has no gradient."""
    if isinstance(leaf, Tensor):
        return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return convert_each(_gradient, leaf) if isinstance(leaf, (Mapping, list)) else None
