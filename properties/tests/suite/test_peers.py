"""Peers: the oracle under a peer's convention is the peer, and the suite finds their faults by itself."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import swin_properties
from conftest import heavy
from swin_properties.adapters import load
from swin_properties.adapters.contract import find_refusal
from swin_properties.adapters.implementation import Implementation
from swin_properties.adapters.peers import PEERS, base, checkout
from swin_properties.budget.precision import PRECISIONS
from swin_properties.cases.case import NetCase
from swin_properties.cases.case_v2 import NetV2Case
from swin_properties.commands.cli import main
from swin_properties.judging.implementation import load_implementation
from swin_properties.judging.one_law import EFFORTS, run_case, run_law
from swin_properties.judging.report import Known, LawResult
from swin_properties.laws.law import LAWS
from swin_properties.reports import known_failures
from swin_reference.config import convention_named
from swin_reference.parameters import hot_parameters, window_attention_shapes

INSTALLED = tuple(name for name, needs_checkout in PEERS.items() if not needs_checkout)
CHECKOUTS = tuple(name for name, needs_checkout in PEERS.items() if needs_checkout)
IMAGES = """
64x64 32x32 64x32 32x64 48x48 40x40 36x36 34x34 38x38 40x32 30x30 33x33 31x37 24x24 18x18 20x28 16x16 8x8
"""
SWEEP = tuple(tuple(map(int, image.split("x"))) for image in IMAGES.split())
FEW = ((32, 32), (36, 36), (40, 32), (18, 18), (20, 28), (16, 16), (31, 37))
"""Of the sweep, what is asked of V2 unless the profile is deep."""


@pytest.fixture(params=[*INSTALLED, *CHECKOUTS])
def peer(request: pytest.FixtureRequest) -> str:
    """A peer's import string; SWIN_OFFICIAL and SWIN_DETECTION say where the checkouts are."""
    name: str = request.param
    if name in INSTALLED:
        return f"peer:{name}"
    variable = f"SWIN_{name.removesuffix('-v2').upper()}"
    if variable not in os.environ:
        pytest.skip(f"{name} is loaded from a checkout: set {variable} to its path")
    return f"peer:{name}:{os.environ[variable]}"


def judged_in_float64(peer: str, convention: str | None = None) -> Implementation:
    adapter = load.load(peer).with_precision("float64")
    return Implementation(adapter, PRECISIONS["float64"], convention_named(convention or adapter.convention))


def asked(judged: Implementation, image: tuple[int, ...]) -> tuple[LawResult, bool]:
    """The oracle's law on a network of the sweep, and whether the convention rejects it."""
    names = "swin_transformer", "swin_features", "swin_v2_transformer"
    name = next(name for name in names if judged.offers(name))
    case = (NetV2Case if "v2" in name else NetCase)(
        batch=1,
        image=(image[0], image[1]),
        patch=(2, 2),
        window=(4, 4),
        depths=(2, 2, 2),
        heads=(2, 4, 4),
        embed_dim=16,
        classes=1000,
    )
    rejected = bool(find_refusal(name, (case.images(), None, case.config), judged.convention))
    return run_case(LAWS[f"{name}/oracle"], judged, case, str), rejected


def test_the_oracle_under_its_convention_is_the_peer_at_every_size(peer: str, deep: bool) -> None:
    judged, taken = judged_in_float64(peer), 0
    for image in SWEEP if deep or "-v2" not in peer else FEW:
        result, rejected = asked(judged, image)
        one_token = "windows of two tokens or more" in str(result.declined)
        if one_token:  # the stage's windows shrink to one token, for which official V2 gives NaN
            assert peer.startswith("peer:official-v2")
            assert image == (8, 8)
        assert result.status == ("not offered" if rejected or one_token else "holds"), (image, result)
        if rejected or one_token:
            assert len(result.declined) == 1, image
        else:
            assert result.rho is not None, image
            assert result.rho <= 1.0, image
            taken += 1
    assert taken >= 3


def test_under_another_convention_it_is_not() -> None:
    for convention, image in (("torchvision", (40, 40)), ("transformers", (64, 32)), ("detection", (32, 32))):
        assert asked(judged_in_float64("peer:timm", convention), image)[0].status == "broken"
    assert asked(judged_in_float64("peer:transformers", "canonical"), (24, 24))[0].status == "broken"
    assert asked(judged_in_float64("peer:timm", "official"), (48, 48))[0].status == "broken"  # it answers


# What the suite finds by itself.


def find_broken(peer: str, law: str, effort: str = "default") -> Any:
    """The smallest case on which a law is broken."""
    result = run_law(LAWS[law], load_implementation(peer), EFFORTS[effort], 0, str)
    assert result.status == "broken", result
    assert result.counterexample is not None
    return result.counterexample.case


def assert_holds(peer: str, law: str) -> None:
    result = run_law(LAWS[law], load_implementation(peer), EFFORTS["default"], 0, str)
    assert result.status == "holds", result
    assert result.cases > 0


def test_timm_lets_opposite_edges_see_each_other() -> None:
    for law in ("shifted_window_attention/locality", "swin_block/locality"):
        case = find_broken("peer:timm", law)
        axes = list(zip(case.grid, case.window, case.shift, strict=True))
        assert any(grid % window and shift for grid, window, shift in axes), case
        assert max(case.grid) <= 9, case
    assert_holds("peer:torchvision", "shifted_window_attention/locality")


def test_timm_on_the_pinned_grid() -> None:
    adapter = load.load("peer:timm").with_precision("float64")
    params = hot_parameters(window_attention_shapes(4, 2, 4))
    x = np.random.default_rng(0).standard_normal((1, 9, 9, 4))
    nudged = x.copy()
    nudged[0, 0, 0] += 1.0
    before, after = (adapter.shifted_window_attention(tokens, params, 2, 4, 2) for tokens in (x, nudged))
    assert np.any(before[0, 6, 0] != after[0, 6, 0])


def test_transformers_carries_state_and_drops_no_mlp_branch() -> None:
    case = find_broken("peer:transformers", "swin_transformer/other-sizes")
    assert (case.batch, len(case.depths)) == (1, 1), case
    assert max(case.image) <= 2, case
    for law in ("swin_block/drop-path", "swin_block/dropped"):
        case = find_broken("peer:transformers", law, "quick")
        assert (case.grid, case.window, case.shift) == ((1, 1), (1, 1), (0, 0)), case


@heavy
def test_the_other_peers_carry_no_state_and_drop_both_branches() -> None:
    for law in ("swin_block/drop-path", "swin_block/dropped"):
        assert_holds("peer:timm", law)
        assert_holds("peer:torchvision", law)
    assert_holds("peer:timm", "swin_stage/other-sizes")


def test_a_model_is_kept_until_a_new_case_begins() -> None:
    adapter = load.load("peer:timm")
    first = adapter.made(adapter.swin.PatchMerging, dim=2)
    assert adapter.made(adapter.swin.PatchMerging, dim=2) is first
    adapter.fresh()
    assert adapter.made(adapter.swin.PatchMerging, dim=2) is not first


@pytest.mark.parametrize("name", [name for name in INSTALLED if "-v2" not in name])
@pytest.mark.parametrize(
    "precision",
    ["float32", *(pytest.param(name, marks=heavy) for name in ("bfloat16", "float16", "float64"))],
)
def test_a_peer_computes_in_every_precision(name: str, precision: str) -> None:
    asked = {"only": "swin_block/branches", "dtype": precision, "effort": "quick"}
    (result,) = swin_properties.check(f"peer:{name}", **asked).results
    assert result.status == "holds", result


@pytest.mark.parametrize("name", [name for name in INSTALLED if "-v2" in name])
@pytest.mark.parametrize(
    "precision", ["float32", *(pytest.param(name, marks=heavy) for name in ("float64", "bfloat16"))]
)
def test_a_peer_of_v2_computes_in_every_precision(name: str, precision: str) -> None:
    asked = {"only": "swin_v2_block/branches", "dtype": precision, "effort": "quick"}
    (result,) = swin_properties.check(f"peer:{name}", **asked).results
    assert result.status == "holds", result


NAN = "continuous_position_bias_table/oracle"
TWICE = "cosine_window_attention/finite-mask"
TRANSPOSED = "swin_v2_features/transpose"
POSITIONS = "swin_v2_transformer/oracle"
FOUND_IN_V2 = [
    ("torchvision-v2", NAN, "window=1x2"),
    ("transformers-v2", TWICE, "grid=2x2 window=2x2 batch=500"),
    ("transformers-v2", TRANSPOSED, "image=4x8 window=4x4 depths=2 embed_dim=4 batch=21"),
    ("transformers-v2", POSITIONS, "image=2x2 window=2x2 depths=2 position_embedding=1 batch=2 classes=500"),
]
"""Peers of V2, laws that they break, and a case on which they do, while timm's does not."""


@pytest.mark.parametrize(("name", "law", "words"), FOUND_IN_V2)
def test_a_finding_in_v2_is_where_it_was(name: str, law: str, words: str) -> None:
    case = LAWS[law].cases.kind.parse(words)
    assert run_case(LAWS[law], load_implementation(f"peer:{name}"), case, str).status == "broken"
    if law != POSITIONS:  # which timm's does not take
        assert run_case(LAWS[law], load_implementation("peer:timm-v2"), case, str).status == "holds"


@pytest.mark.parametrize(("name", "law", "_"), FOUND_IN_V2)
def test_a_finding_in_v2_is_found_without_being_looked_for(name: str, law: str, _: str, deep: bool) -> None:
    if not deep:
        pytest.skip("a search at default effort takes a minute: the profile deep")
    case = find_broken(f"peer:{name}", law)
    assert {
        NAN: lambda: 1 in case.window,
        TWICE: lambda: case.window == case.grid,
        TRANSPOSED: lambda: case.image[0] != case.image[1],
        POSITIONS: lambda: case.position_embedding,
    }[law](), case


def test_torchvisions_v2_is_not_a_number_in_half_precision() -> None:
    law = "shifted_cosine_window_attention/padded"
    (result,) = swin_properties.check(
        "peer:torchvision-v2", only=law, dtype="float16", effort="quick"
    ).results
    assert result.counterexample is not None
    assert "NaN" in result.counterexample.seen


# Known failures of a peer.


@pytest.mark.parametrize("name", PEERS)
def test_declared_failures_have_a_reason_and_a_place(name: str) -> None:
    for entry in known_failures.read_shipped(f"peer:{name}"):
        assert entry.reason
        assert (entry.link or "").startswith("https://github.com/")


def test_declared_failures_are_applied_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    law = "shifted_window_attention/hard-mask"
    words = ["check", "peer:torchvision", "--only", law, "--case", "grid=2x4 window=2x2 shift=0x1"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "peer:torchvision may break 4 laws, for the reasons in" in out
    assert "known failure: The mask adds -100" in out
    assert ": shifted_window_attention/hard-mask" in out
    assert main(["check", "peer:transformers", "--only", "swin_block/dropped", "--case", ""]) == 1


def test_only_the_users_own_known_failures_are_stale() -> None:
    report = swin_properties.check("peer:torchvision", only="mlp/oracle", effort="quick")
    entry = Known("mlp/oracle", "so")
    assert known_failures.mark(report, [], [entry]).stale == ()
    assert known_failures.mark(report, [entry], []).stale == (entry,)


# Bad input: one sentence, exit code 2.


def refused(capsys: pytest.CaptureFixture[str], words: str) -> str:
    assert main(["check", words, "--only", "mlp/oracle", "--in-process"]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    return err


def test_a_peer_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "got 'tim': try 'timm'" in refused(capsys, "peer:tim")
    assert "got '': use one of these" in refused(capsys, "peer:")
    assert "write peer:official:PATH" in refused(capsys, "peer:official")
    assert "is an installed package, got the path x" in refused(capsys, "peer:timm:x")
    assert "models/swin_transformer.py, " in refused(capsys, f"peer:official:{tmp_path}")
    assert "has no such file: check the path" in refused(capsys, f"peer:detection:{tmp_path}/absent")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import no_such_module", "raised ModuleNotFoundError: No module named 'no_such_module'"),
        ("def (", "raised SyntaxError"),
        ("raise SystemExit('stop')", "raised SystemExit: stop"),
        ("x = 1", "lacks SwinTransformerBlock, BasicLayer"),
    ],
)
@pytest.mark.parametrize("name", CHECKOUTS)
def test_a_checkout_with_another_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, code: str, sentence: str
) -> None:
    file = tmp_path / "swin_transformer.py"
    file.write_text(code)
    assert sentence in refused(capsys, f"peer:{name}:{file}")


def test_a_file_that_is_no_python(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "swin_transformer.txt"
    file.write_bytes(b"\xff")
    assert "a checkout's file is Python" in refused(capsys, f"peer:official:{file}")


def test_the_other_checkout(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "swin_transformer.py"
    empty = "\n".join(f"class {name}: pass" for name in checkout.CLASSES)
    block = "class SwinTransformerBlock:\n    def __init__(self, dim{}): pass\n"
    for name, other, argument in (
        ("official", "detection", ""),
        ("detection", "official", ", input_resolution"),
    ):
        file.write_text(f"{empty}\n{block.format(argument)}")
        assert f"it is of peer:{other}" in refused(capsys, f"peer:{name}:{file}")


def test_a_peer_that_is_not_installed_or_too_old(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions: dict[str, Any] = {"timm": "0.9.2"}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return str(versions[name])

    monkeypatch.setattr(base.importlib.metadata, "version", version)
    assert "transformers is not: pip install 'swin-oracle[peers]'" in refused(capsys, "peer:transformers")
    assert "timm is judged from version 1.0.29 to below 2, got 0.9.2" in refused(capsys, "peer:timm")
    versions["timm"] = "2.0.0"
    assert "got 2.0.0: install one of these" in refused(capsys, "peer:timm")
    assert "got 2.0.0: install one of these" in refused(capsys, "swin_properties.adapters.peers.timm")


def test_a_peer_without_torch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "swin_properties.adapters.peers.timm", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "a peer is judged with torch, " in refused(capsys, "peer:timm")


# What loading a peer leaves behind.


def test_stand_ins_leave_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "swin.py"
    file.write_text(
        "import sys, timm.models.layers, made_up.part\nfrom made_up.part import x\n"
        "sys.path.append('made up')\nprint('noise')\n"
    )
    timm = sys.modules.get("timm")
    stand_ins = {
        "timm": {},
        "timm.models": {},
        "timm.models.layers": {},
        "made_up": {},
        "made_up.part": {"x": 3},
    }
    module = checkout.load_file(file, "swin", stand_ins)
    assert module.x == 3
    assert sys.modules.get("timm") is timm
    assert not {"made_up", "made_up.part"} & set(sys.modules)
    assert "made up" not in sys.path


def test_operators_are_declared_where_torchvision_lacks_them_and_it_is_said() -> None:
    plain = subprocess.run(
        [sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False
    )
    lacks = "torchvision::nms" in plain.stderr
    words = [
        sys.executable,
        "-m",
        "swin_properties.commands.cli",
        "check",
        "peer:torchvision",
        "--only",
        "mlp/gelu",
    ]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert ("compiled operators do not load" in run.stderr) is lacks
    assert sum(line.startswith("swin-oracle:") for line in run.stderr.splitlines()) == int(lacks)
