"""The example that trains is accurate and conforms; a network or file with a fault breaks a law."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import swin_reference
from swin_properties.budget.budget import EQUAL
from swin_properties.budget.precision import PRECISIONS
from swin_properties.predict.logits import Logits, compare_logits
from swin_reference.config import CONVENTIONS, SwinConfig
from swin_reference.parameters import hot_parameters, parameter_shapes
from swin_weights import load, save

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed: the digits come with it")

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "train_digits.py"

Out = pytest.CaptureFixture[str]
State = dict[str, Any]


@pytest.fixture
def example() -> Iterator[Any]:
    """The example as a module of its own, to be changed."""
    spec = importlib.util.spec_from_file_location("train_digits", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


@pytest.fixture
def short(example: Any) -> Any:
    """The example on fewer images, any accuracy being enough: half a second of training."""
    digits = example.read_digits

    def few(_: int) -> Any:
        images, test_images, labels, test_labels = digits(0)
        return images[:256], test_images[:150], labels[:256], test_labels[:150]

    example.read_digits, example.ACCURACY = few, -1.0
    return example


def test_it_trains_to_over_97_percent_and_the_oracle_agrees(tmp_path: Path) -> None:
    line = [sys.executable, "-W", "error", str(EXAMPLE), "--output", "trained.safetensors"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    assert len(re.findall(r"^epoch \d+ of 25: loss [\d.]+$", run.stdout, re.MULTILINE)) == 25
    (right,) = re.findall(r"test accuracy .* \((\d+) of 450\): more than 97%", run.stdout)
    assert int(right) > 0.97 * 450
    assert 0 < rho(run.stdout) <= 1
    agree, decided = same_class(run.stdout)
    assert agree == decided > 440
    assert os.listdir(tmp_path) == ["trained.safetensors"]
    found = load(tmp_path / "trained.safetensors")
    assert found.layout == "official"
    assert found.config.image_size == 8


def rho(out: str) -> float:
    return float(re.findall(r"worst rho ([\d.]+|inf)", out)[0])


def same_class(out: str) -> tuple[int, int]:
    """For how many images the oracle names the same class, of how many that the budget decides."""
    agree, decided = re.findall(r"same class for (\d+) of the (\d+) images", out)[0]
    return int(agree), int(decided)


def qkv_rows_turned(state: State) -> State:
    return {name: x.roll(1, 0) if "qkv" in name else x for name, x in state.items()}


def rounded_to_half_precision(state: State) -> State:
    return {name: x.half().float() for name, x in state.items()}


def bias_table_transposed(state: State) -> State:
    """Each window's offsets in the order (width, height)."""
    return {
        name: x.unflatten(0, (3, 3)).transpose(0, 1).flatten(0, 1) if name.endswith("table") else x
        for name, x in state.items()
    }


@pytest.mark.parametrize("fault", [qkv_rows_turned, rounded_to_half_precision, bias_table_transposed])
def test_a_file_that_is_not_the_network_breaks_a_law(
    fault: Callable[[State], State], short: Any, tmp_path: Path, capsys: Out
) -> None:
    short.save = lambda path, state, **options: save(path, fault(state), **options)
    assert short.main(["--epochs", "1", "--output", str(tmp_path / "w.npz")]) == 1
    out = capsys.readouterr().out
    assert rho(out) > 100
    assert "beyond the error budget" in out
    agree, decided = same_class(out)
    assert (agree < decided) == (fault is qkv_rows_turned)  # the others are too small for classes to see


def test_a_network_with_a_leaking_mask_breaks_a_law(short: Any, tmp_path: Path, capsys: Out) -> None:
    initialise = short.initialise

    def leaking(network: Any) -> Any:
        for block in network.layers[0].blocks:
            block.convention = replace(CONVENTIONS["canonical"], mask_value=-1.0)
        return initialise(network)

    short.initialise = leaking
    assert short.main(["--epochs", "1", "--output", str(tmp_path / "w.npz")]) == 1
    assert rho(capsys.readouterr().out) > 100


def test_too_little_accuracy_is_exit_code_1(short: Any, tmp_path: Path, capsys: Out) -> None:
    short.ACCURACY = 0.97
    assert short.main(["--epochs", "1", "--output", str(tmp_path / "w.npz")]) == 1
    out = capsys.readouterr().out
    assert "not more than 97%" in out
    assert "within the error budget" in out


def test_a_seed_decides_everything_and_a_terminal_gets_a_bar(
    short: Any, tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / name for name in ("one.npz", "same.npz", "other.npz")]
    for file, seed in zip(files, ("3", "3", "4"), strict=True):
        assert short.main(["--epochs", "1", "--seed", seed, "--output", str(file)]) == 0
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    plain, _, bar = capsys.readouterr().out.partition("epoch 1 of 1")
    assert "━" not in plain
    assert "━" in bar
    one, same, other = (load(file).weights for file in files)
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert all(not np.array_equal(one[name], other[name]) for name in one)


def test_a_seed_decides_which_images_are_the_test_s(example: Any) -> None:
    one, same, other = (example.read_digits(seed) for seed in (3, 3, 4))
    assert [len(x) for x in one] == [1347, 450, 1347, 450]
    assert all(torch.equal(x, y) for x, y in zip(one, same, strict=True))
    assert not torch.equal(one[1], other[1])
    assert one[0].abs().max() == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--epochs", "0"], r"epochs >= 1 and seed >= 0 must hold, got 0 and 0"),
        (["--epochs", "many"], "invalid int value: 'many': see --help"),
        (["--rate", "1"], "unrecognized arguments: --rate 1: see --help"),
        (["--output", "."], r"a checkpoint goes to a file, \. is a folder"),
        (["--output", "no/where.npz"], r"no/where\.npz cannot: No such file or directory: give another path"),
        (["--output", "w.txt"], r"weights go to \.npz, .* got w\.txt for official"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], sentence: str, short: Any, tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert short.main(words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert re.search(sentence, err), err
    assert not os.listdir(tmp_path)


def test_without_scikit_learn_it_says_so(
    example: Any, capsys: Out, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert example.main(["--output", str(tmp_path / "w.npz")]) == 2
    assert capsys.readouterr().err == (
        "train_digits: the digits are part of scikit-learn, which is not installed: "
        "pip install scikit-learn\n"
    )


def test_which_classes_the_budget_decides() -> None:
    """Two logits that are 20 budgets apart may err by 8 each; 15 apart they may change places."""
    expected = np.array([[20.0, 0.0, -50.0], [15.0, 0.0, -50.0], [-50.0, 0.0, 99.0]])
    got = np.array([[19.0, 0.0, -50.0], [0.0, 15.0, -50.0], [-50.0, 99.0, 0.0]])
    side = Logits(got, expected, np.ones((3, 3)), EQUAL)
    assert side.decided.tolist() == [True, False, True]
    assert side.agree.tolist() == [True, False, False]


def test_near_the_limit_more_runs_decide() -> None:
    config = SwinConfig(embed_dim=4, depths=(2,), num_heads=(2,), window_size=2, num_classes=20)
    params = hot_parameters(parameter_shapes(config))
    images = np.random.default_rng(0).integers(-127, 128, (50, 3, 16, 16)) / 64.0
    exact = swin_reference.swin_transformer(images, params, config)

    def judged(got: Any) -> Logits:
        return compare_logits(got, exact, images, params, config, PRECISIONS["float32"])

    beta = judged(exact).beta
    assert judged(exact + 0.9 * beta).deviation.rho == pytest.approx(0.9)
    near, beyond = judged(exact + 1.2 * beta).deviation, judged(exact + 3.5 * beta).deviation
    assert near.holds  # roundings at their bound are sqrt(3) times as large
    assert not beyond.holds
    assert beyond.rho < 3.5
