"""The faces of the suite: Python, pytest, JSON, JUnit, known failures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from collections.abc import Callable
from importlib import metadata, resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from conftest import Command
from swin_properties import __version__, check, parametrize
from swin_properties.cases.case import GridCase
from swin_properties.commands.cli import main
from swin_properties.judging.report import Counterexample, LawResult, Report
from swin_properties.laws.law import LAWS
from swin_properties.reports import json as json_report
from swin_properties.reports import junit

MINE = """
import swin_reference as s
class Adapter:
    precision = "float64"
    layer_norm = staticmethod(s.layer_norm)
    def mlp(self, x, params): return s.mlp(x, params) * 1.01
adapter = Adapter()
"""
QUICK = ("--effort", "quick")
BROKEN = {"mlp/oracle", "mlp/gelu", "mlp/gelu-odd-part"}

Pytest = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return "mine.py"


@pytest.fixture
def run_pytest(tmp_path: Path) -> Pytest:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
        return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, check=False)

    return run


def schema() -> Any:
    text = resources.files("swin_properties.reports").joinpath("report.schema.json").read_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(text))
    return json.loads(text)


# From Python.


def test_check_takes_an_import_string_or_an_object() -> None:
    import swin_reference

    by_name = check("swin_reference", only="layer_norm/*", effort="quick")
    assert (by_name.exit_code, len(by_name.of("holds"))) == (
        0,
        len([name for name in LAWS if name.startswith("layer_norm/")]) - 1,
    )
    assert check(swin_reference, only="layer_norm/*", effort="quick") == by_name
    wrong = types.SimpleNamespace(precision="float64", mlp=lambda x, *_: x)
    report = check(wrong, only="[ml][la]*", effort="quick", require=["layer_norm"])
    assert (report.exit_code, report.required) == (1, ("layer_norm",))
    assert report.implementation == "<SimpleNamespace object>"
    assert {need for result in report.of("not offered") for need in result.missing} >= {"layer_norm", "vjp"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"only": "mlp/gelo"}, "did you mean mlp/gelu"),
        ({"effort": "huge"}, "one of quick, default, deep, got 'huge'"),
        ({"seed": -1}, "at least 0"),
        ({"dtype": "fp32"}, "got 'fp32'"),
        ({"require": ["swin_blok"]}, "got swin_blok"),
        ({"implementation": object()}, "<object object> offers none"),
    ],
)
def test_check_says_what_is_wrong_with_its_words(words: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check(**{"implementation": "swin_reference"} | words)


def test_importing_the_suite_or_its_plugin_imports_nothing_heavy() -> None:
    for module in ("swin_properties", "swin_properties.pytest_plugin"):
        heavy = "{'numpy', 'scipy', 'hypothesis', 'rich', 'torch', 'swin_reference'}"
        code = f"import sys, {module}; assert not {heavy} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys, swin_properties as s; s.check, s.parametrize; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_catalogue_has_the_version_of_the_package() -> None:
    assert metadata.version("swin-oracle") == __version__


# In pytest.


def test_parametrize_is_one_test_a_law(run_pytest: Pytest, tmp_path: Path, mine: str) -> None:
    (tmp_path / "test_mine.py").write_text(
        "from swin_properties import parametrize\n"
        f"@parametrize({mine!r}, effort='quick', only='[mp][la]*', require=['mlp', 'swin_block'])\n"
        "def test_swin(law): law()\n"
    )
    run = run_pytest("-v", "-rs")
    assert run.returncode == 1, run.stdout
    assert set(re.findall(r"test_swin\[(mlp/.*)\] FAILED", run.stdout)) == BROKEN
    assert "test_swin[mlp/per-token] PASSED" in run.stdout
    assert re.search(r"SKIPPED .*not offered: patch_merging", run.stdout)
    assert "test_swin[required/swin_block] FAILED" in run.stdout
    assert "required/mlp" not in run.stdout
    assert re.search(r"E +again: swin-oracle check mine.py .* --only mlp/gelu ", run.stdout)


def test_tests_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="offers none of swin_stage"):
        parametrize(types.SimpleNamespace(mlp=len), only="swin_stage/oracle")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_the_plugin_collects_the_laws(run_pytest: Pytest, mine: str, workers: tuple[str, ...]) -> None:
    words = ("--swin-oracle", mine, "--swin-oracle-effort", "quick", "--swin-oracle-only", "[mp][la]*")
    run = run_pytest(*words, *workers)
    assert run.returncode == 1, run.stdout + run.stderr
    laws = [name for name in LAWS if re.match("[mp][la]", name)]
    asked = [name for name in laws if name.startswith("mlp/") and "vjp" not in LAWS[name].needs]
    counts = len(BROKEN), len(asked) - len(BROKEN), len(laws) - len(asked)
    assert "{} failed, {} passed, {} skipped".format(*counts) in run.stdout
    assert set(re.findall(r"FAILED mine.py::(\S+) - ", run.stdout)) == BROKEN
    assert f"\n  code: {LAWS['mlp/gelu'].where}\n" in run.stdout
    assert re.search(r"\n  again: swin-oracle check mine.py --dtype float64 --only mlp/gelu ", run.stdout)
    assert "Traceback" not in run.stdout


def test_the_plugin_stands_beside_test_files_and_selects(
    run_pytest: Pytest, tmp_path: Path, mine: str
) -> None:
    (tmp_path / "test_other.py").write_text("def test_other(): pass\n")
    run = run_pytest("--swin-oracle", mine, "--collect-only", "-q", "-k", "test_other or (eps and not keeps)")
    assert re.findall(r"^\S+::\S+", run.stdout, re.MULTILINE) == [
        "test_other.py::test_other",
        "mine.py::layer_norm/eps",
    ]
    assert "1 passed" in run_pytest().stdout  # without the option: no law


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--swin-oracle", "no.such"], "ERROR: an implementation is importable, no.such raised"),
        (["--swin-oracle", "no.such", "-n", "2"], "ERROR: an implementation is importable, no.such raised"),
        (["--swin-oracle", "swin_reference", "--swin-oracle-effort", "huge"], "ERROR: an effort is one of"),
        (["--swin-oracle", "swin_reference", "--swin-oracle-dtype", "fp32"], "ERROR: a precision is one of"),
        (["--swin-oracle-only", "mlp/*"], "ERROR: --swin-oracle-only needs --swin-oracle"),
    ],
)
def test_a_wrong_word_is_a_usage_error(run_pytest: Pytest, words: list[str], sentence: str) -> None:
    run = run_pytest(*words)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert sentence in run.stderr
    assert "Traceback" not in run.stdout + run.stderr


# In files.


def test_the_report_as_json_and_junit(command: Command, tmp_path: Path, mine: str) -> None:
    files = ("--json", "report.json", "--junit", "report.xml")
    run = command(
        "check", mine, *QUICK, "--all", "--only", "[mp][la]*", "--require", "mlp,swin_block", *files
    )
    assert run.returncode == 1, run.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(report, schema())
    assert (report["exit_code"], report["catalogue"]) == (1, __version__)
    assert report["required_but_not_offered"] == ["swin_block"]
    assert f"laws of {__version__})" in run.stdout
    broken = [law for law in report["laws"] if law["status"] == "broken"]
    assert {law["name"] for law in broken} == BROKEN
    assert all(law["counterexample"]["reproduce"] in run.stdout for law in broken)
    assert all(f"\n  code: {law['where']}\n" in run.stdout for law in broken)

    (suite,) = ET.parse(tmp_path / "report.xml").getroot()
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert len(cases) == len(report["laws"]) + 1 == int(suite.get("tests", ""))
    failed = {name for name, case in cases.items() if case.find("failure") is not None}
    assert failed == BROKEN | {"swin_block"}
    assert (suite.get("failures"), cases["mlp/gelu"].get("classname")) == ("4", "mlp")
    failure = cases["mlp/gelu"].find("failure")
    assert failure is not None
    assert failure.get("message", "").startswith("rho ")
    assert f"\n  code: {LAWS['mlp/gelu'].where}\n" in str(failure.text)
    assert "  again: swin-oracle check" in str(failure.text)
    skipped = cases["patch_embed/oracle"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "not offered: patch_embed"
    assert sorted(path.name for path in tmp_path.glob("*report*")) == ["report.json", "report.xml"]


def test_what_neither_json_nor_xml_can_hold_is_written_in_words(command: Command, tmp_path: Path) -> None:
    code = "def mlp(x, params): raise RuntimeError('\\x1b[31m\\udc80 <&')\n"
    (tmp_path / "odd.py").write_text(code)
    run = command("check", "odd.py", "--only", "mlp/gelu", "--json", "odd.json", "--junit", "odd.xml")
    assert run.returncode == 1, run.stderr
    seen = "mlp raised RuntimeError: \\x1b[31m\\udc80 <&"
    assert seen in run.stdout
    assert json.loads((tmp_path / "odd.json").read_text())["laws"][0]["counterexample"]["seen"] == seen
    assert [f.get("message") for f in ET.parse(tmp_path / "odd.xml").iter("failure")] == [seen]

    found = Counterexample(GridCase(), "far", "again")
    result = LawResult("mlp/gelu", "A sentence.", "broken", 1, float("inf"), counterexample=found)
    report = Report("odd\x00", "float32", "quick", 0, [result])
    written = json.loads(json_report.text(report))
    jsonschema.validate(written, schema())
    assert written["laws"][0]["rho"] == "infinite"
    assert ET.fromstring(junit.text(report)).find("testsuite") is not None


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("absent/report", "No such file"),
        (".", "a file, . is not a file"),
        ("/dev/null", "a file, /dev/null is not a file"),
    ],
)
def test_a_path_that_cannot_be_written_stops_the_run_before_it_starts(
    command: Command, path: str, sentence: str
) -> None:
    run = command("check", "no.such.module", "--junit", path)  # it would not load: but that comes later
    assert (run.returncode, run.stdout, len(run.stderr.splitlines())) == (2, "", 1)
    assert sentence in run.stderr


def test_two_reports_are_two_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = str(tmp_path / "report")
    assert main(["check", "swin_reference", "--json", path, "--junit", path]) == 2
    assert "is given twice" in capsys.readouterr().err


# Known failures.

KNOWN = '[[known]]\nlaw = "{}"\nreason = "Scaled on purpose."\nlink = "https://example.org/1"\n'


def test_a_known_failure_is_no_failure(command: Command, tmp_path: Path, mine: str) -> None:
    (tmp_path / "known.toml").write_text(KNOWN.format("mlp/[go]*"))
    files = ("--json", "report.json", "--junit", "report.xml")
    run = command("check", mine, *QUICK, "--only", "mlp/*", "--known-failures", "known.toml", *files)
    assert run.returncode == 0, run.stdout
    holding = len([name for name in LAWS if name.startswith("mlp/")]) - len(BROKEN) - 1  # no vjp
    assert f"conforms but for known failures ({holding} laws hold, 0 broken, 3 known failures" in run.stdout
    assert "known failure: Scaled on purpose. (https://example.org/1): mlp/" in run.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(report, schema())
    assert {law["name"] for law in report["laws"] if law["status"] == "known failure"} == BROKEN
    skipped = [element.get("message", "") for element in ET.parse(tmp_path / "report.xml").iter("skipped")]
    assert sum(message.startswith("known failure: Scaled on purpose.") for message in skipped) == 3


def test_a_known_failure_that_fails_no_more_is_stale(command: Command, tmp_path: Path, mine: str) -> None:
    (tmp_path / "known.toml").write_text(KNOWN.format("layer_norm/*") + KNOWN.format("mlp/gelu"))
    files = ("--json", "report.json", "--junit", "report.xml")
    known = ("--known-failures", "known.toml", *files)
    run = command("check", mine, *QUICK, "--only", "layer_norm/eps", *known)
    assert run.returncode == 1, run.stdout
    assert "stale known failure: layer_norm/*: no law of it is broken any more" in run.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(report, schema())
    assert [entry["law"] for entry in report["stale"]] == ["layer_norm/*"]  # mlp/gelu was not asked
    failures = ET.parse(tmp_path / "report.xml").getroot().findall(".//failure")
    assert [failure.get("message") for failure in failures] == ["stale: no law of it is broken any more"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[known]\n", "a TOML file, .*known.toml does not parse: Expected"),
        (b"\xff", "a TOML file, .*known.toml"),
        ("[known]\nlaw = 'mlp/gelu'\n", "are \\[\\[known\\]\\] tables"),
        ("[[knwon]]\nlaw = 'mlp/gelu'\n", "has knwon"),
        ("known = [1]\n", "has 1"),
        ("[[known]]\nlaw = 'mlp/gelu'\n", "has a reason, \\[\\[known\\]\\] number 1 of"),
        ("[[known]]\nlaw = 'mlp/gelu'\nreason = ' '\n", "has a reason"),
        ("[[known]]\nreason = 'so'\n", "has a law"),
        ("[[known]]\nlaw = 'mlp/gelu'\nreason = 'so'\nlink = 3\n", "has a link"),
        ("[[known]]\nlaw = 'mlp/gelu'\nreason = 'so'\nlnik = 'x'\n", "has lnik"),
        ("[[known]]\nlaw = 'mlp/gelo'\nreason = 'so'\n", "number 1 .*did you mean mlp/gelu"),
        ("[[known]]\n" * 1001, "at most 1000 known failures, .* has 1001: join some"),
    ],
)
def test_a_malformed_file_of_known_failures_is_one_sentence(
    text: str | bytes, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "known.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["check", "swin_reference", "--known-failures", str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert re.search(sentence, err)


def test_an_absent_file_of_known_failures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "swin_reference", "--known-failures", "absent.toml"]) == 2
    assert "an existing file, got absent.toml" in capsys.readouterr().err
