"""A base class that makes an adapter of JAX code: arrays become JAX's, pytrees stay pytrees, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from swin_weights import unflatten

from swin_properties.adapters.on_tensors import OnTensors, name_kernels

PRECISIONS = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(jnp.bfloat16),
}
"""The precisions that JAX computes in, by name."""


class JaxAdapter(OnTensors):
    """What JAX code offers to be judged by, in one precision on one device.

    Subclass it and write the callables you offer for JAX arrays, under their names in the adapter: what they
    are given is JAX arrays of the precision on the device, and what they return is made NumPy.  ``params`` is
    a pytree of arrays.  One callable may call another.  Gradients, `vjp`, come by ``jax.vjp``.

    Each callable is compiled, by ``jax.jit``, once for each shape and each size.  A subclass with
    ``jit = False`` runs as it stands, for code that decides by values.  float64 is computed with 64-bit types
    switched on, and products of float32 in float32 on every device.

    Errors: ``ValueError`` for a precision other than float64, float32, float16 and bfloat16, or for a device
    that JAX does not see.

    >>> class Mine(JaxAdapter):
    ...     def cyclic_shift(self, x, shift_size):
    ...         return jnp.roll(x, (-shift_size, -shift_size), (1, 2))
    >>> Mine().cyclic_shift(np.arange(4.0).reshape(1, 2, 2, 1), 1).ravel()
    array([3., 2., 1., 0.], dtype=float32)
    >>> Mine().with_device("cpu").device
    'cpu'
    """

    framework = "JAX"
    precisions: dict[str, Any] = PRECISIONS

    jit = True
    """Whether callables are compiled."""

    inside = False
    """Whether a callable is running: what it calls is given JAX arrays."""

    def kernels(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters with kernels as JAX has them, for functions that take those: gradients pass through.

        A linear layer has ``kernel`` (in, out) and ``bias``, a convolution ``kernel`` (height, width, in,
        out) and ``bias``, a norm ``scale`` and ``bias``.  Other names stay.

        >>> JaxAdapter().kernels({"fc1": {"weight": jnp.ones((3, 2))}})["fc1"]["kernel"].shape
        (2, 3)
        """
        return unflatten(name_kernels(params, jnp.transpose, "scale", "bias"))

    def vjp(self, name: str, cotangent: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The gradient of <cotangent, callable ``name`` of the arguments>, for each positional argument.

        Shaped like the array or the nested dict it belongs to; None for a size.

        >>> class Mine(JaxAdapter):
        ...     def cyclic_shift(self, x, shift_size):
        ...         return jnp.roll(x, (-shift_size, -shift_size), (1, 2))
        >>> x = np.arange(4.0).reshape(1, 2, 2, 1)
        >>> Mine().vjp("cyclic_shift", x, x, 1)[0].ravel()
        array([3., 2., 1., 0.], dtype=float32)
        """
        call, arrays = self._split(getattr(type(self), name).__wrapped__, args, kwargs)
        gradients = self._compute(_pull_back, call, arrays, self._list_arrays(cotangent))
        of_args, _ = call.put_back(self._arrays(gradients))
        return tuple(
            gradient if any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(arg)) else None
            for gradient, arg in zip(of_args, args, strict=True)
        )

    def prepare(self, name: str, *args: Any, **kwargs: Any) -> Callable[[], Any]:
        """A callable with its arguments on the device and compiled: calling it is only the work.

        It gives JAX arrays, and waits for them.  ``vjp`` and its arguments make a forward and a backward.

        >>> class Mine(JaxAdapter):
        ...     def cyclic_shift(self, x, shift_size):
        ...         return jnp.roll(x, (-shift_size, -shift_size), (1, 2))
        >>> Mine().prepare("cyclic_shift", np.ones((1, 2, 2, 1)), 1)().shape
        (1, 2, 2, 1)
        """
        way: Callable[..., Any] = _run
        given: list[Any] = []
        if name == "vjp":
            name, cotangent, *args = args  # type: ignore[assignment]
            way, given = _pull_back, [self._list_arrays(cotangent)]
        call, arrays = self._split(getattr(type(self), name).__wrapped__, tuple(args), kwargs)
        with self._settings():
            placed = jax.device_put([arrays, *given], self._place)

        def work() -> Any:
            return jax.tree.map(lambda x: x.block_until_ready(), self._compute(way, call, *placed))

        work()
        return work

    def _set(self, precision: str, device: str) -> None:
        super()._set(precision, device)
        try:
            self._place = jax.devices(device)[0]
        except RuntimeError:
            seen = ", ".join(sorted({one.platform for one in jax.devices()} | {"cpu"}))
            raise ValueError(
                f"a device is one that JAX sees, here {seen}, got {device!r}: use one of these"
            ) from None

    def _has_tensors(self, args: tuple[Any, ...]) -> bool:
        return self.inside or any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(args))

    def _answer(self, on_tensors: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return self._arrays(self._compute(_run, *self._split(on_tensors, args, kwargs)))

    def _compute(self, way: Callable[..., Any], call: _Call, *arrays: Any) -> Any:
        with self._settings():
            return (COMPILED[way] if self.jit else way)(self, call, *jax.device_put(arrays, self._place))

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Meanwhile JAX computes in the precision, on the device: some devices multiply float32 in less."""
        with ExitStack() as stack:
            if self.precision == "float64":
                stack.enter_context(jax.enable_x64(True))
            stack.enter_context(jax.default_device(self._place))
            stack.enter_context(jax.default_matmul_precision("highest"))
            yield

    def _split(self, on_tensors: Callable[..., Any], args: Any, kwargs: Any) -> tuple[_Call, list[Any]]:
        leaves, tree = jax.tree.flatten((args, kwargs))
        sizes = tuple(ARRAY if isinstance(leaf, np.ndarray) else leaf for leaf in leaves)
        return _Call(on_tensors, tree, sizes), self._list_arrays((args, kwargs))

    def _list_arrays(self, value: Any) -> list[Any]:
        """Copies of the arrays of a value, at any level: floats in the precision."""
        own = self.precisions[self.precision]
        arrays = [leaf for leaf in jax.tree.leaves(value) if isinstance(leaf, np.ndarray)]
        return [np.array(x, own if x.dtype.kind == "f" else None, order="C") for x in arrays]

    def _arrays(self, value: Any) -> Any:
        """JAX arrays, at any level, as NumPy arrays: float64 in float64, other floats as float32."""
        wide = np.float64 if self.precision == "float64" else np.float32

        def convert(x: Any) -> Any:
            if not isinstance(x, jax.Array):
                return x
            return np.array(x, wide if jnp.issubdtype(x.dtype, jnp.floating) else None)

        return jax.tree.map(convert, value)

    @contextmanager
    def _entered(self) -> Iterator[None]:
        self.inside = True
        try:
            yield
        finally:
            self.inside = False


ARRAY = object()
"""Stands for an array among the sizes of a call."""


@dataclass(frozen=True)
class _Call:
    """A callable with its arguments but for the arrays among them: what it is compiled for."""

    on_tensors: Callable[..., Any]
    tree: Any
    sizes: tuple[Any, ...]

    def put_back(self, arrays: list[Any]) -> Any:
        """Returns the arguments, positional ones and keywords, with these arrays."""
        left = iter(arrays)
        return jax.tree.unflatten(self.tree, [next(left) if size is ARRAY else size for size in self.sizes])


def _run(adapter: JaxAdapter, call: _Call, arrays: list[Any]) -> Any:
    args, kwargs = call.put_back(arrays)
    with adapter._entered():
        return call.on_tensors(adapter, *args, **kwargs)


def _pull_back(adapter: JaxAdapter, call: _Call, arrays: list[Any], cotangents: list[Any]) -> Any:
    def forward(given: list[Any]) -> list[Any]:
        return jax.tree.leaves(_run(adapter, call, given))

    results, pull = jax.vjp(forward, arrays)
    (gradients,) = pull([u.astype(y.dtype) for u, y in zip(cotangents, results, strict=True)])
    return gradients


COMPILED = {way: jax.jit(way, static_argnums=(0, 1)) for way in (_run, _pull_back)}
"""What a call runs, compiled."""
