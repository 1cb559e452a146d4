"""Planted bugs of the backward pass: the forward is right, the `vjp` is not.

The vjp is made from the oracle by complex steps, one evaluation for each number of the arguments (for tiny
cases), and the fault changes imaginary parts alone.  Dropping one is what frameworks call detach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import pi, sqrt
from types import SimpleNamespace
from typing import Any

import numpy as np
import swin_reference
from swin_weights import flatten, unflatten

from swin_properties.bugs.backward.complex_step import Change, change_oracle, complex_step_vjp, with_vjp


@dataclass(frozen=True)
class GradientBug:
    """A wrong backward pass: what is wrong, where it was seen, and what it does to a user."""

    name: str
    note: str
    changes: Mapping[str, Change] = field(repr=False)

    def implementation(self, precision: str = "float64") -> SimpleNamespace:
        """The oracle's forward with this vjp, in float64 or float32."""
        return with_vjp(self.name, complex_step_vjp(change_oracle(self.changes)), precision)


def detached(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function's value without its derivative."""
    return lambda *args, **kwargs: np.asarray(function(*args, **kwargs)).real


def without_gradient(*path: str) -> Change:
    """Detaches a parameter of ``function(x, params, ...)``."""

    def change(function: Callable[..., Any]) -> Callable[..., Any]:
        def changed(x: Any, params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
            flat = flatten(params)
            detach = {name: value.real for name, value in flat.items() if name in path}
            return function(x, unflatten(flat | detach), *args, **kwargs)

        return changed

    return change


def unscaled(which: int) -> Change:
    """Multiplies the gradient of q (0) or k (1) by sqrt(head_dim), undoing the scale."""

    def change(split_heads: Callable[..., Any]) -> Callable[..., Any]:
        def changed(qkv: Any, num_heads: int) -> Any:
            heads = np.array(split_heads(qkv, num_heads))
            if np.iscomplexobj(heads):
                heads[which].imag *= sqrt(heads.shape[-1])
            return heads

        return changed

    return change


def last_scatter_wins(relative_position_bias: Callable[..., Any]) -> Callable[..., Any]:
    """``grad[index] += d``, which NumPy does once for each index, not once for each pair."""

    def changed(table: Any, window_size: Any) -> Any:
        bias = np.array(relative_position_bias(table, window_size))
        index = swin_reference.relative_position_index(window_size).ravel()
        last = np.zeros(index.shape, bool)
        last[len(index) - 1 - np.unique(index[::-1], return_index=True)[1]] = True
        return bias.real + 1j * bias.imag * last.reshape(bias.shape[1:])

    return changed


def mask_forgotten(window_attention: Callable[..., Any]) -> Callable[..., Any]:
    """The backward pass of attention without a mask."""

    def changed(x: Any, params: Any, heads: int, window: Any, mask: Any = None, qk_scale: Any = None) -> Any:
        right = window_attention(x, params, heads, window, mask, qk_scale)
        return right.real + 1j * window_attention(x, params, heads, window, None, qk_scale).imag

    return changed


def uncentred_softmax(softmax: Callable[..., Any]) -> Callable[..., Any]:
    """dx = p dp, without - p sum(p dp)."""

    def changed(x: Any) -> Any:
        weights = softmax(x.real)
        return weights + 1j * weights * x.imag

    return changed


def constant_statistics(mean: bool, variance: bool) -> Change:
    """LayerNorm whose mean or variance has no gradient."""

    def change(_: Callable[..., Any]) -> Callable[..., Any]:
        def changed(x: Any, params: Mapping[str, Any], eps: float = 1e-5) -> Any:
            average = x.sum(axis=-1, keepdims=True) / x.shape[-1]
            centred = x - (average.real if mean else average)
            spread = np.square(centred).sum(axis=-1, keepdims=True) / x.shape[-1]
            return (
                centred / np.sqrt((spread.real if variance else spread) + eps) * params["weight"]
                + params["bias"]
            )

        return changed

    return change


def tanh_slope(gelu: Callable[..., Any]) -> Callable[..., Any]:
    """The erf form forward, the derivative of the tanh form backward."""

    def changed(x: Any) -> Any:
        tanh_form = 0.5 * x * (1.0 + np.tanh(sqrt(2.0 / pi) * (x + 0.044715 * x * x * x)))
        return gelu(x).real + 1j * np.asarray(tanh_form).imag

    return changed


def rolled_on(cyclic_shift: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient is rolled the way the image was, not back."""

    def changed(x: Any, shift_size: Any) -> Any:
        back = swin_reference.reverse_cyclic_shift(x, shift_size)
        return cyclic_shift(x, shift_size).real + 1j * back.imag

    return changed


def windows_reversed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient's windows are in reverse order."""

    def changed(x: Any, window_size: Any, *grid: int) -> Any:
        return function(x, window_size, *grid).real + 1j * function(x[::-1], window_size, *grid).imag

    return changed


BUGS = {
    bug.name: bug
    for bug in (
        GradientBug(
            "detached attention branch",
            "The attention branch is computed under no_grad or on .detach()ed tokens, as when a fused kernel "
            "without a backward is wrapped by hand.  Outputs are right; attention never trains.",
            {"block.shifted_window_attention": detached},
        ),
        GradientBug(
            "detached mlp branch",
            "The MLP branch has no gradient: a checkpointed segment that lost requires_grad.  Outputs are "
            "right; half of the parameters never move.",
            {"block.mlp": detached},
        ),
        GradientBug(
            "unscaled query gradient",
            "The backward kernel forgets head_dim^-1/2 on dq, where it was folded into q by the forward.  "
            "Queries learn sqrt(head_dim) times too fast; the loss still falls.",
            {"split_heads": unscaled(0)},
        ),
        GradientBug(
            "unscaled key gradient",
            "The backward kernel forgets head_dim^-1/2 on dk.  Keys learn sqrt(head_dim) times too fast.",
            {"split_heads": unscaled(1)},
        ),
        GradientBug(
            "lost scatter-add",
            "grad[index] += d with repeated indices, which NumPy and a CUDA kernel without atomics do once "
            "an index: one pair of each offset trains the bias table.",
            {"relative_position_bias": last_scatter_wins},
        ),
        GradientBug(
            "mask forgotten in backward",
            "The backward recomputes the weights without the shifted windows' mask, as recomputing (flash) "
            "kernels can.  Gradients leak between regions that never saw each other.",
            {"window_attention": mask_forgotten},
        ),
        GradientBug(
            "constant softmax",
            "The attention weights carry no gradient: values train; queries, keys and the bias table stay.",
            {"softmax": detached},
        ),
        GradientBug(
            "uncentred softmax gradient",
            "The softmax's backward is p dp without - p sum(p dp), a classic of hand-written kernels.  The "
            "key bias gets a gradient that is not 0.",
            {"softmax": uncentred_softmax},
        ),
        GradientBug(
            "constant mean in norm",
            "LayerNorm's backward takes the mean as a constant: one of the two correction terms is missing.  "
            "Training drifts, and deep nets diverge.",
            {"layer_norm": constant_statistics(mean=True, variance=False)},
        ),
        GradientBug(
            "constant variance in norm",
            "LayerNorm's backward takes the variance as a constant, as BatchNorm in evaluation does.",
            {"layer_norm": constant_statistics(mean=False, variance=True)},
        ),
        GradientBug(
            "tanh GELU gradient",
            "The erf form forward, the tanh form's derivative backward: a kernel shared by both.  Off by a "
            "thousandth: only float32 and float64 can tell.",
            {"gelu": tanh_slope},
        ),
        GradientBug(
            "gamma without gradient",
            "A fused norm returns None for gamma: optimizers skip it silently.",
            {"layer_norm": without_gradient("weight")},
        ),
        GradientBug(
            "qkv bias without gradient",
            "The bias is added by a fused kernel that returns no gradient for it; the official code's V2 and "
            "BEiT assemble it from parts, one of which is easily left a buffer.",
            {"window_attention": without_gradient("qkv.bias")},
        ),
        GradientBug(
            "gradient rolled on",
            "The backward of the fused roll-and-partition kernel rolls by -s again instead of back: the "
            "gradient arrives 2 s tokens off.",
            {"cyclic_shift": rolled_on},
        ),
        GradientBug(
            "windows of the gradient reversed",
            "The backward of partition or reverse walks the windows in another order than the forward.  "
            "Kernel tests that compare outputs never see it.",
            {"window_partition": windows_reversed, "window_reverse": windows_reversed},
        ),
        GradientBug(
            "frozen patch embedding",
            "The patch projection is detached, as MoCo v3 does on purpose; by accident, the first layer "
            "keeps its random weights.",
            {"patch_embed": without_gradient("proj.weight", "proj.bias")},
        ),
    )
}
"""Every planted bug of the backward pass, by name."""
