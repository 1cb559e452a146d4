"""Conventions: the oracles and swin_torch agree under each, and an implementation's own is found."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import swin_reference
from conftest import heavy
from swin_properties import check
from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.contract import find_refusal
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.budget.within import Outcome, within_budget
from swin_properties.cases import recipes
from swin_properties.identify import identify
from swin_properties.identify.sizes import FEW, SWEEP, SmallNetwork
from swin_properties.judging import run
from swin_properties.judging.implementation import load_implementation
from swin_reference.config import CONVENTIONS, DECISIONS, Convention, SwinConfig, convention_named
from swin_reference.config_v2 import SwinV2Config
from swin_reference.conventions import CONVENTIONS_V2
from swin_reference.parameters import hot_parameters, parameter_shapes
from swin_reference.parameters_v2 import parameter_v2_shapes
from swin_reference.sizes import pair

import swin_torch

LEAKS = {f"shifted_window_attention/{law}" for law in ("hard-mask", "true-windows", "hull", "extreme-logits")}
"""What is broken under every convention whose mask is a number, some of it only on more cases than here."""
AFTER_ROLL = {
    *(f"shifted_window_attention/{law}" for law in ("locality", "mean", "padded", "padding")),
    "swin_stage/receptive-field",
}
"""What is broken besides where padding comes after the roll: tokens of opposite edges meet."""


SMALL = [size for size in SWEEP if size.image[0] * size.image[1] <= 40 * 32]
"""The smaller sizes of the sweep: every decision is met among them."""


def network(size: SmallNetwork, convention: str) -> tuple[Any, Any, SwinConfig]:
    """Images, hot parameters and the configuration of one size under a convention."""
    config = replace(size.config, convention=convention, num_classes=1000)
    images = recipes.tokens("generic", (1, *size.image, 3), np.random.default_rng(0)).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images), hot_parameters(parameter_shapes(config)), config


def rejected(size: SmallNetwork, convention: str) -> str:
    images = np.zeros((1, 3, *size.image))
    return find_refusal("swin_transformer", (images, None, size.config), convention_named(convention))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_both_oracles_and_swin_torch_agree_or_reject_at_every_size(convention: str) -> None:
    adapter = swin_torch.Adapter("float64", convention=convention)
    ran = 0
    for size in SMALL:
        if why := rejected(size, convention):
            assert convention in why
            with pytest.raises(ValueError, match=convention):
                swin_reference.swin_transformer(*network(size, convention))
            plain = network(size, "canonical")
            with pytest.raises((ValueError, RuntimeError)):
                adapter.swin_transformer(*plain)
            continue
        ran += 1
        args = network(size, convention)
        expected = swin_reference.swin_transformer(*args)
        for other in (SimpleNamespace(swin_transformer=swin_reference.direct.swin_transformer), adapter):
            outcome = within_budget(
                lambda swin, args=args, expected=expected: (swin.swin_transformer(*args), expected),
                other,
                swin_reference,
                PRECISIONS["float64"],
            )
            assert outcome.holds, size
    assert ran >= 4


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("variants", [swin_reference.adapters, swin_torch.adapters], ids=["oracle", "torch"])
def test_a_few_sizes_find_the_convention_alone(variants: Any, name: str) -> None:
    judged = Implementation(getattr(variants, name), PRECISIONS[getattr(variants, name).precision])
    found = identify.identify(judged, FEW)
    assert found.fits == [name]
    assert set(found.separated) == set(CONVENTIONS) - {name}


@pytest.mark.parametrize("name", CONVENTIONS_V2)
@pytest.mark.parametrize("who", ["oracle", "torch"])
def test_a_few_sizes_find_the_convention_of_v2_alone(who: str, name: str) -> None:
    variants = {
        "oracle": swin_reference.under(CONVENTIONS_V2[name]),
        "torch": swin_torch.Adapter("float64", convention=name),
    }
    only_v2 = SimpleNamespace(swin_v2_transformer=variants[who].swin_v2_transformer)
    found = identify.identify(Implementation(only_v2, PRECISIONS["float64"]), FEW)
    assert found.fits == [name]
    assert set(found.separated) == set(CONVENTIONS_V2) - {name}


@pytest.mark.parametrize("name", CONVENTIONS_V2)
def test_both_oracles_and_swin_torch_agree_on_v2_or_reject_at_every_size(name: str) -> None:
    ran, adapter = 0, swin_torch.Adapter("float64", convention=name)
    sizes = [size for size in SMALL if size.image[0] * size.image[1] <= 20 * 20]
    for size in [*sizes, SmallNetwork((17, 19))]:
        config = replace(size.config_v2, convention=name)
        images, _, _ = network(size, "canonical")
        params = hot_parameters(parameter_v2_shapes(size.config_v2))
        if find_refusal("swin_v2_transformer", (images, params, config), CONVENTIONS_V2[name]):
            for swin in (swin_reference, adapter):
                with pytest.raises(ValueError, match=name):
                    swin.swin_v2_transformer(images, params, config)
            continue
        ran += 1
        expected = swin_reference.swin_v2_transformer(images, params, config)
        for other in (swin_reference.direct, adapter):
            assert compare_logits(other, expected, images, params, config).holds, size
    assert ran >= 2


def compare_logits(other: Any, expected: Any, *args: Any) -> Outcome:
    """Compares an implementation's logits of a Swin V2 with the oracle's, in float64."""

    def ask(swin: Any) -> Any:
        return swin.swin_v2_transformer(*args), expected

    return within_budget(ask, other, swin_reference, PRECISIONS["float64"])


def test_windows_decided_for_the_configuration_are_kept_for_images_of_every_size() -> None:
    """Each configuration's windows and shifts, on images of the sizes of the others."""
    convention = CONVENTIONS_V2["transformers-v2"]
    adapter = swin_torch.Adapter("float64", convention=convention.name)
    built = [size for size in SMALL if size.image in ((32, 32), (20, 28), (18, 18), (16, 16), (16, 8))]
    differs = 0
    for of_network in built:
        config = replace(of_network.config_v2, convention=convention.name)
        params = hot_parameters(parameter_v2_shapes(of_network.config_v2))
        for of_image in built:
            images, _, _ = network(of_image, "canonical")
            expected = swin_reference.swin_v2_transformer(images, params, config)
            found = compare_logits(adapter, expected, images, params, config)
            assert found.holds, (of_network, of_image)
            by_grid = swin_reference.under(convention_named("transformers-v2,grid=run-time"))
            apart = np.abs(by_grid.swin_v2_transformer(images, params, config) - expected).max()
            differs += apart > 1e-3
    assert differs >= 10


@pytest.mark.parametrize("name", ["timm,grid=run-time", "window=shrink-both", "window=shrink-height"])
@pytest.mark.parametrize("version", [1, 2])
def test_swin_torch_refuses_an_image_that_asks_for_other_windows(name: str, version: int) -> None:
    """Its windows are fitted once: images whose grids take the same windows are right, others refused."""
    size = SmallNetwork((24, 24))
    config = replace(size.config_v2 if version == 2 else size.config, convention=name)
    callable_ = "swin_v2_transformer" if version == 2 else "swin_transformer"
    shapes = parameter_v2_shapes(config) if isinstance(config, SwinV2Config) else parameter_shapes(config)
    params, adapter = hot_parameters(shapes), swin_torch.Adapter("float64", convention=name)
    same, *others = (network(SmallNetwork(image), "canonical")[0] for image in ((22, 24), (40, 40), (16, 16)))
    expected = getattr(swin_reference, callable_)(same, params, config)
    got = getattr(adapter, callable_)(same, params, config)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    for images in others:
        with pytest.raises(ValueError, match="windows are fitted to grids when a network is built"):
            getattr(adapter, callable_)(images, params, config)


def test_an_undeclared_convention_is_found_and_said() -> None:
    timm = swin_torch.adapters.timm
    undeclared = SimpleNamespace(swin_transformer=timm.swin_transformer, mlp=timm.mlp, precision="float32")
    report = check(undeclared, only="mlp/per-token", effort="quick")
    assert (report.convention, report.chosen) == ("timm", "identified")
    without = SimpleNamespace(mlp=timm.mlp, precision="float32")
    report = check(without, only="mlp/per-token", effort="quick")
    assert (report.convention, report.chosen) == ("canonical", "assumed")
    assert check("swin_torch", only="mlp/per-token", effort="quick").chosen == "declared"


def test_where_no_convention_fits_the_decision_that_explains_is_named() -> None:
    odd = replace(convention_named("canonical"), name="odd", image="drop")
    swin = swin_reference.under(odd)
    odd_one = SimpleNamespace(swin_transformer=swin.swin_transformer, precision="float64")
    found = identify.identify(Implementation(odd_one, PRECISIONS["float64"]), [SmallNetwork((31, 37))])
    assert found.fits == []
    assert found.answers[0].decisions == (
        "canonical, but rows and columns of the image that fill no patch are dropped"
    )


def test_what_no_decisions_explain_is_said() -> None:
    def scaled(*args: Any) -> Any:
        return 1.001 * swin_reference.swin_transformer(*args)

    wrong = SimpleNamespace(swin_transformer=scaled, precision="float64")
    found = identify.identify(Implementation(wrong, PRECISIONS["float64"]), [SmallNetwork((16, 16))])
    assert found.answers[0].follows == ()
    assert found.answers[0].decisions == ""


@pytest.mark.parametrize(("convention", "findings"), [("torchvision", LEAKS), ("timm", LEAKS | AFTER_ROLL)])
@pytest.mark.parametrize("laws", ["shifted_window_attention/*", "swin_stage/*"])
def test_under_a_convention_the_oracle_breaks_the_laws_of_its_findings_and_no_other(
    convention: str, findings: set[str], laws: str
) -> None:
    request = run.make_request(convention, laws, effort="quick")
    judged = load_implementation(getattr(swin_reference.adapters, convention))
    report = run.ask_laws(request, run.InProcess(request, judged, lambda *_: ""), run.Watcher())
    broken = {result.law for result in report.of("broken")}
    assert broken <= findings
    assert len(report.of("holds")) >= 5
    if laws.startswith("shifted"):
        assert "shifted_window_attention/hard-mask" in broken
        assert ("shifted_window_attention/locality" in broken) == (convention == "timm")


def test_what_a_convention_rejects_must_be_rejected() -> None:
    official = convention_named("official")
    x = np.ones((1, 3, 4, 2))
    parameters = hot_parameters(swin_reference.parameters.merging_shapes(2))
    with pytest.raises(Declined, match="even sides"):
        Implementation(swin_reference.adapters.official, convention=official).patch_merging(x, parameters)
    with pytest.raises(
        BadAnswer, match="returned a result where the official convention raises an error: it merges"
    ):
        Implementation(swin_torch.adapters.canonical, convention=official).patch_merging(x, parameters)


def test_what_an_adapter_declines_is_counted_and_said() -> None:
    def declines(*args: Any) -> str | None:
        return None if isinstance(args[2], int) else "windows are square here"

    square = SimpleNamespace(
        window_partition=swin_reference.window_partition, declines=declines, precision="float64"
    )
    report = check(square, only="window_partition/*", effort="quick")
    assert report.exit_code == 0
    assert list(report.declined) == ["windows are square here"]
    assert all(result.cases for result in report.of("holds"))


def test_conventions_are_data_that_is_checked() -> None:
    with pytest.raises(
        ValueError, match="shift is decided as one of 'min', 'axis', 'never', 'height', got 'both'"
    ):
        Convention("mine", shift="both")
    with pytest.raises(ValueError, match="a mask adds a negative number, got mask_value=0"):
        Convention("mine", mask_value=0.0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["check", "swin_torch", "--convention", "tim"], "got 'tim': use 'timm'"),
        (["identify", "swin_reference.windows"], "offers neither swin_transformer nor swin_features"),
        (["identify", "no_such_swin"], "No module named 'no_such_swin'"),
    ],
)
def test_bad_words_are_one_sentence(words: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "swin_properties.commands.cli", *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert sentence in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_the_command_prints_the_sizes_that_tell_and_the_verdict() -> None:
    command = [
        sys.executable,
        "-m",
        "swin_properties.commands.cli",
        "identify",
        "swin_torch:adapters.torchvision",
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert run.stdout.rstrip().endswith("swin_torch:adapters.torchvision: torchvision fits")
    assert "\ntimm differs at 40x40" in run.stdout
    judged = load_implementation("swin_torch:adapters.torchvision")
    assert judged.convention.name == "torchvision"


def test_a_convention_is_a_name_with_changes_or_an_object() -> None:
    never = convention_named("timm,shift=never")
    assert replace(never, name="timm", shift="axis") == CONVENTIONS["timm"]
    assert convention_named("image=drop") == replace(
        CONVENTIONS["canonical"], name="image=drop", image="drop"
    )
    assert convention_named(replace(CONVENTIONS["detection"], name="mine")) is CONVENTIONS["detection"]
    assert convention_named(str(convention_named(never).name)) == never
    adapter = SimpleNamespace(
        **vars(swin_reference.variant(convention="torchvision"))
        | {"convention": replace(CONVENTIONS["torchvision"], name="mine")}
    )
    report = check(adapter, only="swin_transformer/oracle", effort="quick")
    assert (report.convention, report.chosen, report.exit_code) == ("torchvision", "declared", 0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("tim", "got 'tim': use 'timm'"),
        ("timm,shift", "got 'shift': write decision=value"),
        ("timm,shift=never,shift=min", "each once, got 'shift=min'"),
        ("timm,shift=maybe", "got 'maybe': use one of these"),
        ("mask_value=x", "a mask adds a number, got mask_value=x"),
        ("mask_value=3", "a mask adds a negative number"),
        (3, "a convention is a name, got 3"),
    ],
)
def test_what_is_no_convention_is_one_sentence(words: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        convention_named(words)


def test_decisions_that_no_named_convention_has_are_what_it_is_judged_by() -> None:
    mixed = convention_named("torchvision,shift=never")
    functions = vars(swin_reference.under(mixed))
    adapter = SimpleNamespace(precision="float64", swin_transformer=functions["swin_transformer"])
    judged = load_implementation(adapter)
    assert judged.convention.shift == "never"
    assert judged.convention.image == "drop"
    assert judged.chosen == "identified as decisions that no named convention has"
    assert convention_named(judged.convention.name) == judged.convention


RARE = (
    "padded_keys=hidden",
    "pad_side=both",
    "window=shrink-axis,small_table=first",
    "timm,grid=run-time,padded_keys=hidden,pad_side=both,small_table=first",
)
"""Decisions that no named convention takes."""
TINY = [size for size in SWEEP if size.image in ((12, 12), (10, 8), (6, 6))]


@pytest.mark.parametrize("name", RARE)
def test_both_oracles_agree_under_rare_decisions(name: str) -> None:
    convention = convention_named(name)
    plain = replace(convention, padded_keys="attend", pad_side="end", small_table="centre")
    for size in TINY:
        args = network(size, name)
        expected = swin_reference.swin_transformer(*args)
        np.testing.assert_allclose(
            swin_reference.direct.swin_transformer(*args),
            expected,
            rtol=0,
            atol=1e-12 * np.abs(expected).max(),
        )
        assert np.abs(swin_reference.under(plain).swin_transformer(*args) - expected).max() > 1e-3


def test_a_full_table_under_a_small_window_is_read_in_the_middle() -> None:
    """A stage of a window that shrinks gives the same with the full table and with its middle."""
    rng = np.random.default_rng(0)
    full = hot_parameters(swin_reference.parameters.stage_shapes(4, 2, 2, (4, 3), 8, False))
    x = rng.standard_normal((2, 3, 2, 4))
    small = {"blocks": [dict(block) for block in full["blocks"]]}
    for block in small["blocks"]:
        table = block["attn"]["relative_position_bias_table"].reshape(7, 5, 2)[1:6, 1:4].reshape(-1, 2)
        block["attn"] = block["attn"] | {"relative_position_bias_table": table}
    for oracle in (swin_reference, swin_reference.direct):
        swin = oracle.under(convention_named("window=shrink-axis"))
        by_full, by_small = (swin.swin_stage(x, params, 2, 2, (4, 3)) for params in (full, small))
        np.testing.assert_allclose(by_full, by_small, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [RARE[0], *(pytest.param(name, marks=heavy) for name in RARE[1:3])])
def test_check_and_identify_find_rare_decisions(name: str) -> None:
    swin = swin_reference.under(convention_named(name))

    def swin_transformer(images: Any, params: Any, config: SwinConfig) -> Any:
        tables = [stage["blocks"][0]["attn"]["relative_position_bias_table"] for stage in params["layers"]]
        if "small_table" in name and {len(table) for table in tables} != {
            (2 * pair(config.window_size)[0] - 1) ** 2
        }:
            raise ValueError("tables are those of the full window")
        return swin.swin_transformer(images, params, config)

    adapter = SimpleNamespace(precision="float64", swin_transformer=swin_transformer)
    found = load_implementation(adapter)
    decision, _, value = name.rpartition(",")[2].partition("=")
    assert getattr(found.convention, decision) == value
    assert found.chosen == "identified as decisions that no named convention has"
    (answer,) = identify.identify(found, [SmallNetwork((12, 12))]).answers
    assert DECISIONS[decision][value] in answer.decisions


def test_a_crash_at_some_sizes_is_no_rejection() -> None:
    """What crashes where official rejects, and differs from official elsewhere, is not judged as official."""
    official = swin_reference.adapters.official

    def crashes(images: Any, params: Any, config: Any) -> Any:
        logits = official.swin_transformer(images, params, config)
        return logits if images.shape[2] == images.shape[3] == 32 else 1.5 * logits

    adapter = SimpleNamespace(precision="float64", swin_transformer=crashes)
    found = load_implementation(adapter)
    assert found.convention.name == "canonical"
    assert found.chosen == "assumed: it follows none"


def test_swin_torch_says_which_decisions_it_does_not_take() -> None:
    with pytest.raises(ValueError, match="pad_side=end, got pad_side=both"):
        swin_torch.Adapter(convention="pad_side=both")
    with pytest.raises(ValueError, match="padded_keys=attend, got padded_keys=hidden"):
        load_implementation("swin_torch", convention="timm,padded_keys=hidden")
