"""The gradient laws tell a right backward pass from wrong ones, and say which parameter is wrong."""

from __future__ import annotations

import re
from math import erfc, pi, sqrt
from typing import Any

import numpy as np
import pytest
import swin_reference
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.budget.rounding import Rounding
from swin_properties.bugs.backward import kills
from swin_properties.bugs.backward.complex_step import complex_step_vjp, with_vjp
from swin_properties.bugs.backward.gallery import BUGS
from swin_properties.bugs.backward.kills import DTYPES, breaks, case, laws
from swin_properties.bugs.kills import at_precision
from swin_properties.cases.case_v2 import V2_CASES, GridV2Case
from swin_properties.judging import gradients
from swin_properties.judging.compare import evaluate
from swin_properties.laws.law import LAWS
from swin_reference.layers import gelu, softmax


def is_of_v2(law: str) -> bool:
    return LAWS[law].kind in V2_CASES.values()


def test_a_right_backward_pass_holds_every_law(deep: bool) -> None:
    right = with_vjp("right", complex_step_vjp(swin_reference), "float64")
    asked = [(name, dtype) for name in laws() for dtype in DTYPES]
    if not deep:  # V1 in float32; of V2 only what is smaller than a network, in float64
        asked = [
            (name, dtype)
            for name, dtype in asked
            if dtype == ("float64" if is_of_v2(name) else "float32")
            and (not is_of_v2(name) or LAWS[name].kind is GridV2Case)
        ]
    assert not [(name, dtype) for name, dtype in asked if breaks(name, right, dtype)]


@pytest.mark.parametrize("bug", BUGS)
def test_every_planted_bug_is_killed_by_the_laws_written_down(bug: str, deep: bool) -> None:
    """The profile deep asks the laws of V2 about every bug; otherwise networks of V2 are left out."""
    tables = {dtype: at_precision(kills.shipped(), dtype) for dtype in DTYPES}
    assert all(table[bug] for table in tables.values())
    of_v1 = [name for name in laws() if not is_of_v2(name)]
    small = [name for name in laws() if is_of_v2(name) and LAWS[name].kind is GridV2Case]
    only_v2 = not set(tables["float64"][bug]) & set(of_v1)
    asked = laws() if deep else small if only_v2 else of_v1
    written = [name for name in tables["float32"][bug] if name in asked]
    assert kills.laws_that_kill(bug, "float32", asked) == written, "run `make kill-matrix`"


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_law_kills_a_planted_bug(dtype: str) -> None:
    table = at_precision(kills.shipped(), dtype)
    assert set(table) == set(BUGS)
    assert {law for killing in table.values() for law in killing} == set(laws())


def test_the_wrong_parameter_is_named() -> None:
    law, bug = LAWS["window_attention/gradient"], BUGS["qkv bias without gradient"]
    seen = evaluate(law, Implementation(bug.implementation()), case(law)).seen
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
def test_what_is_no_gradient_breaks_the_law(returned: Any, said: str) -> None:
    law, vjp = LAWS["layer_norm/gradient"], complex_step_vjp(swin_reference)
    broken = with_vjp("broken", lambda *args, **kwargs: returned(vjp(*args, **kwargs)), "float64")
    assert said in (evaluate(law, Implementation(broken), case(law)).seen or "")


def test_entries_of_sizes_may_be_left_out() -> None:
    vjp = complex_step_vjp(swin_reference)
    short = with_vjp("short", lambda *args: [g for g in vjp(*args) if g is not None], "float64")
    assert not breaks("window_attention/gradient", short, "float64")


def test_the_complex_step_is_the_derivative() -> None:
    x = np.linspace(-6.0, 6.0, 2001)
    slope = gelu(x + 1j * gradients.STEP).imag / gradients.STEP
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
