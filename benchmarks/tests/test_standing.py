"""The goals as data, and what a measurement of given times says about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from swin_reference.config import SwinConfig, swin_b, swin_t
from swin_timing.interleaved import Timings

from benchmarks.cases import attention_operator, operations
from benchmarks.claims import __main__ as claims_main
from benchmarks.claims import measuring as claims
from benchmarks.machine import description
from benchmarks.pages import drawing, markdown
from benchmarks.standing import __main__ as standing
from benchmarks.standing import counts, goals, kept, measuring, page, picture, products
from benchmarks.standing.goals import Goal, Measurement

GOAL = Goal(("inference",), ("peer:timm", "peer:torchvision"), 1.25, 1.5, 1.75)
MEASUREMENTS = {"inference": Measurement("inference", "Swin-T", "inference", "T-224", 2)}
QUIET, DISTURBED = (1.0, 1.05), (1.0, 2.0)


def times(ours: float, theirs: float, anchor: tuple[float, ...] = QUIET) -> dict[str, Timings]:
    """Two of ours, two rivals of which torchvision is the slower, and a fast one that is none."""
    given = {"swin_torch:plain": 9.0, "swin_torch": ours, "peer:timm": theirs, "peer:transformers": 0.1}
    each = {name: (2 * seconds, seconds) for name, seconds in given.items()}
    return {"inference": Timings(each | {"peer:torchvision": (8.0, 8.0)}, anchor)}


@pytest.mark.parametrize(
    ("theirs", "reached"), [(1.2, "below must"), (1.25, "must"), (1.6, "aim"), (1.75, "moonshot")]
)
def test_the_fastest_of_ours_is_compared_with_the_fastest_rival_of_the_goal(
    theirs: float, reached: str
) -> None:
    (row,) = page.make_rows([GOAL], MEASUREMENTS, times(1.0, theirs))
    assert row[1:3] == ["swin_torch 1000.0", f"peer:timm {1000 * theirs:.1f}"]
    assert row[3].startswith(f"{theirs:.2f}x (")
    assert row[5] == reached


def test_a_disturbed_machine_makes_it_inconclusive() -> None:
    (row,) = page.make_rows([GOAL], MEASUREMENTS, times(1.0, 2.0, DISTURBED))
    assert row[5] == "inconclusive (anchor's spread 100%); as it is: moonshot"


def test_what_the_machine_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    needy = Measurement(
        "inference", "Swin-T", "inference", "T-224", 2, precision="bfloat16", needs="amx_bf16"
    )
    monkeypatch.setattr(description, "describe", lambda: {"instructions": ["avx2"]})
    (row,) = page.make_rows([GOAL], {"inference": needy}, {})
    assert row[5] == "needs amx_bf16"
    monkeypatch.setattr(description, "describe", lambda: {"instructions": ["amx_bf16"]})
    assert measuring.explain_lack(needy) == ""


def test_a_picture_shows_ours_at_its_ratio_and_the_rivals_on_one_axis() -> None:
    standing = kept.collect(MEASUREMENTS, [GOAL], times(1.0, 1.6))
    (axes,) = picture.draw(standing).axes
    at = [x for line in axes.get_lines() for x in np.asarray(line.get_xdata(), float)]
    ours, theirs, other_of_ours, other_rival = 1.6, 1.0, 1.6 / 9, 1.6 / 8
    for ratio in (ours, theirs, other_of_ours, other_rival, GOAL.must, GOAL.aim):
        assert ratio in at
    assert 16 not in at  # transformers is no rival of this goal
    assert axes.get_xlim()[0] < 1.6 / 9


def test_what_was_measured_reads_back(tmp_path: Path) -> None:
    standing = kept.collect(MEASUREMENTS, [GOAL], times(1.0, 1.6))
    kept.write(standing, tmp_path / "standing.json")
    again = kept.read(tmp_path / "standing.json")
    assert [row.seconds for row in again.rows] == [row.seconds for row in standing.rows]
    assert (again.date, again.machine) == (standing.date, standing.machine)
    (tmp_path / "standing.json").write_text('{"date": ""}')
    with pytest.raises(ValueError, match="measure again"):
        kept.read(tmp_path / "standing.json")


def test_the_committed_picture_is_drawn_from_the_committed_results() -> None:
    assert drawing.render(picture.draw(kept.read()), "standing") == drawing.find_path("standing").read_text()


def test_the_goals_of_the_file_are_for_measurements_it_has() -> None:
    measurements, found, limits = goals.read()
    assert {limit.count for limit in limits} == counts.COUNTS.keys()
    assert {name for goal in found for name in goal.measurements} == measurements.keys()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("goals = 1", "goals are measurements and goals in TOML"),
        (
            "measurements = {}\n[[goals]]\nmeasurements = ['x']\nagainst = []\n"
            "must = 1\naim = 1\nmoonshot = 1",
            "got x",
        ),
        ("[measurements.x]\nwhat = ''\nkind = 'odd'\nsize = ''\nbatch = 1", "kind is one of"),
        (
            "measurements = {}\n[[goals]]\nmeasurements = []\nagainst = []\nmust = 2\naim = 1\nmoonshot = 1",
            "order them",
        ),
    ],
)
def test_goals_that_are_none_are_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "goals.toml").write_text(text)
    with pytest.raises(ValueError, match=said):
        goals.read(tmp_path / "goals.toml")


def test_an_unknown_measurement_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert standing.main(["no-such"]) == 2
    assert "got no-such: use these" in capsys.readouterr().err


@pytest.mark.parametrize("config", [swin_t, swin_b])
def test_the_products_alone_are_all_linear_layers(config: SwinConfig) -> None:
    layers = [operations.count_linear(*sizes) for sizes in products.find_linear_layers(config, (224, 224), 3)]
    grids = [(56 // 2**stage) ** 2 for stage in range(4)]
    attending = [
        depth * operations.count_attending(3 * tokens, channels, 49)
        for tokens, depth, channels in zip(grids, config.depths, config.channels, strict=True)
    ]
    assert sum(layers) + sum(attending) == operations.count_network(config, (224, 224), 3)


def test_products_alone_are_timed_beside_float32_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_choose_names", lambda _: [])
    one = goals.Measurement("a", "Swin-T", "training", "T-224", 1)
    others = replace(one, precision="bfloat16"), replace(one, autocast=True)
    assert list(measuring.make_runs(one)) == list(products.BY)
    assert [list(measuring.make_runs(other)) for other in others] == [[], []]


def test_a_rival_that_does_not_compile_is_left_out_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(attention_operator.Case, "run_flex", fail)
    one = goals.Measurement("a", "the operator", "operator", "reduced", 1, beside=("unshifted", "flex"))
    refused: dict[str, str] = {}
    runs = measuring.make_runs(one, lambda who, why: refused.update({who: str(why)}))
    assert list(runs) == ["fused", "manual", "sdpa", "unshifted"]
    assert refused == {"flex": "no compiler"}


def test_the_page_says_what_the_products_leave_to_win() -> None:
    alone = dict(zip(products.BY, [(3.5,), (3.0,)], strict=True))
    times = {"swin_torch": (4.0,), "peer:timm": (6.0,), "peer:x": (8.0,), **alone}
    said = list(page._describe_limits({"inference": Timings(times, (1.0,)), "operator": Timings({}, (1.0,))}))
    assert said == [
        "inference: the linear layers take 3500.0 ms (products alone, PyTorch's) and 3000.0 ms (products "
        "alone, swin_torch's): by the faster of these, no ratio to peer:timm can exceed 2.00x."
    ]


def test_some_measurements_are_printed_and_the_page_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "make_runs", lambda _: {"fused": lambda: None, "sdpa": lambda: None})
    before = markdown.PAGE.read_text()
    assert standing.main(["operator-stage1"]) == 0
    assert "| shifted window attention, stage 1" in capsys.readouterr().out
    assert markdown.PAGE.read_text() == before


def test_a_page_is_written_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n")
    markdown.put("x", "new", page)
    assert page.read_text() == "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"
    with pytest.raises(ValueError, match="each once"):
        markdown.put("y", "new", page)


def test_claims_of_another_function_are_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        claims, "explain_adapter_fault", lambda _, name, __: f"{name} computes another function"
    )
    before = markdown.PAGE.read_text()
    assert claims_main.main() == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert markdown.PAGE.read_text() == before
