"""Planted bugs of the backward pass: the forward is right, the `vjp` is not.

The vjp is made from the oracle by complex steps: one evaluation for each number of the arguments, so cases
are tiny.  A bug changes imaginary parts alone; dropping one is what frameworks call detach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import pi, sqrt
from types import SimpleNamespace
from typing import Any

import numpy as np
import swin_reference
from swin_reference.attention_v2 import LARGEST_LOGIT_SCALE
from swin_weights import flatten, unflatten

from swin_properties.bugs.backward.complex_step import Change, change_oracle, complex_step_vjp, with_vjp
from swin_properties.bugs.gallery import NOT_SEEN


@dataclass(frozen=True)
class GradientBug:
    """A wrong backward pass: what is wrong, what a user sees of it, and where it was seen."""

    name: str
    wrong: str
    effect: str
    seen: str
    changes: Mapping[str, Change] = field(repr=False)

    def implementation(self, precision: str = "float64") -> SimpleNamespace:
        """Returns the oracle's forward with this vjp, in float64 or float32."""
        return with_vjp(self.name, complex_step_vjp(change_oracle(self.changes)), precision)


def detached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function's value without its derivative."""
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
    """Adds the gradient once for each index, as ``grad[index] += d`` does, not once for each pair."""

    def changed(table: Any, window_size: Any) -> Any:
        bias = np.array(relative_position_bias(table, window_size))
        index = swin_reference.relative_position_index(window_size).ravel()
        last = np.zeros(index.shape, bool)
        last[len(index) - 1 - np.unique(index[::-1], return_index=True)[1]] = True
        return bias.real + 1j * bias.imag * last.reshape(bias.shape[1:])

    return changed


def mask_forgotten(window_attention: Callable[..., Any]) -> Callable[..., Any]:
    """Computes the backward of attention without a mask."""

    def changed(x: Any, params: Any, heads: int, window: Any, mask: Any = None, qk_scale: Any = None) -> Any:
        right = window_attention(x, params, heads, window, mask, qk_scale)
        return right.real + 1j * window_attention(x, params, heads, window, None, qk_scale).imag

    return changed


def uncentred_softmax(softmax: Callable[..., Any]) -> Callable[..., Any]:
    """Computes dx = p dp, without - p sum(p dp)."""

    def changed(x: Any) -> Any:
        weights = softmax(x.real)
        return weights + 1j * weights * x.imag

    return changed


def constant_statistics(mean: bool, variance: bool) -> Change:
    """Takes LayerNorm's mean or variance as a constant in the backward."""

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
    """Computes the erf form forward, and the derivative of the tanh form backward."""

    def changed(x: Any) -> Any:
        tanh_form = 0.5 * x * (1.0 + np.tanh(sqrt(2.0 / pi) * (x + 0.044715 * x * x * x)))
        return gelu(x).real + 1j * np.asarray(tanh_form).imag

    return changed


def rolled_on(cyclic_shift: Callable[..., Any]) -> Callable[..., Any]:
    """Rolls the gradient the way the image was rolled, not back."""

    def changed(x: Any, shift_size: Any) -> Any:
        back = swin_reference.reverse_cyclic_shift(x, shift_size)
        return cyclic_shift(x, shift_size).real + 1j * back.imag

    return changed


def factors_forgotten(drop_path: Callable[..., Any]) -> Callable[..., Any]:
    """Passes the gradient through a branch as if it were kept and not scaled."""

    def changed(branch: Any, kept: Any) -> Any:
        return drop_path(branch, kept).real + 1j * np.asarray(branch).imag

    return changed


def nothing_past_dropped(swin_block: Callable[..., Any]) -> Callable[..., Any]:
    """Gives samples whose attention is dropped no gradient."""

    def changed(
        x: Any, params: Any, heads: int, window: Any, shift: Any, kept: Any = None, *rest: Any
    ) -> Any:
        y = swin_block(x, params, heads, window, shift, kept, *rest)
        passed = 1.0 if kept is None else (np.asarray(kept[0]) > 0).reshape(-1, 1, 1, 1)
        return y.real + 1j * y.imag * passed

    return changed


def windows_reversed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Takes the gradient's windows in reverse order."""

    def changed(x: Any, window_size: Any, *grid: int) -> Any:
        return function(x, window_size, *grid).real + 1j * function(x[::-1], window_size, *grid).imag

    return changed


def bias_mlp_detached(table: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the first layer of V2's bias MLP no gradient."""

    def changed(params: Any, *sizes: Any) -> Any:
        first = {name: np.asarray(x).real for name, x in params["0"].items()}
        return table({**params, "0": first}, *sizes)

    return changed


def clamp_passed(cosine_window_attention: Callable[..., Any]) -> Callable[..., Any]:
    """Passes the gradient of V2's logit scale through the clamp."""

    def changed(x: Any, params: Any, *sizes: Any, **kwargs: Any) -> Any:
        scale = params["logit_scale"]
        below = np.minimum(scale.real, LARGEST_LOGIT_SCALE - 1e-9) + 1j * scale.imag
        right = cosine_window_attention(x, params, *sizes, **kwargs)
        return right.real + 1j * cosine_window_attention(x, {**params, "logit_scale": below}, *sizes).imag

    return changed


def constant_length(_: Callable[..., Any]) -> Callable[..., Any]:
    """Takes the length of V2's queries and keys as a constant in the backward."""
    return lambda x: x / np.maximum(np.sqrt((x.real * x.real).sum(axis=-1, keepdims=True)), 1e-12)


def slope_at_zero(normalise: Callable[..., Any]) -> Callable[..., Any]:
    """Differentiates the length at 0, where it has no slope: 0 / 0."""

    def changed(x: Any) -> Any:
        y = normalise(x)
        no_length = (x.real == 0).all(axis=-1, keepdims=True)
        return np.where(no_length, y.real + 1j * np.nan, y) if np.iscomplexobj(x) else y

    return changed


def mask_forgotten_in_v2(cosine_window_attention: Callable[..., Any]) -> Callable[..., Any]:
    """Computes the backward of V2's attention without a mask."""

    def changed(x: Any, params: Any, heads: int, window: Any, mask: Any = None, *rest: Any) -> Any:
        right = cosine_window_attention(x, params, heads, window, mask, *rest)
        return right.real + 1j * cosine_window_attention(x, params, heads, window, None, *rest).imag

    return changed


BUGS = {
    bug.name: bug
    for bug in (
        GradientBug(
            "detached attention branch",
            "The attention branch has no gradient: it is computed under no_grad or on detached tokens.",
            "Outputs are right; attention never trains.",
            "Fused kernels without a backward, wrapped by hand.",
            {"block.shifted_window_attention": detached},
        ),
        GradientBug(
            "detached mlp branch",
            "The MLP branch has no gradient.",
            "Outputs are right; half of the parameters never move.",
            "A checkpointed segment that lost requires_grad.",
            {"block.mlp": detached},
        ),
        GradientBug(
            "unscaled query gradient",
            "The gradient of the queries is not multiplied by head_dim^-1/2.",
            "Queries learn sqrt(head_dim) times too fast; the loss still decreases.",
            "Kernels whose forward folds the scale into q.",
            {"split_heads": unscaled(0)},
        ),
        GradientBug(
            "unscaled key gradient",
            "The gradient of the keys is not multiplied by head_dim^-1/2.",
            "Keys learn sqrt(head_dim) times too fast.",
            NOT_SEEN,
            {"split_heads": unscaled(1)},
        ),
        GradientBug(
            "lost scatter-add",
            "Of the pairs of tokens that share an offset, only one adds to the bias table's gradient.",
            "The bias table learns too slowly.",
            "`grad[index] += d` with repeated indices in NumPy, or in a CUDA kernel without atomics.",
            {"relative_position_bias": last_scatter_wins},
        ),
        GradientBug(
            "mask forgotten in backward",
            "The backward computes the weights again without the shifted windows' mask.",
            "Gradients leak between regions that never saw each other.",
            "Kernels that recompute the attention in the backward (flash attention).",
            {"window_attention": mask_forgotten},
        ),
        GradientBug(
            "constant softmax",
            "The attention weights carry no gradient.",
            "Values train; queries, keys and the bias table do not.",
            NOT_SEEN,
            {"softmax": detached},
        ),
        GradientBug(
            "uncentred softmax gradient",
            "The softmax's backward is p dp without - p sum(p dp).",
            "The key bias gets a gradient that is not 0.",
            "Hand-written kernels.",
            {"softmax": uncentred_softmax},
        ),
        GradientBug(
            "constant mean in norm",
            "LayerNorm's backward takes the mean as a constant: one of two correction terms is missing.",
            "Training drifts, and deep networks diverge.",
            NOT_SEEN,
            {"layer_norm": constant_statistics(mean=True, variance=False)},
        ),
        GradientBug(
            "constant variance in norm",
            "LayerNorm's backward takes the variance as a constant.",
            "Gradients have a component along the normed token, which must be 0.",
            "BatchNorm in evaluation, whose statistics are constants.",
            {"layer_norm": constant_statistics(mean=False, variance=True)},
        ),
        GradientBug(
            "tanh GELU gradient",
            "The forward is the erf form of GELU, the backward the derivative of the tanh form.",
            "Off by a thousandth: only float32 and float64 can tell.",
            "One backward kernel for both forms.",
            {"gelu": tanh_slope},
        ),
        GradientBug(
            "gamma without gradient",
            "A norm returns no gradient for gamma.",
            "Optimizers skip gamma silently.",
            "Fused norms that return None.",
            {"layer_norm": without_gradient("weight")},
        ),
        GradientBug(
            "qkv bias without gradient",
            "The bias of qkv has no gradient.",
            "The bias keeps its first values.",
            "Fused kernels that add the bias; the bias assembled from parts, as in the official V2 and BEiT, "
            "where one part is easily left a buffer.",
            {"window_attention": without_gradient("qkv.bias")},
        ),
        GradientBug(
            "gradient rolled on",
            "The backward of the shift rolls by -s again instead of back.",
            "The gradient arrives 2 s tokens off.",
            "Fused kernels that roll and partition.",
            {"cyclic_shift": rolled_on},
        ),
        GradientBug(
            "windows of the gradient reversed",
            "The backward of partition and of reverse takes the windows in another order than the forward.",
            "Kernel tests that compare outputs never see it.",
            NOT_SEEN,
            {"window_partition": windows_reversed, "window_reverse": windows_reversed},
        ),
        GradientBug(
            "drop path forgotten in backward",
            "The gradient of a branch is not multiplied by drop path's factors.",
            "Dropped samples train the branches that they never passed.",
            NOT_SEEN,
            {"drop_path": factors_forgotten},
        ),
        GradientBug(
            "dropped samples without gradient",
            "Where a sample's branch is dropped, no gradient flows past it either.",
            "Layers before a dropped block learn from fewer samples.",
            "Kernels that leave out dropped samples and write their gradients nowhere.",
            {"block.swin_block": nothing_past_dropped},
        ),
        GradientBug(
            "frozen patch embedding",
            "The patch projection is detached.",
            "The first layer keeps its random weights.",
            "MoCo v3, which does it on purpose.",
            {"patch_embed": without_gradient("proj.weight", "proj.bias")},
        ),
        GradientBug(
            "detached branches of V2",
            "The attention branch of V2's block has no gradient.",
            "Outputs are right; attention never trains.",
            NOT_SEEN,
            {"block_v2.shifted_cosine_window_attention": detached},
        ),
        GradientBug(
            "logit scale without gradient",
            "The logit scale of V2 has no gradient.",
            "Every head keeps its first scale of 10.",
            "Fused kernels that are given the scale as a number.",
            {"cosine_window_attention": without_gradient("logit_scale")},
        ),
        GradientBug(
            "gradient through the clamp",
            "The clamp of V2's logit scale passes its gradient on.",
            "A scale above its clamp goes on growing.",
            "A clamp applied to the weight's data, not in the forward.",
            {"cosine_window_attention": clamp_passed},
        ),
        GradientBug(
            "constant length",
            "The backward takes the length of V2's queries and keys as a constant.",
            "Gradients have a component along the query, which must be 0.",
            "Kernels that normalise in the forward alone.",
            {"normalise": constant_length},
        ),
        GradientBug(
            "slope of the length at 0",
            "The backward of V2's normalisation divides 0 by 0 for a query or key of zeros.",
            "One empty token makes all gradients NaN.",
            "A square root without a least value, differentiated.",
            {"normalise": slope_at_zero},
        ),
        GradientBug(
            "bias MLP without gradient",
            "The first layer of V2's bias MLP has no gradient.",
            "The position bias learns only half of its weights.",
            "A table that is computed once and kept.",
            {"continuous_position_bias_table": bias_mlp_detached},
        ),
        GradientBug(
            "q_bias without gradient",
            "V2's q_bias has no gradient.",
            "The bias keeps its first values.",
            "The bias joined from parts, where one is easily left a buffer.",
            {"cosine_window_attention": without_gradient("q_bias")},
        ),
        GradientBug(
            "mask forgotten in V2's backward",
            "The backward computes V2's weights again without the shifted windows' mask.",
            "Gradients leak between regions that never saw each other.",
            NOT_SEEN,
            {"cosine_window_attention": mask_forgotten_in_v2},
        ),
    )
}
"""Every planted bug of the backward pass, by name."""
