"""What stands behind the figures: who is refused, what is counted, how files and goals are read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from swin_properties.adapters.torch import TorchAdapter
from swin_properties.budget.budget import deviation
from swin_reference import parameters
from swin_weights import flatten
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cases import counters, verdicts
from benchmarks.cases.attention_operator import FLEX, make_case
from benchmarks.cases.case import COMPONENTS, NETWORKS, SIZES, WORK, Case, make_cases
from benchmarks.cases.contestants import find_contestants, load_adapter, offers
from benchmarks.cases.rivals import load_rival
from benchmarks.cases.verdicts import explain_adapter_fault, widen
from benchmarks.claims import formulations
from benchmarks.claims import measuring as claims
from benchmarks.history import __main__ as history
from benchmarks.history import results, trends
from benchmarks.tests import test_cases
from swin_torch import SwinBlock, WindowAttention
from swin_torch.attention import counting
from swin_torch.geometry import functional

ATTENTION = "shifted_window_attention"
SMALL = Case(ATTENTION, "small")


@pytest.mark.parametrize("stage", ["reduced", "V2 reduced"])
def test_a_formulation_that_computes_another_function_is_not_timed(stage: str) -> None:
    case = make_case(stage, 1, torch.float32)
    for name in case.formulations:
        assert case.check(name).holds
    case.mask = None
    case.check("fused")
    with pytest.raises(ValueError, match="what is timed is Swin's attention, manual is"):
        case.check("manual")


@pytest.mark.parametrize("stage", ["reduced", "V2 reduced"])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_rival_by_flex_attention_is_judged_too(stage: str) -> None:
    case = make_case(stage, 1, torch.float32)
    case.flex = flex_attention  # compiled it takes seconds
    assert case.check(FLEX).holds
    case.mask = None
    with pytest.raises(ValueError, match="what is timed is Swin's attention, flex is"):
        case.check(FLEX)


class Unmasked(TorchAdapter):
    """Shifts, and forgets the mask."""

    def shifted_window_attention(
        self, x: Tensor, params: Any, num_heads: int, window_size: int, shift_size: int
    ) -> Tensor:
        attention = self.loaded(lambda: WindowAttention(x.shape[-1], num_heads, window_size), params)
        shifted = functional.cyclic_shift(x, shift_size)
        attended = functional.shifted_window_attention(shifted, attention, window_size, 0)
        return functional.reverse_cyclic_shift(attended, shift_size)


def test_what_computes_another_function_is_named_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "load_adapter", lambda _: Unmasked())
    monkeypatch.setattr(test_cases, "explain_fault", verdicts.explain_fault.__wrapped__)
    said = (
        r"peer:timm computes another function: its shifted_window_attention is .* budgets from the oracle's"
    )
    with pytest.raises(pytest.skip.Exception, match=said):
        test_cases._skip_others(SMALL, "peer:timm")
    with pytest.raises(AssertionError, match="swin_torch computes another function"):
        test_cases._skip_others(SMALL, "swin_torch")


def test_what_raises_is_named() -> None:
    assert "computes nothing here" in explain_adapter_fault(object(), "mine", SMALL)


def test_networks_are_judged_where_padding_shows_if_they_pad() -> None:
    for size, (config, image) in NETWORKS.items():
        grids = [(image[0] / 4 / 2**stage, image[1] / 4 / 2**stage) for stage in range(len(config.depths))]
        pads = any(side % config.window_size for grid in grids for side in grid)
        assert (Case("swin_transformer", size).judged.size == "odd") == pads


def test_names_choose_what_one_expects() -> None:
    """The words of a component are in no size and no contestant, so that ``-k`` finds the component alone."""
    for case in make_cases():
        for name in find_contestants():
            for word in (*COMPONENTS, "attention", "mlp", "mask", "bias"):
                assert (word in f"{case}-{name}") == (word in case.component)
            for word in ("timm", "torchvision", "transformers", "swin_torch", "oracle"):
                assert (word in f"{case}-{name}") == (word in name)


def test_every_component_has_a_case_of_every_contestant_that_offers_it() -> None:
    found = {(p.values[0].component, p.values[1]) for p in test_cases.make_parameters(training=False)}
    for component in (*COMPONENTS, "swin_transformer"):
        for name in find_contestants():
            compiled_alike = name.endswith(":compiled") and not component.startswith("swin_")
            assert ((component, name) in found) == (offers(name, component) and not compiled_alike)


@pytest.mark.parametrize("component", [*WORK, "swin_transformer"])
def test_work_by_formula_is_what_torch_counts(component: str) -> None:
    case = Case(component, "small")
    run = load_adapter("swin_torch:plain").prepare(component, *case.arguments)
    with FlopCounterMode(display=False) as counter:
        run()
    assert counter.get_total_flops() == case.work > 0


def test_saved_bytes_are_those_of_the_model_alone() -> None:
    x, params, *sizes = Case("swin_block", "small").arguments
    run = load_adapter("swin_torch").prepare("vjp", "swin_block", np.ones_like(x), x, params, *sizes)
    found = counters.count_all(run, x.shape, True, "cpu", x.size)
    s = SIZES["small"]
    block = SwinBlock(s.channels, s.heads, s.window, 4 * s.channels)
    block.load_state_dict({name: torch.from_numpy(w) for name, w in flatten(params).items()})
    leaf = torch.from_numpy(x).requires_grad_()
    assert found["saved_bytes"] == counting.count_saved_bytes(lambda: block(leaf, s.shift), block) > 0


def test_formulations_are_what_they_are_called() -> None:
    for name in formulations.SWIN:
        adapted = formulations.Formulation(formulations.TABLE[name])
        assert explain_adapter_fault(adapted, name, SMALL) == ""
    assert "another function" in explain_adapter_fault(
        formulations.Formulation(formulations.attend_unshifted), "no shift", SMALL
    )


def test_sliding_and_global_attention_are_windows_around_a_token_and_of_the_whole_grid() -> None:
    x, _, heads, *_ = SMALL.arguments
    exact, beta = verdicts.compute_exact_and_budget(ATTENTION, widen(SMALL.arguments), "float32")
    got = formulations.Formulation(formulations.attend_sliding).shifted_window_attention(*SMALL.arguments)
    centre = slice(6, 7)  # of the true window 3 to 9
    assert deviation(got[:, centre, centre], exact[:, centre, centre], beta[:, centre, centre]).rho_max <= 8
    side = x.shape[1]
    hot = parameters.hot_parameters(parameters.window_attention_shapes(x.shape[-1], heads, side))
    asked = widen((x, hot, heads, side, 0))
    whole = formulations.Formulation(formulations.attend_globally).shifted_window_attention(*asked)
    assert deviation(whole, *verdicts.compute_exact_and_budget(ATTENTION, asked, "float32")).holds


def test_window_attention_is_linear_and_global_attention_quadratic_in_its_attention_term() -> None:
    tokens = claims.SIDES[0] ** 2
    assert claims._count_window(16 * tokens) == 16 * claims._count_window(tokens)
    assert claims._count_attending(16 * tokens) == 256 * claims._count_attending(tokens)
    for kind, formula in claims.KINDS.items():
        assert claims._count_by_torch(kind, 28) == formula(28**2) > 0
    assert min(side**2 for side in claims.SIDES) >= 4 * 2 * claims.CHANNELS


def test_timm_with_sdpa_asks_for_it_and_is_swin() -> None:
    x = Case("swin_block", "small").arguments
    for name, asks in (("peer:timm", False), ("peer:timm+sdpa", True)):
        operators = counting.count_launches(load_rival(name).prepare("swin_block", *x))
        assert any("scaled_dot_product" in operator for operator in operators) == asks
        assert explain_adapter_fault(load_rival(name), name, Case("swin_transformer", "small")) == ""


def test_results_of_another_schema_are_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text, said in (("{", "does not read"), ('{"benchmarks": []}', "has another schema")):
        (tmp_path / "2026.json").write_text(text)
        assert history.main(tmp_path) == 2
        out, err = capsys.readouterr()
        assert (said in err, err.count("\n"), out) == (True, 1, "")
    (tmp_path / "2026.json").rename(tmp_path / "gpu-2026.json")  # what make gpu keeps is no run of the cases
    assert history.main(tmp_path) == 2
    assert "a history has runs" in capsys.readouterr().err


def test_a_run_that_does_not_finish_well_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: Any) -> Any:
        file = next(word for word in command if word.startswith("--benchmark-json="))
        Path(file.partition("=")[2]).write_text("{}")
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    monkeypatch.setattr("subprocess.run", fail)
    assert results.save([]) == 1
    assert not (tmp_path / "results").exists()


def test_a_kept_run_reads_back_and_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    assert results.save(["-k", "layer_norm and small and inference"]) == 0
    (path,) = tmp_path.glob("*.json")
    run = results.read(path)
    name = "test_inference[layer_norm-small-batch1-swin_torch]"
    assert run.seconds[name] > 0
    assert run.beside[name]["launches"] == 1
    figure = trends.draw([run, run])
    assert [line.get_label() for line in figure.axes[0].get_lines()] == [
        "oracle",
        "swin_torch",
        "swin_torch:plain",
    ]


def test_what_the_oracle_is_given_is_exact_in_float32() -> None:
    for component in (*COMPONENTS, "swin_transformer"):
        given = Case(component, "small").arguments
        assert all(np.array_equal(a, b) for a, b in zip(_leaves(given), _leaves(widen(given)), strict=True))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, np.ndarray):
        return [value]
    children = (
        value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    )
    return [leaf for child in children for leaf in _leaves(child)]
