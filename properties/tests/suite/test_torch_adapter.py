"""The base class of torch adapters: what goes in and out, and that gradients reach the given weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from swin_properties.adapters.torch import TorchAdapter
from torch import Tensor, nn

PARAMS = {"weight": np.array([1.0, 2.0]), "bias": np.array([0.5, -0.5])}
X = np.array([[[[1.0, 3.0], [-2.0, 4.0]]]])


class Doubled(nn.Module):
    """Two norms whose weights arrive as one: a module that names and cuts its weights in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.register_buffer("two", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.cat([self.first, self.second]) * self.two


def cut(flat: dict[str, Any]) -> dict[str, Any]:
    first, second = flat["weight"].chunk(2)
    return {"first": first, "second": second}


class Mine(TorchAdapter):
    def layer_norm(self, x: Any, params: Any, eps: float = 1e-5) -> Any:
        return self.loaded(nn.LayerNorm(2, eps), params)(x)

    def mlp(self, x: Any, params: Any) -> Any:
        return self.loaded(Doubled(), params, cut)(self.layer_norm(x, params))


@pytest.mark.parametrize("precision", ["float64", "float32", "float16", "bfloat16"])
def test_arrays_in_and_arrays_out_in_every_precision(precision: str) -> None:
    adapter = Mine().with_precision(precision)
    norm, doubled = adapter.layer_norm(X, PARAMS), adapter.mlp(X, PARAMS)
    assert adapter.precision == precision
    assert norm.dtype == doubled.dtype == (np.float64 if precision == "float64" else np.float32)
    np.testing.assert_allclose(norm, [[[[-0.5, 1.5], [-0.5, 1.5]]]], rtol=0.01)
    np.testing.assert_allclose(doubled, norm * [2.0, 4.0], rtol=0.01)


def test_gradients_reach_weights_through_another_callable_and_other_names() -> None:
    cotangent = np.ones_like(X)
    of_x, of_params = Mine("float64").vjp("mlp", cotangent, X, PARAMS)
    assert of_x.shape == X.shape
    norm = Mine("float64").layer_norm(X, PARAMS)
    unit = (norm - PARAMS["bias"]) / PARAMS["weight"]
    weight = (2 * norm + 2 * PARAMS["weight"] * unit).sum((0, 1, 2))
    np.testing.assert_allclose(of_params["weight"], weight, rtol=1e-12)
    np.testing.assert_allclose(of_params["bias"], 2 * 2 * PARAMS["weight"], rtol=1e-12)


def test_a_callable_that_is_not_written_is_not_offered() -> None:
    assert not hasattr(Mine(), "swin_block")


def test_weights_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"missing bias; extra scale; misshaped weight \(3,\), not \(2,\)"):
        TorchAdapter().loaded(nn.LayerNorm(2), {"weight": torch.ones(3), "scale": torch.ones(2)})
    with pytest.raises(ValueError, match=r"torch computes in .*, got 'int8'"):
        TorchAdapter("int8")
