"""Rooms, arrows, floors and circles are counted, and the packages have no more of them than today."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies.structure import Structure, find_package, main, measure

LIMITS = {
    # package: the most rooms, floors, arrows, circles
    "swin_reference": (29, 9, 123, 0),  # each file is a room: those of V2 stand beside those of V1
    "swin_weights": (12, 5, 24, 0),
    "swin_properties": (17, 10, 60, 0),
    "swin_timing": (5, 3, 3, 0),
    "swin_torch": (7, 7, 25, 0),
    "benchmarks": (10, 4, 18, 0),
}


def made(folder: Path, **files: str) -> Structure:
    """Writes a package whose files, `room` or `room__file`, hold these lines, and returns its structure."""
    package = folder / "swin"
    for name, text in {"__init__": "", **files}.items():
        parts = [name] if name == "__init__" else name.split("__", 1)
        path = package.joinpath(*parts).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return measure(package)


def test_a_room_is_a_file_or_a_folder_with_python_in_it(tmp_path: Path) -> None:
    (tmp_path / "swin" / "pictures").mkdir(parents=True)
    (tmp_path / "swin" / "pictures" / "a.svg").touch()
    (tmp_path / "swin" / "kills.json").touch()
    structure = made(tmp_path, windows="", laws__mask="", laws__block="")
    assert sorted(structure.rooms) == ["__init__", "laws", "windows"]
    assert structure.arrows == structure.circles == ()
    assert len(structure.floors) == 1


@pytest.mark.parametrize(
    "line",
    [
        "from swin.b import roll",
        "from swin import b",
        "import swin.b as other",
        "from . import b",
        "from .b import roll",
        "def f():\n    from swin.b import roll",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from swin.b import Roll",
        "try:\n    import swin.b\nexcept ImportError:\n    pass",
        "import importlib\nimportlib.import_module('swin.b')",
        "from importlib import import_module\ndef f():\n    return import_module('.b', __package__)",
        "from importlib import import_module\ndef f(name):\n    return import_module(f'swin.b.{name}')",
    ],
)
@pytest.mark.parametrize("room", ["b", "b__file"])
def test_an_arrow_is_an_import_at_any_place(line: str, room: str, tmp_path: Path) -> None:
    assert made(tmp_path, **{"a": line, room: "", "c": "import numpy"}).arrows == (("a", "b"),)


@pytest.mark.parametrize("line", ["from .. import b", "from ..b import roll", "from swin.b import roll"])
def test_a_file_in_a_folder_imports_for_its_room(line: str, tmp_path: Path) -> None:
    files = {"a__one": f"from . import two\n{line}", "a__two": line, "b": ""}
    assert made(tmp_path, **files).arrows == (("a", "b"),)


@pytest.mark.parametrize(
    ("table", "call"),
    [
        ('{"check": "api", "Report": "report"}', 'import_module(f"{__name__}.{_HOMES[name]}")'),
        ('{"check": "api", "Report": "report"}', 'import_module("." + _HOMES[name], __name__)'),
        ('{"check": ".api:check", "Report": ".report:R"}', "import_module(_HOMES[name], __name__)"),
        ('{"check": ("swin.api", "f"), "Report": ("swin.report", "g")}', "import_module(home)"),
    ],
)
def test_a_lazy_table_imports_every_room_in_its_values(table: str, call: str, tmp_path: Path) -> None:
    init = f"from importlib import import_module\n_HOMES = {table}\ndef __getattr__(name):\n    return {call}"
    structure = made(tmp_path, __init__=init, api="", report="", check="", other="")
    assert structure.arrows == (("__init__", "api"), ("__init__", "report"))


def test_a_name_that_only_the_run_knows_is_no_arrow(tmp_path: Path) -> None:
    line = 'from importlib import import_module\nFORMS = {"json": "b"}\ndef f(name):\n    import_module(name)'
    assert made(tmp_path, a=line, b="").arrows == ()


def test_what_the_package_itself_offers_is_imported_from_its_init(tmp_path: Path) -> None:
    structure = made(tmp_path, a="from swin import __version__", b="import swin", c="import swin_torch")
    assert structure.arrows == (("a", "__init__"), ("b", "__init__"))


def test_floors_are_the_longest_chain_and_a_circle_counts_as_one_room(tmp_path: Path) -> None:
    files = {
        "bottom": "",
        "left": "from swin import bottom, right",
        "right": "def f():\n    from swin import left",
        "top": "from swin import left, bottom",
        "roof": "from swin import top",
    }
    structure = made(tmp_path, **files)
    assert structure.circles == (("left", "right"),)
    assert structure.floors == (("__init__", "bottom"), ("left", "right"), ("top",), ("roof",))
    assert len(structure.arrows) == 6


def test_an_order_finds_the_arrows_upwards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    structure = made(tmp_path, low="from swin import high", high="", middle="from swin import low")
    assert structure.find_upward(["__init__", "low", "middle", "high"]) == [("low", "high")]
    assert structure.find_upward(["__init__", "high", "low", "middle"]) == []
    assert main([str(tmp_path / "swin"), "--order", "__init__,low,middle,high"]) == 1
    assert "upwards: low -> high" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "a package is a folder or its name"),
        (["swin_torch", "--order", "sizes"], "an order names every room once"),
        (["swin_torch", "swin_reference", "--order", "sizes"], "an order is of one package"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("text", "sentence"), [("", "holds Python files"), ("def", "line 1")])
def test_a_folder_that_is_no_package_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    if text:
        (tmp_path / "a.py").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        measure(tmp_path)


@pytest.mark.parametrize("package", LIMITS)
def test_a_package_has_no_more_rooms_floors_arrows_and_circles(package: str) -> None:
    structure = measure(find_package(package))
    counts = (len(structure.rooms), len(structure.floors), len(structure.arrows), len(structure.circles))
    for what, count, limit in zip(
        ("rooms", "floors", "arrows", "circles"), counts, LIMITS[package], strict=True
    ):
        assert count <= limit, f"{package} has {count} {what}, the limit is {limit}"
    assert structure.arrows  # the imports are found at all


def test_the_lazy_table_of_the_suite_is_found() -> None:
    arrows = measure(find_package("swin_properties")).arrows
    assert {end for start, end in arrows if start == "__init__"} >= {"api"}
