"""A recording holds the facts of a report of any version, and each difference between two is found."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import swin_properties
from studies.compare_verdicts import ROOT, main

MAIN = """
import json, sys
from pathlib import Path

def main():
    name, out = sys.argv[2], sys.argv[sys.argv.index("--json") + 1]
    with open("asked.txt", "a") as asked:
        print(*sys.argv[1:-2], file=asked)
    found = json.loads(Path("reports.json").read_text()).get(name)
    if found is None:
        print(f"swin-oracle: {name} does not load", file=sys.stderr)
        return 2
    Path(out).write_text(json.dumps(found))
    return found["exit_code"]
"""
RHO = 0.6180339887498949


def old_report(exit_code: int = 1) -> dict[str, Any]:
    """A report of the schema's first version, in which one law fell."""
    law = {"missing": [], "declined": 0, "counterexample": None}
    fall = {
        "case": "grid=1x2 window=1x2",
        "seen": "2 of 4 elements differ, first at (0, 1): got -2, expected 0",
    }
    return {
        "schema": 1,
        "exit_code": exit_code,
        "precision": "float32",
        "convention": "canonical",
        "convention_chosen": "as asked",
        "diagnosis": "An index is wrong [index-xy; seen: somewhere]",
        "catches": "a pass here would have caught 1 of the 2 planted bugs; not: relu",
        "laws": [
            {"name": "mlp/gelu", "status": "held", "cases": 5, "rho": RHO, **law},
            {"name": "mlp/oracle", "status": "fell", "cases": 2, "rho": None, **law, "counterexample": fall},
            {
                "name": "mlp/gradient",
                "status": "not offered",
                "cases": 0,
                "rho": None,
                **law,
                "missing": ["vjp"],
            },
        ],
    }


def new_report() -> dict[str, Any]:
    """The same facts in other words and fields."""
    report = old_report() | {"schema": 2, "convention_chosen": "declared"}
    report["cause"] = report.pop("diagnosis").replace("An index is wrong", "It confuses the index")
    for law, status in zip(report["laws"], ("holds", "broken", "not offered"), strict=True):
        law["status"] = status
    report["laws"][1]["counterexample"]["seen"] = "at (0, 1): expected 0, got -2; 2 of 4 elements"
    return report


OLD_KILLS = {
    "default": {"float64": {"relu": [], "index-xy": ["mlp/gelu"]}, "float32": {"relu": ["mlp/gelu"]}}
}
OLD_GRADIENTS = {"float64": {"lost sum": ["mlp/gradient"]}, "float32": {"lost sum": ["mlp/gradient"]}}
NEW_KILLS = {"relu": {"mlp/gelu": ["float32"]}, "index-xy": {"mlp/gelu": ["float64"]}}
NEW_GRADIENTS = {"lost sum": {"mlp/gradient": ["float64", "float32"]}}


def checkout(folder: Path, reports: dict[str, Any], kills: Any, gradients: Any, home: str = ".") -> Path:
    """Writes a checkout whose command gives these reports, and returns its folder."""
    for package in ("reference/swin_reference", "properties/swin_properties", f"{home}/swin_torch"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
    suite = folder / "properties" / "swin_properties"
    (suite / "entry.py").write_text(MAIN)
    (folder / "pyproject.toml").write_text('[project.scripts]\nswin-oracle = "swin_properties.entry:main"\n')
    (suite / "bugs").mkdir()
    (suite / "kills.json").write_text(json.dumps(kills))
    (suite / "bugs" / "gradient_kills.json").write_text(json.dumps(gradients))
    (folder / "reports.json").write_text(json.dumps(reports))
    return folder


NAMES = (
    *(f"{way} --dtype float32" for way in ("swin_torch", "swin_torch:eager", "swin_torch:fused")),
    "swin_torch:adapters.timm",
    "peer:timm",
)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording of a checkout with the old names, in which everything but the peer is judged."""
    folder = tmp_path_factory.mktemp("before")
    reports = {name.split()[0]: old_report() for name in NAMES if name != "peer:timm"}
    root = checkout(folder / "old", reports, OLD_KILLS, OLD_GRADIENTS)
    return recorded(root, folder / "before.json", *NAMES)


def recorded(root: Path, out: Path, *names: str) -> Path:
    assert main(["record", str(out), "--root", str(root), "--only-names", *names]) == 0
    return out


def test_the_same_facts_in_another_version_and_by_other_names_do_not_differ(
    before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = {"swin_torch:plain": new_report(), "swin_torch": new_report()}
    root = checkout(tmp_path / "new", reports, NEW_KILLS, NEW_GRADIENTS)
    after = recorded(root, tmp_path / "after.json", *NAMES)
    capsys.readouterr()
    assert main(["compare", str(before), str(after)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "nothing was judged, before and after: peer:timm",
        "0 differences; compared 5 implementations, 12 verdicts, 3 planted bugs",
    ]
    asked = (root / "asked.txt").read_text().splitlines()[1:]  # the first one finds out which names it has
    assert [line.partition(" --effort")[0] for line in asked] == [
        "check swin_torch:plain --dtype float32",
        "check swin_torch --dtype float32",
        "check swin_torch:plain --convention timm",
        "check peer:timm",
    ]


def test_a_checkout_with_old_names_is_asked_by_them(before: Path) -> None:
    recording = json.loads(before.read_text())
    assert [check["asked"] for check in recording["checks"].values()] == list(NAMES)
    assert recording["kills"] == {
        "relu": {"mlp/gelu": ["float32"]},
        "index-xy": {"mlp/gelu": ["float64"]},
        "lost sum": {"mlp/gradient": ["float32", "float64"]},
    }
    peer = recording["checks"]["peer:timm"]
    assert (peer["exit_code"], peer["said"], peer["laws"]) == (2, "swin-oracle: peer:timm does not load", {})
    check = recording["checks"][NAMES[0]]
    assert (check["exit_code"], check["cause"], check["caught"]) == (1, ["index-xy"], ["1.0", "2.0", "relu"])


def law(facts: Any, name: str = "mlp/oracle") -> Any:
    return facts["checks"][NAMES[0]]["laws"][name]


def reordered(facts: Any) -> None:
    check = facts["checks"][NAMES[0]]
    check["laws"] = dict(sorted(check["laws"].items()))
    check["laws"]["mlp/gelu"] = check["laws"].pop("mlp/gelu")


DIFFERENCES: dict[str, Callable[[Any], Any]] = {
    f"mlp/gelu: rho was {RHO}, is {math.nextafter(RHO, 1)}": lambda f: law(f, "mlp/gelu").update(
        rho=math.nextafter(RHO, 1)
    ),
    "mlp/gelu: rho was 0.6180339887498949, is infinite": lambda f: law(f, "mlp/gelu").update(rho="infinite"),
    "mlp/gelu: cases was 5, is 4": lambda f: law(f, "mlp/gelu").update(cases=4),
    "mlp/gelu: declined was 0, is 1": lambda f: law(f, "mlp/gelu").update(declined=1),
    "mlp/oracle: verdict was broken, is known failure": lambda f: law(f).update(verdict="known failure"),
    "mlp/oracle: case was grid=1x2 window=1x2, is grid=1x3": lambda f: law(f).update(case="grid=1x3"),
    "mlp/oracle: seen was -2.0, 0.0, 0.0, 1.0, 2.0, 4.0, is -2.0; before: 2 of": lambda f: law(f).update(
        seen=["-2.0"]
    ),
    "mlp/gradient: missing was vjp, is none": lambda f: law(f, "mlp/gradient").update(missing=[]),
    "mlp/oracle: asked only before": lambda f: f["checks"][NAMES[0]]["laws"].pop("mlp/oracle"),
    "the laws come in another order, from mlp/gelu on": reordered,
    "float32: exit_code was 1, is 0": lambda f: f["checks"][NAMES[0]].update(exit_code=0),
    "float32: convention was canonical, is timm": lambda f: f["checks"][NAMES[0]].update(convention="timm"),
    "float32: chosen was given, is assumed": lambda f: f["checks"][NAMES[0]].update(chosen="assumed"),
    "float32: cause was index-xy, is none": lambda f: f["checks"][NAMES[0]].update(cause=[]),
    "float32: caught was 1.0, 2.0, relu, is none": lambda f: f["checks"][NAMES[0]].update(caught=[]),
    "swin_torch:fused --dtype float32: recorded only before": lambda f: f["checks"].pop(NAMES[2]),
    "kills: relu: mlp/gelu: was float32, is none": lambda f: f["kills"]["relu"].clear(),
    "kills: lost sum: mlp/gradient: was float32, float64, is float32": lambda f: f["kills"][
        "lost sum"
    ].update({"mlp/gradient": ["float32"]}),
    "kills: gelu-tanh: a planted bug only after": lambda f: f["kills"].update({"gelu-tanh": {}}),
}


@pytest.mark.parametrize("line", DIFFERENCES)
def test_a_difference_is_one_line(
    line: str, before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads(before.read_text())
    after = tmp_path / "after.json"
    changed = deepcopy(facts)
    DIFFERENCES[line](changed)
    after.write_text(json.dumps(changed))
    capsys.readouterr()
    assert main(["compare", str(before), str(after)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert line in lines[0]
    assert lines[-1].startswith("1 differences; ")


def test_a_judgement_that_is_lost_says_why(
    before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = checkout(tmp_path / "new", {}, NEW_KILLS, NEW_GRADIENTS)
    after = recorded(root, tmp_path / "after.json", *NAMES)
    capsys.readouterr()
    assert main(["compare", str(before), str(after)]) == 1
    said = "exit_code was 1, is 2; after: swin-oracle: swin_torch does not load"
    assert f"{NAMES[0]}: {said}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("diagnosis", None, "a report has a field cause or diagnosis, got"),
        ("laws", [{**old_report()["laws"][0], "status": "stands"}], "got 'stands': add it to VERDICTS"),
        ("convention_chosen", "drawn", "got 'drawn': add it to CHOSEN"),
    ],
)
def test_a_report_in_unknown_words_is_refused(
    field: str, value: Any, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = {key: x for key, x in {**old_report(), field: value}.items() if x is not None}
    root = checkout(tmp_path / "new", {"peer:timm": report}, NEW_KILLS, NEW_GRADIENTS)
    out = str(tmp_path / "out.json")
    assert main(["record", out, "--root", str(root), "--only-names", "peer:timm"]) == 2
    refused(capsys, sentence)


def refused(capsys: pytest.CaptureFixture[str], sentence: str) -> None:
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only-names", "swin_jax"], "a name is one of examples/transposed.py"),
        (["--root", "nowhere"], "a checkout is a folder"),
        (["--root", "."], "a checkout has the package swin_reference"),
        (["--root", "no_torch"], "a checkout has the package swin_torch"),
        (["--root", "twice"], "a planted bug is in one table"),
        (["--root", "odd_kills"], "got halves"),
    ],
)
def test_a_recording_of_bad_input_is_refused(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    checkout(tmp_path / "no_torch", {}, NEW_KILLS, NEW_GRADIENTS, home="elsewhere")
    checkout(tmp_path / "twice", {}, NEW_KILLS, NEW_KILLS)
    checkout(tmp_path / "odd_kills", {}, {"relu": {"mlp/gelu": ["halves"]}}, NEW_GRADIENTS)
    assert main(["record", "out.json", *words]) == 2
    refused(capsys, sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "a recording is a file that reads"),
        ("{", "a recording is JSON"),
        ("{}", "a recording holds what `record` wrote"),
        ('{"recording": 1, "checks": {}}', "a recording holds what `record` wrote"),
        ("other effort", "recordings have the same effort, got quick and deep"),
    ],
)
def test_a_comparison_of_bad_input_is_refused(
    text: str | None, sentence: str, before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    after = tmp_path / "after.json"
    if text == "other effort":
        text = json.dumps(json.loads(before.read_text()) | {"effort": "deep"})
    if text is not None:
        after.write_text(text)
    capsys.readouterr()
    assert main(["compare", str(before), str(after)]) == 2
    refused(capsys, sentence)


def test_a_recording_cannot_be_written_into_a_folder_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record", str(tmp_path / "nowhere" / "out.json"), "--only-names", "peer:timm"]) == 2
    refused(capsys, "a recording can be written")


def test_this_checkout_is_recorded_to_the_last_digit(tmp_path: Path) -> None:
    names = ("examples/functions_nchw.py", "examples/transposed.py")
    recording = json.loads(recorded(ROOT, tmp_path / "out.json", *names).read_text())
    right, wrong = (recording["checks"][name] for name in names)
    report = swin_properties.check(str(ROOT / names[0]), only="mlp/*", effort="quick")
    rhos = {result.law: result.rho for result in report.results}
    assert any(rhos.values())
    assert {name: right["laws"][name]["rho"] for name in rhos} == rhos
    assert (right["exit_code"], wrong["exit_code"]) == (0, 1)
    histogram = wrong["laws"]["relative_position_index/histogram"]
    assert histogram["verdict"] == "broken"
    assert (histogram["case"], histogram["seen"]) == ("grid=1x2 window=1x2", ["3.0", "5.0"])
    assert len(recording["kills"]) > 100
