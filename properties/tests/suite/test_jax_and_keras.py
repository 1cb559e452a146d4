"""The base classes of JAX and Keras adapters, and their examples: these conform, and faults are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import swin_properties
from conftest import Command, heavy
from swin_properties import JaxAdapter, KerasAdapter
from swin_properties.adapters.implementation import Implementation
from swin_properties.adapters.load import load
from swin_properties.cases.case import GridCase
from swin_properties.judging.compare import evaluate
from swin_properties.laws.law import LAWS
from swin_reference.parameters import block_shapes, hot_parameters
from swin_weights import flatten

ROOT = Path(__file__).resolve().parents[3]
JAX, KERAS = "examples/swin_jax.py", "examples/swin_keras.py"
EXAMPLES = [JAX, KERAS]

CASE = GridCase(batch=2, grid=(5, 6), window=(2, 3), shift=(1, 1), heads=2, head_dim=4)

PARAMS = {"weight": np.array([1.0, 2.0]), "bias": np.array([0.5, -0.5])}
X = np.array([[[[1.0, 3.0], [-2.0, 4.0]]]])

FAULTS = {
    "JAX without mask": (
        JAX,
        "if any(shift) else None",
        "if all(shift) < 0 else None",
        "shifted_window_attention",
    ),
    "JAX's own gelu": (JAX, ", approximate=False", "", "mlp"),
    "JAX's merge by rows": (
        JAX,
        "for dw in (0, 1) for dh in (0, 1)",
        "for dh in (0, 1) for dw in (0, 1)",
        "patch_merging",
    ),
    "Keras' own epsilon": (KERAS, "name=None, eps=1e-5", "name=None, eps=1e-3", "patch_merging"),
    "Keras with keys for queries": (
        KERAS,
        "q, k, v = ops.unstack",
        "k, q, v = ops.unstack",
        "window_attention",
    ),
    "Keras without shifting back": (
        KERAS,
        "ops.roll(x, (sh, sw), (1, 2))[:",
        "x[:",
        "shifted_window_attention",
    ),
}
"""Planted faults: the file, what stands there, what is put in its place, and the callable that breaks."""


class InJax(JaxAdapter):
    def relative_position_index(self, window_size: Any) -> Any:
        return jnp.arange(4).reshape(2, 2)

    def layer_norm(self, x: Any, params: Any, eps: float = 1e-5) -> Any:
        own = self.kernels(params)
        x = x - x.mean(-1, keepdims=True)
        return x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + eps) * own["scale"] + own["bias"]

    def mlp(self, x: Any, params: Any) -> Any:
        factors = self.relative_position_index((1, 2))[0, 1:].astype(x.dtype)  # within a call: JAX's array
        return self.layer_norm(x, params) * jnp.concatenate([factors + 1, params["weight"][1:]])


class InKeras(KerasAdapter):
    def layer_norm(self, x: Any, params: Any, eps: float = 1e-5) -> Any:
        return self.loaded(lambda: keras.layers.LayerNormalization(epsilon=eps), params)(x)

    def mlp(self, x: Any, params: Any) -> Any:
        ones = keras.ops.full((1,), 2.0)  # of the precision, without a word of it
        assert ones.dtype == x.dtype
        return self.layer_norm(x, params) * keras.ops.concatenate([ones, params["weight"][1:]])


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        (kind, precision)
        for kind in (InJax, InKeras)
        for precision in ("float64", "float32", "float16", "bfloat16")
        if kind is InJax or precision != "float64"  # which Keras does not compute
    ],
)
def test_arrays_in_and_arrays_out_in_every_precision(kind: Any, precision: str) -> None:
    adapter = kind().with_precision(precision)
    norm, product = adapter.layer_norm(X, PARAMS), adapter.mlp(X, PARAMS)
    assert adapter.precision == precision
    assert type(norm) is np.ndarray
    assert norm.dtype == product.dtype == (np.float64 if precision == "float64" else np.float32)
    np.testing.assert_allclose(norm, [[[[-0.5, 1.5], [-0.5, 1.5]]]], rtol=0.01)
    np.testing.assert_allclose(product, norm * [2.0, 2.0], rtol=0.01)
    if precision == "float64":
        exact = (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(norm, exact * PARAMS["weight"] + PARAMS["bias"], rtol=1e-14)
    assert jnp.ones(1).dtype == np.float32  # as before: only the call had 64 bits
    assert keras.config.floatx() == "float32"


@pytest.mark.parametrize("kind", [InJax, InKeras])
def test_gradients_reach_weights_through_another_callable(kind: Any) -> None:
    adapter = kind()
    of_x, of_params, of_eps = adapter.vjp("layer_norm", np.ones_like(X), X, PARAMS, 1e-5)
    unit = (adapter.layer_norm(X, PARAMS) - PARAMS["bias"]) / PARAMS["weight"]
    assert of_eps is None
    assert of_x.shape == X.shape
    np.testing.assert_allclose(of_params["weight"], unit.sum((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(of_params["bias"], [2.0, 2.0])
    _, of_params = adapter.vjp("mlp", np.ones_like(X), X, PARAMS)
    np.testing.assert_allclose(of_params["bias"], [4.0, 4.0])


def test_jax_compiles_once_for_each_shape_and_size() -> None:
    traced = []

    class Counting(InJax):
        def cyclic_shift(self, x: Any, shift_size: Any) -> Any:
            assert isinstance(x, jax.Array)
            traced.append((x.shape, shift_size))
            return jnp.roll(x, (-shift_size, -shift_size), (1, 2))

    adapter, x = Counting(), np.ones((1, 2, 2, 1))
    for shift in (1, 1, 0, 1):
        adapter.cyclic_shift(x, shift)
    adapter.cyclic_shift(x[:, :1], 1)
    assert traced == [((1, 2, 2, 1), 1), ((1, 2, 2, 1), 0), ((1, 1, 2, 1), 1)]
    Counting.jit = False
    adapter.cyclic_shift(x, 1)
    adapter.cyclic_shift(x, 1)
    assert len(traced) == 5


@pytest.mark.parametrize("kind", [InJax, InKeras])
def test_what_is_prepared_gives_what_the_call_gives(kind: Any) -> None:
    adapter = kind()
    assert np.array_equal(
        np.asarray(adapter.prepare("layer_norm", X, PARAMS)()), adapter.layer_norm(X, PARAMS)
    )
    given = "layer_norm", np.ones_like(X), X, PARAMS
    of_x, of_weights = (
        [np.asarray(leaf) for leaf in jax.tree.leaves(adapter.prepare("vjp", *given)())[:2]],
        None,
    )
    assert of_weights is None
    assert np.array_equal(of_x[0], adapter.vjp(*given)[0])


def test_a_model_that_is_built_by_its_call_takes_weights_by_other_names() -> None:
    def make() -> Any:
        layers = keras.layers.Dense(3, name="0"), keras.layers.Dropout(0.5), keras.layers.Dense(2, name="1")
        return keras.Sequential(layers)

    def rename(flat: dict[str, Any]) -> dict[str, Any]:
        return {name.replace("fc1", "0").replace("fc2", "1"): x for name, x in flat.items()}

    class Mine(KerasAdapter):
        def mlp(self, x: Any, params: Any) -> Any:
            return self.loaded(make, params, rename)(x)

    rng = np.random.default_rng(0)
    (w1, w2), b = (rng.standard_normal(shape) for shape in ((3, 2), (2, 3))), np.zeros(3)
    params = {"fc1": {"weight": w1, "bias": b}, "fc2": {"weight": w2, "bias": b[:2]}}
    np.testing.assert_allclose(Mine().mlp(X, params), X @ w1.T @ w2.T, rtol=1e-4)


def test_weights_that_do_not_fit_a_layer_are_named() -> None:
    weights = {"weight": keras.ops.ones(3), "scale": keras.ops.ones(2)}
    layer = KerasAdapter().loaded(lambda: keras.layers.LayerNormalization(), weights)
    with pytest.raises(ValueError, match=r"missing beta; extra scale; misshaped gamma \(3,\), not \(2,\)"):
        layer(keras.ops.ones((1, 2)))


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: JaxAdapter("int8"), "JAX computes in float64, float32, float16, bfloat16, got 'int8'"),
    (lambda: KerasAdapter("float64"), "Keras by torch computes in float32, float16, bfloat16, got 'float64'"),
    (lambda: JaxAdapter().with_device("mps"), "a device is one that JAX sees, here cpu.*, got 'mps'"),
])  # fmt: skip
def test_a_precision_or_device_that_is_not_there_is_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize(("base", "package"), [("JaxAdapter", "jax"), ("KerasAdapter", "keras")])
def test_a_missing_package_is_one_sentence_with_the_line_that_installs_it(
    base: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"swin_properties.adapters.{package}")
    with pytest.raises(ImportError, match=rf"needs {package}, .* pip install 'swin-oracle\[{package}\]'$"):
        getattr(swin_properties, base)


def test_a_backend_that_keras_lacks_is_one_sentence() -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "try:\n    from swin_properties import KerasAdapter\nexcept ImportError as error:\n    print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={"KERAS_BACKEND": "tensorflow"}, capture_output=True, text=True
    )
    assert run.stdout == (
        "a KerasAdapter needs a backend of Keras, tensorflow is not installed: set KERAS_BACKEND=torch\n"
    )


def ask(example: Path, law: str) -> bool:
    """Whether a law holds of an example, on one case."""
    implementation = Implementation(load(str(example)))
    assert not LAWS[law].missing(implementation)
    return evaluate(LAWS[law], implementation, CASE).seen is None


@pytest.mark.parametrize("law", ["swin_block/oracle", "mlp/gradient", "patch_embed/oracle"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_conforms(example: str, law: str) -> None:
    assert ask(ROOT / example, law)


@pytest.mark.parametrize("backend", ["numpy", pytest.param("jax", marks=heavy)])
def test_the_keras_example_conforms_by_another_backend(
    backend: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    # NumPy's products may warn of numbers that lie beside a matrix in a vector register, and in no result.
    monkeypatch.setenv("PYTHONWARNINGS", "error,default::RuntimeWarning")
    words = "--few-shapes", "--effort", "quick", "--convention", "canonical", "--in-process"
    run = command("check", KERAS, "--only", "mlp/oracle,mlp/gradient", *words, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    offered = "not offered: vjp" not in run.stdout
    assert offered == (backend == "jax")


@heavy
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_whole_check_of_an_example_conforms(example: str, command: Command) -> None:
    run = command("check", example, "--few-shapes", cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " 0 broken" in run.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    example, right, wrong, broken = FAULTS[fault]
    text = (ROOT / example).read_text()
    assert text.count(right) == 1
    path = tmp_path / f"{Path(example).stem}_{list(FAULTS).index(fault)}.py"
    path.write_text(text.replace(right, wrong))
    assert ask(ROOT / example, f"{broken}/oracle")
    assert not ask(path, f"{broken}/oracle")


def test_the_gradients_of_the_jax_example_are_those_of_swin_torch() -> None:
    x, cotangent = np.random.default_rng(0).standard_normal((2, 1, 5, 7, 6))
    params = hot_parameters(block_shapes(6, 2, (2, 3), 12), seed=0)

    def gradients(implementation: str) -> dict[str, Any]:
        adapter = load(implementation).with_precision("float64")
        of_x, of_params, *sizes = adapter.vjp("swin_block", cotangent, x, params, 2, (2, 3), (1, 2))
        assert sizes == [None, None, None]
        return flatten({"x": of_x} | of_params)

    mine, ours = gradients(str(ROOT / JAX)), gradients("swin_torch")
    assert mine.keys() == ours.keys()
    for key, gradient in mine.items():
        np.testing.assert_allclose(gradient, ours[key], rtol=1e-12, atol=1e-12, err_msg=key)
