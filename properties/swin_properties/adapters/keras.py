"""A base class that makes an adapter of Keras code, with the backend of Keras: torch, JAX or another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from typing import Any

import keras
import numpy as np

from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.on_tensors import (
    Names,
    OnTensors,
    check_parameters,
    convert_each,
    name_kernels,
)

BACKEND = keras.config.backend()
"""The backend that Keras was loaded with: a process has one."""


class WithoutGradients(OnTensors):
    """What Keras code offers with a backend whose gradients are not judged, such as TensorFlow or NumPy."""

    precisions: dict[str, Any] = dict.fromkeys(("float64", "float32", "float16", "bfloat16"))

    def _has_tensors(self, args: tuple[Any, ...]) -> bool:
        return any(keras.ops.is_tensor(value) and not isinstance(value, np.ndarray) for value in args)

    def _answer(self, on_tensors: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return self._arrays(on_tensors(self, *self._tensors(args), **self._tensors(kwargs)))

    def _tensors(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return convert_each(self._tensors, value)
        tensor = keras.ops.convert_to_tensor(np.array(value, order="C"))
        return keras.ops.cast(tensor, self.precision) if value.dtype.kind == "f" else tensor

    def _arrays(self, value: Any) -> Any:
        if not keras.ops.is_tensor(value):
            return convert_each(self._arrays, value)
        wide = "float64" if self.precision == "float64" else "float32"
        floats = keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype))
        return np.array(keras.ops.convert_to_numpy(keras.ops.cast(value, wide) if floats else value))


if BACKEND == "torch":
    from swin_properties.adapters.torch import TorchAdapter as OfBackend
elif BACKEND == "jax":
    from swin_properties.adapters.jax import JaxAdapter as OfBackend  # type: ignore[assignment]
else:
    OfBackend = WithoutGradients  # type: ignore[assignment,misc]


def find_precisions() -> dict[str, Any]:
    """Returns the precisions that Keras computes in, with what the base class has for each.

    With backends other than TensorFlow, the product or sum of two tensors in float64 is float32.
    """
    return {
        name: kind
        for name, kind in OfBackend.precisions.items()
        if keras.backend.result_type(name, name) == name
    }


class KerasAdapter(OfBackend):
    """What Keras code offers to be judged by, in one precision on one device.

    Subclass it and write the callables you offer for tensors of the backend, under their names in the
    adapter: what they are given is tensors, and what they return is made NumPy.  While they run, Keras makes
    layers of the precision.  With the backend torch it is a `TorchAdapter`, with jax a `JaxAdapter`, both
    with gradients; with other backends gradients are not offered.

    Errors: ``ValueError`` for a precision that Keras does not compute in: float64, except with TensorFlow.

    >>> class Mine(KerasAdapter):
    ...     def layer_norm(self, x, params, eps=1e-5):
    ...         return self.loaded(lambda: keras.layers.LayerNormalization(epsilon=eps), params)(x)
    >>> Mine().layer_norm(np.array([[1.0, 3.0]]), {"weight": np.ones(2), "bias": np.ones(2)}, eps=0.0)
    array([[0., 2.]], dtype=float32)
    """

    framework = f"Keras by {BACKEND}"
    precisions = find_precisions()

    def __init_subclass__(cls) -> None:
        """Makes the callables of a subclass run in the adapter's precision, and take and give arrays."""
        for name in CONTRACT.keys() & vars(cls).keys():
            if callable(vars(cls)[name]):
                setattr(cls, name, _in_precision(vars(cls)[name]))
        super().__init_subclass__()

    def kernels(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters, as a flat dict, by the names and with the kernels that Keras has.

        A dense layer has ``kernel`` (in, out) and ``bias``, a convolution ``kernel`` (height, width, in, out)
        and ``bias``, a norm ``gamma`` and ``beta``.  Other names stay.

        >>> weights = {"fc1": {"weight": keras.ops.ones((3, 2))}, "norm": {"weight": keras.ops.ones(2)}}
        >>> {name: tuple(x.shape) for name, x in KerasAdapter().kernels(weights).items()}
        {'fc1.kernel': (2, 3), 'norm.gamma': (2,)}
        """
        return name_kernels(params, keras.ops.transpose, "gamma", "beta")

    def loaded(  # type: ignore[override]
        self, layer: Any, params: Mapping[str, Any], names: Names = dict
    ) -> Callable[..., Any]:
        """What a layer, or the layer that a function makes, computes with exactly ``params``.

        Gradients reach them.  The layer is built when it is first called.  Its own names of variables are
        their paths without the layer's name, with dots: ``attn.qkv.kernel``.  ``names`` turns the flat dict
        of `kernels` into these; it may split and join tensors.  Variables that are not trained need not be
        given.

        Errors: ``ValueError`` naming every missing, extra and misshaped parameter.

        >>> weights = {"fc": {"weight": keras.ops.ones((1, 2)), "bias": keras.ops.zeros(1)}}
        >>> renamed = lambda flat: {name.replace("fc.", ""): x for name, x in flat.items()}
        >>> layer = KerasAdapter().loaded(lambda: keras.layers.Dense(1), weights, renamed)
        >>> float(layer(keras.ops.ones((1, 2)))[0, 0])
        2.0
        """
        with _outside_traces():
            made = layer if isinstance(layer, keras.layers.Layer) else layer()
        given = names(self.kernels(params))

        def call(*inputs: Any, **options: Any) -> Any:
            if not made.built:
                with _outside_traces():
                    made(*_without_numbers(inputs), **_without_numbers(options))
            own = {id(x): x.path.removeprefix(f"{made.path}/").replace("/", ".") for x in made.variables}
            fixed = [own[id(x)] for x in made.non_trainable_variables]
            check_parameters(
                type(made).__name__, {own[id(x)]: x for x in made.variables}, given, optional=fixed
            )
            weights, others = (
                [given.get(own[id(x)], x.value) for x in kind]
                for kind in (made.trainable_variables, made.non_trainable_variables)
            )
            return made.stateless_call(weights, others, *inputs, **options)[0]

        return call


def _outside_traces() -> Any:
    """Meanwhile what is made is no part of what JAX compiles: the variables of a layer."""
    if BACKEND != "jax":
        return nullcontext()
    import jax

    return jax.ensure_compile_time_eval()


def _without_numbers(value: Any) -> Any:
    """Tensors, at any level, as what a model is built with: their shapes and types."""
    if not keras.ops.is_tensor(value):
        return convert_each(_without_numbers, value)
    return keras.KerasTensor(tuple(value.shape), keras.backend.standardize_dtype(value.dtype))


def _in_precision(on_tensors: Callable[..., Any]) -> Callable[..., Any]:
    """A method for tensors, during which Keras makes layers and tensors of the adapter's precision."""

    @wraps(on_tensors)
    def in_precision(self: KerasAdapter, /, *args: Any, **kwargs: Any) -> Any:
        with _set_precision(self.precision):
            return on_tensors(self, *args, **kwargs)

    return in_precision


@contextmanager
def _set_precision(name: str) -> Iterator[None]:
    """Meanwhile Keras makes layers and tensors of this precision."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    with ExitStack() as stack:
        stack.callback(keras.config.set_dtype_policy, before[1])
        stack.callback(keras.config.set_floatx, before[0])
        keras.config.set_floatx(name)
        keras.config.set_dtype_policy(name)
        yield
