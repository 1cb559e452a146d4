"""The error budget: Rounded errs as stated, and rho tells honest from wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from swin_properties.budget.budget import budget, deviation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.budget.rounding import Rounded, Rounding
from swin_reference.layers import gelu, layer_norm, softmax

FLOAT32 = PRECISIONS["float32"]


def rounding(name: str = "float32") -> Rounding:
    return Rounding(PRECISIONS[name], np.random.default_rng(0))


def errors(result: Any, exact: Any) -> Any:
    return np.asarray(result) - exact


def test_elementwise_errors_are_uniform_in_one_unit() -> None:
    x = np.linspace(1.0, 2.0, 4000)
    relative = errors(rounding().array(x) * 3.0, x * 3.0) / (x * 3.0) / FLOAT32.unit
    assert 0.99 < np.abs(relative).max() <= 1.0 + 1e-6  # float64 itself rounds at 2^-29 of the unit
    # U(-1, 1) has standard deviation 1/sqrt(3); over 4000 draws its estimate is good to 1 %.
    assert abs(relative.std() * np.sqrt(3.0) - 1.0) < 0.05


@pytest.mark.parametrize("name", PRECISIONS)
def test_matmul_errors_grow_with_the_inner_size(name: str) -> None:
    precision = PRECISIONS[name]
    a, b = np.ones((60, 400)), np.ones((400, 60))
    spread = errors(rounding(name).array(a) @ b, a @ b).std() * np.sqrt(3.0)
    expected = np.sqrt((precision.accumulator * 20 * 400) ** 2 + (precision.unit * 400) ** 2)
    if precision.matmul_input:
        # Two rounded inputs a product, 400 independent products: sqrt(2 * 400) units.
        expected = np.hypot(expected, precision.matmul_input * np.sqrt(800))
    assert abs(spread / expected - 1.0) < 0.05


def test_sums_err_by_their_terms() -> None:
    x = np.ones((4000, 100))
    spread = errors(rounding().array(x).sum(axis=-1), 100.0).std() * np.sqrt(3.0)
    assert abs(spread / (FLOAT32.unit * np.hypot(10 * 100, 100)) - 1.0) < 0.05


def test_what_does_not_round_is_exact() -> None:
    x = rounding().array(np.array([[3.0, -np.inf], [np.inf, 0.1]]))
    for result in (-x, np.abs(x), x.max(axis=-1), x.T, x.reshape(4), x[0], np.roll(x, 1), np.pad(x, 1)):
        assert isinstance(result, Rounded)
    np.testing.assert_array_equal(np.asarray(x.max(axis=-1)), [3.0, np.inf])
    np.testing.assert_array_equal(np.asarray(-x), [[-3.0, np.inf], [-np.inf, -0.1]])
    assert not isinstance(x > 0, Rounded)
    assert np.asarray(x + 1.0)[0, 1] == -np.inf


def test_subclass_survives_every_layer_of_the_oracle() -> None:
    x = rounding().array(np.random.default_rng(1).standard_normal((5, 4)))
    norm = {"weight": np.ones(4), "bias": np.zeros(4)}
    for result in (softmax(x), gelu(x), layer_norm(x, norm)):
        assert isinstance(result, Rounded)


def test_complex_parts_are_perturbed_alike() -> None:
    z = rounding().array(np.full(4000, 2.0 + 1e-30j)) * 1.0
    for part, size in ((np.asarray(z).real, 2.0), (np.asarray(z).imag, 1e-30)):
        assert abs((part / size - 1.0).std() * np.sqrt(3.0) / FLOAT32.unit - 1.0) < 0.05
    product = rounding().array(np.ones((40, 9)) + 1e-30j) @ (np.ones((9, 40)) + 0j)
    assert 0 < (np.asarray(product).imag / 9e-30 - 1.0).std() < 10 * FLOAT32.unit


def test_honest_arithmetic_is_within_the_budget_and_a_wrong_eps_is_not() -> None:
    x = np.random.default_rng(2).integers(-127, 128, (200, 8)) / 64.0
    norm = {"weight": np.ones(8), "bias": np.zeros(8)}
    exact = layer_norm(x, norm)
    residuals = [
        errors(layer_norm(Rounding(FLOAT32, np.random.default_rng(run)).array(x), norm), exact)
        for run in range(6)
    ]
    beta = budget(residuals, exact, FLOAT32)
    single = {name: value.astype(np.float32) for name, value in norm.items()}
    assert deviation(layer_norm(x.astype(np.float32), single), exact, beta).holds
    assert not deviation(layer_norm(x, norm, eps=1e-6), exact, beta).holds


def test_one_element_far_off_is_caught_by_rho_max_alone() -> None:
    exact, beta = np.zeros(10_000), np.ones(10_000)
    got = exact.copy()
    got[7] = 20.0
    found = deviation(got, exact, beta)
    assert found.rho < 1
    assert not found.holds
    assert found.worst == (7,)


def test_not_finite_where_it_should_be_is_never_within() -> None:
    ones = np.ones(2)
    assert not deviation(np.array([1.0, np.inf]), ones, ones).holds
    assert not deviation(np.array([1.0, np.nan]), ones, ones).holds
    assert deviation(np.array([1.0, np.inf]), np.array([1.0, np.inf]), ones).holds


@pytest.mark.parametrize(
    ("name", "spacing"), [("float16", 2.0**-10), ("bfloat16", 2.0**-7), ("float32", 2.0**-23)]
)
def test_rounding_to_a_precision(name: str, spacing: float) -> None:
    rounded = PRECISIONS[name].rounded
    assert rounded(1.0 + spacing) == 1.0 + spacing
    assert rounded(1.0 + 0.25 * spacing) == 1.0
    assert rounded(np.array(-np.inf)) == -np.inf
    assert rounded(0.0) == 0.0
