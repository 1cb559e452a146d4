"""The gradient laws tell a right backward pass from wrong ones, and say which parameter is wrong."""

from __future__ import annotations

import re
from functools import cache
from math import erfc, pi, sqrt
from typing import Any

import numpy as np
import pytest
import swin_reference
from swin_properties import gradient
from swin_properties.catalogue import chosen
from swin_properties.complex_step import complex_step_vjp, with_vjp
from swin_properties.evaluate import evaluate
from swin_properties.gradient_bugs import BUGS
from swin_properties.judged import Judged
from swin_properties.precision import PRECISIONS
from swin_properties.registry import LAWS, Law
from swin_properties.rounded import Rounding
from swin_reference.elementary import gelu, softmax

GRID = "batch=2 seed=1 grid=4x2 window=2x2 shift=1x1 heads=1 head_dim=4"
NET = "batch=4 recipe=gentle seed=1 image=2x4 window=1x2 depths=1 heads=1 embed_dim=4 classes=3"
LAWS_OF_GRADIENTS = [law.name for law in chosen() if "vjp" in law.needs]
NETWORKS = ["swin_stage/gradient", "swin_transformer/gradient", "swin_transformer/gradient-reaches"]
DTYPES = ("float64", "float32")

KILLS = {
    "detached attention branch": ["swin_block/gradient"],
    "detached mlp branch": ["swin_block/gradient", *NETWORKS],
    "unscaled query gradient": ["window_attention/gradient"],
    "unscaled key gradient": ["shifted_window_attention/gradient"],
    "lost scatter-add": ["relative_position_bias/gradient", "relative_position_bias/gradient-counts"],
    "mask forgotten in backward": ["window_attention/mask-gradient"],
    "constant softmax": ["window_attention/gradient"],
    "uncentred softmax gradient": ["window_attention/key-bias-gradient"],
    "constant mean in norm": ["layer_norm/gradient"],
    "constant variance in norm": ["patch_merging/gradient"],
    "tanh GELU gradient": ["mlp/gradient"],
    "gamma without gradient": ["layer_norm/gradient", "patch_embed/gradient"],
    "qkv bias without gradient": ["window_attention/gradient"],
    "gradient rolled on": ["cyclic_shift/gradient"],
    "windows of the gradient reversed": ["window_partition/gradient", "window_reverse/gradient"],
    "frozen patch embedding": ["patch_embed/gradient"],
}
"""Some laws that each bug falls by; they are not all."""


def case(law: Law) -> Any:
    """A tiny case: the planted backward passes cost one evaluation for each number."""
    if law.name in NETWORKS:
        return law.kind.parse(NET)
    shifted = law.name.startswith(("shifted", "cyclic", "swin_block"))
    return law.kind.parse(GRID if shifted else GRID.replace("shift=1x1 ", ""))


@cache
def expected(name: str, dtype: str) -> Any:
    """The oracle's side, the same for every bug."""
    law = LAWS[name]
    return gradient.oracle_side(law.body(None, case(law)), case(law), PRECISIONS[dtype])


def falls(name: str, implementation: Any, dtype: str) -> bool:
    law, judged = LAWS[name], Judged(implementation.with_precision(dtype))
    assert not law.missing(judged)
    if law.tier != "gradient":
        return evaluate(law, judged, case(law)).seen is not None
    found = gradient.compared(judged, law.body(judged, case(law)), *expected(name, dtype))
    return any(one.rho > 1 for one in found)


def test_a_right_backward_pass_holds_every_law() -> None:
    right = with_vjp("right", complex_step_vjp(swin_reference), "float64")
    fallen = [(name, dtype) for name in LAWS_OF_GRADIENTS for dtype in DTYPES if falls(name, right, dtype)]
    assert not fallen


@pytest.mark.parametrize("bug", BUGS)
def test_every_planted_bug_is_killed(bug: str) -> None:
    implementation = BUGS[bug].implementation()
    missed = [(law, dtype) for law in KILLS[bug] for dtype in DTYPES if not falls(law, implementation, dtype)]
    assert not missed


def test_every_law_kills_a_planted_bug() -> None:
    assert {law for laws in KILLS.values() for law in laws} == set(LAWS_OF_GRADIENTS)


def test_the_wrong_parameter_is_named() -> None:
    law, bug = LAWS["window_attention/gradient"], BUGS["qkv bias without gradient"]
    seen = evaluate(law, Judged(bug.implementation()), case(law)).seen
    assert seen is not None
    assert re.search(r"gradient of window_attention by qkv.bias \((query|value)\) is wrong: rho", seen)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda _: None, "returned a NoneType"),
        (lambda grads: grads[:1], "returned 1 gradients: there are 2, for x, params"),
        (lambda grads: (grads[0][:1], grads[1]), "as the gradient of x: it should be"),
        (lambda grads: (grads[0], {}), "returned NoneType as the gradient of weight"),
        (lambda grads: (grads[0] * np.nan, grads[1]), "a gradient of x that is not finite"),
    ],
)
def test_what_is_no_gradient_falls(returned: Any, said: str) -> None:
    law, vjp = LAWS["layer_norm/gradient"], complex_step_vjp(swin_reference)
    broken = with_vjp("broken", lambda *args, **kwargs: returned(vjp(*args, **kwargs)), "float64")
    assert said in (evaluate(law, Judged(broken), case(law)).seen or "")


def test_entries_of_sizes_may_be_left_out() -> None:
    vjp = complex_step_vjp(swin_reference)
    short = with_vjp("short", lambda *args: [g for g in vjp(*args) if g is not None], "float64")
    assert not falls("window_attention/gradient", short, "float64")


def test_the_complex_step_is_the_derivative() -> None:
    x = np.linspace(-6.0, 6.0, 2001)
    slope = gelu(x + 1j * gradient.STEP).imag / gradient.STEP
    phi = np.array([erfc(-t / sqrt(2.0)) / 2 for t in x])
    density = np.exp(-np.square(x) / 2) / sqrt(2.0 * pi)
    np.testing.assert_allclose(slope, phi + x * density, rtol=1e-12, atol=2e-16)


def test_what_is_used_often_errs_as_its_backward_sum() -> None:
    """b + x for n rows of x: the gradient of b has n terms."""
    rounding = Rounding(PRECISIONS["float32"], np.random.default_rng(0))
    unit, n = rounding.precision.unit, 400
    b = rounding.array(1.0 + 1e-30j * np.ones(2000))
    z = np.asarray(b + np.ones((n, 2000)))
    together = (z.imag.mean(axis=0) / 1e-30 - 1.0).std() * np.sqrt(3.0)
    each = ((z.imag - z.imag.mean(axis=0)) / 1e-30).std() * np.sqrt(3.0)
    assert abs(together / (n * unit) - 1.0) < 0.05
    assert abs(each / (np.sqrt(n + 1.0) * unit) - 1.0) < 0.05
    assert abs((z.real / 2.0 - 1.0).std() * np.sqrt(3.0) / unit - 1.0) < 0.05


def test_not_finite_complex_numbers_stay_as_they_are() -> None:
    rounding = Rounding(PRECISIONS["float32"], np.random.default_rng(0))
    masked = rounding.array(np.array([1.0 + 1e-30j, 2.0])) + np.array([-np.inf, 0.0])
    assert np.asarray(masked)[0].real == -np.inf
    assert np.isfinite(np.asarray(masked).imag).all()
    weights = np.asarray(softmax(masked))
    assert weights[0] == 0
    assert np.isfinite(weights).all()
