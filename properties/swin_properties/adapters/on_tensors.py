"""What the base classes for torch, JAX and Keras share: callables are written for a framework's tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import wraps
from typing import Any

from swin_weights import flatten

from swin_properties.adapters.contract import CONTRACT

Names = Callable[[dict[str, Any]], dict[str, Any]]
"""From a flat dict with the official checkpoint's names to one with a module's own."""


class OnTensors:
    """An adapter whose callables are written for tensors, in one precision on one device.

    What is given to them is made tensors, and what they return is made NumPy.  One may call another: tensors
    stay tensors.

    Errors: ``ValueError`` for a precision or a device that the framework does not have.
    """

    framework: str
    """What messages call the framework."""

    precisions: dict[str, Any]
    """The precisions that it offers, with the type of their tensors."""

    def __init__(self, precision: str = "float32", device: str = "cpu") -> None:
        """``precision`` is what it computes in."""
        self._set(precision, device)

    def __init_subclass__(cls) -> None:
        """Makes the callables that a subclass writes for tensors take and give arrays."""
        for name in CONTRACT.keys() & vars(cls).keys():
            if callable(vars(cls)[name]):  # None withdraws a callable
                setattr(cls, name, _on_arrays(vars(cls)[name]))

    def with_precision(self, name: str) -> Any:
        """The same adapter in another precision."""
        other = copy(self)
        other._set(name, self.device)
        return other

    def with_device(self, name: str) -> Any:
        """The same adapter on another device.

        Errors: ``ValueError`` for a device that the framework does not see here.
        """
        other = copy(self)
        other._set(self.precision, name)
        return other

    def _set(self, precision: str, device: str) -> None:
        if precision not in self.precisions:
            raise ValueError(
                f"{self.framework} computes in {', '.join(self.precisions)}, got {precision!r}: "
                "use one of these"
            )
        self.precision = precision
        self.device = device

    def _has_tensors(self, args: tuple[Any, ...]) -> bool:
        """Whether a callable was called by another one."""
        raise NotImplementedError

    def _answer(self, on_tensors: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """What a callable, written for tensors, gives for arrays, as arrays."""
        raise NotImplementedError


def _on_arrays(on_tensors: Callable[..., Any]) -> Callable[..., Any]:
    """A method written for tensors, as one that takes and gives arrays; given tensors, it stays as it was."""

    @wraps(on_tensors)
    def on_arrays(self: OnTensors, /, *args: Any, **kwargs: Any) -> Any:
        if self._has_tensors(args):
            return on_tensors(self, *args, **kwargs)
        return self._answer(on_tensors, args, kwargs)

    return on_arrays


def convert_each(convert: Callable[[Any], Any], value: Any) -> Any:
    """Returns a nested value with something done to each child of its first level; else the value itself.

    >>> convert_each(str, {"a": 1}), convert_each(str, (1, 2)), convert_each(str, 1)
    ({'a': '1'}, ('1', '2'), 1)
    """
    if isinstance(value, Mapping):
        return {key: convert(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(convert(child) for child in value)
    return value


def check_parameters(
    holder: str, expected: Mapping[str, Any], given: Mapping[str, Any], optional: Iterable[str] = ()
) -> None:
    """Checks that exactly the expected parameters are given; those that are ``optional`` may be left out.

    Errors: ``ValueError`` naming every missing, extra and misshaped parameter.
    """
    faults = explain_names(
        [name for name in expected if name not in given and name not in optional],
        [name for name in given if name not in expected],
        [
            f"{name} {tuple(x.shape)}, not {tuple(expected[name].shape)}"
            for name, x in given.items()
            if name in expected and tuple(x.shape) != tuple(expected[name].shape)
        ],
    )
    if faults:
        raise ValueError(f"a {holder} holds exactly the given parameters: {faults}")


def explain_names(missing: Sequence[str], extra: Sequence[str], misshaped: Sequence[str] = ()) -> str:
    """Returns which weights lack a counterpart, in words.

    >>> explain_names(["bias"], ["b"])
    'missing bias; extra b'
    """
    faults = {"missing": missing, "extra": extra, "misshaped": misshaped}
    return "; ".join(f"{fault} {', '.join(names)}" for fault, names in faults.items() if names)


def name_kernels(
    params: Mapping[str, Any], transpose: Callable[[Any, tuple[int, ...]], Any], scale: str, offset: str
) -> dict[str, Any]:
    """Returns parameters as a flat dict whose kernels lie as JAX and Keras have them.

    A linear layer's weight becomes ``kernel`` (in, out), a convolution's ``kernel`` (height, width, in, out),
    a norm's weight and bias ``scale`` and ``offset``, whatever these are called.

    >>> import numpy as np
    >>> flat = name_kernels({"fc": {"weight": np.ones((3, 2))}}, np.transpose, "scale", "bias")
    >>> {name: x.shape for name, x in flat.items()}
    {'fc.kernel': (2, 3)}
    """
    flat, named = flatten(params), {}
    for name, x in flat.items():
        owner, dot, own = name.rpartition(".")
        axes = len(flat[f"{owner}{dot}weight"].shape) if own in ("weight", "bias") else 0
        if own == "weight" and axes == 1:
            own = scale
        elif own == "bias" and axes == 1:
            own = offset
        elif own == "weight":
            own, x = "kernel", transpose(x, {2: (1, 0), 4: (2, 3, 1, 0)}[axes])
        named[f"{owner}{dot}{own}"] = x
    return named


FRAMEWORKS = {"TorchAdapter": "torch", "JaxAdapter": "jax", "KerasAdapter": "keras"}
"""The base classes of adapters, with the package that each needs, which is an extra of ours too."""


BACKENDS = ("tensorflow", "jax", "jaxlib", "torch", "openvino")
"""The packages that Keras may compute with."""


def explain_missing(base: str, missing: str) -> str:
    """Returns, in one sentence, what to do about a package without which a base class cannot be imported.

    >>> explain_missing("JaxAdapter", "jax")
    "a JaxAdapter needs jax, it is not installed: pip install 'swin-oracle[jax]'"
    >>> print(explain_missing("KerasAdapter", "tensorflow"))
    a KerasAdapter needs a backend of Keras, tensorflow is not installed: set KERAS_BACKEND=torch
    >>> explain_missing("KerasAdapter", "h5py")
    'a KerasAdapter needs h5py, it is not installed: pip install h5py'
    """
    needed, missing = FRAMEWORKS[base], missing.partition(".")[0]
    if missing == needed:
        return f"a {base} needs {needed}, it is not installed: pip install 'swin-oracle[{needed}]'"
    if base == "KerasAdapter" and missing in BACKENDS:
        return (
            f"a {base} needs a backend of Keras, {missing} is not installed: "
            f"set KERAS_BACKEND={'jax' if missing == 'torch' else 'torch'}"
        )
    return f"a {base} needs {missing}, it is not installed: pip install {missing}"
