"""The pictures show what the oracle computes, at any size, and nothing overflows."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import swin_reference
from swin_properties.cases.case import GridCase
from swin_properties.commands.cli import main
from swin_properties.commands.show import PICTURES, draw_picture
from swin_properties.reports import files
from swin_properties.reports.drawing import Layout, palette, svg
from swin_properties.reports.drawing.mask import CLASSES, group_windows
from swin_properties.reports.drawing.receptive_field import find_reached

ROOT = Path(__file__).resolve().parents[3]
SIZES = [("8x8", "4", "2"), ("4x7", "4", "2"), ("10x14", "3x5", "1x2"), ("1", "1", "0"), ("3x64", "2", "1")]
LAYOUTS = [Layout((8, 8), (4, 4), (2, 2)), Layout((5, 9), (2, 3), (1, 2)), Layout((4, 6), (4, 3), (0, 1))]


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("size", "window", "shift"), SIZES)
def test_a_picture_is_whole_and_keeps_its_text_inside(name: str, size: str, window: str, shift: str) -> None:
    drawn = draw_picture(name, size, window, shift, None)
    text = svg.make_document(drawn)
    root = ElementTree.fromstring(text)
    assert root.findtext("{*}title")
    assert root.findtext("{*}desc", "").endswith(".")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|nan|inf\b", text)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for left, right, y in extents(root, 0, 0):
        assert left >= 0
        assert right <= width
        assert 0 <= y <= height


def extents(element: ElementTree.Element, x: float, y: float) -> list[tuple[float, float, float]]:
    """Left end, right end and baseline of every text, on the safe side."""
    if moved := re.match(r"translate\((\S+) (\S+)\)", element.get("transform", "")):
        x, y = x + float(moved[1]), y + float(moved[2])
    if element.tag.endswith("text"):
        long = svg.estimate_width(element.text or "", float(element.attrib["font-size"]))
        before = {"middle": long / 2, "end": long}.get(element.get("text-anchor", ""), 0)
        at = x + float(element.attrib["x"]) - before
        return [(at, at + long, y + float(element.attrib["y"]))]
    return [extent for child in element for extent in extents(child, x, y)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_regions_are_what_the_mask_parts(layout: Layout) -> None:
    regions = layout.cut(layout.regions_rolled)
    mask = swin_reference.shifted_window_mask(*layout.padded, layout.window, layout.shift)
    assert np.array_equal(regions[:, :, None] == regions[:, None, :], mask == 0)
    assert np.array_equal(layout.roll_table(layout.regions), layout.regions_rolled)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_are_the_true_ones(layout: Layout) -> None:
    case = GridCase(grid=layout.padded, window=layout.window, shift=layout.shift)
    labels = layout.number_windows(shifted=True)
    for token in np.ndindex(layout.padded):
        assert np.array_equal(labels == labels[token], case.true_window(token))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_windows_of_a_class_have_one_mask_and_all_are_in_one(layout: Layout) -> None:
    mask = swin_reference.shifted_window_mask(*layout.padded, layout.window, layout.shift)
    groups = group_windows(layout)
    assert list(groups) == [name for name in CLASSES if name in groups]
    assert sorted(place for places in groups.values() for place in places) == list(range(len(mask)))
    for places in groups.values():
        assert np.array_equal(mask[places], np.repeat(mask[places[:1]], len(places), axis=0))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_the_field_is_what_the_oracles_blocks_let_through(layout: Layout) -> None:
    rng, token = np.random.default_rng(0), (layout.grid[0] // 2, 1)
    case = GridCase(grid=layout.grid, window=layout.window, shift=layout.shift, head_dim=4)
    params, x = case.block(), rng.normal(size=(1, *layout.grid, 4))
    tokens = list(np.ndindex(layout.grid))
    touched = np.repeat(x, len(tokens), axis=0)  # image n differs from x in token n
    for image, place in zip(touched, tokens, strict=True):
        image[place] += rng.normal(size=4)
    y = np.concatenate([x, touched])
    for blocks in (1, 2, 3):
        shift = (0, 0) if blocks % 2 else layout.shift
        y = swin_reference.swin_block(y, params, 1, layout.window, shift)
        changed = (y[1:, *token] != y[0, *token]).any(-1).reshape(layout.grid)
        assert np.array_equal(changed, find_reached(layout, token, blocks))


def test_without_a_shift_a_stages_is_taken() -> None:
    def title(size: str) -> str | None:
        return draw_picture("windows", size, "7", None, None).findtext("title")

    assert "shift 3x3" in (title("56") or "")
    assert "shift 0x0" in (title("7x14") or "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["windows", "--size", "0x8"], "at least 1x1, got 0x8"),
        (["windows", "--size", "-3"], "--size: expected one argument|at least 1x1"),
        (["windows", "--window", "0"], "a window is at least 1x1"),
        (["windows", "--shift", "4"], "0 <= shift < window"),
        (["regions", "--size", "8x8x8"], "--size is one or two integers"),
        (["regions", "--size", "eight"], "--size is one or two integers joined by x, got 'eight'"),
        (["regions", "--size", "65"], "at most 64x64 tokens, got 68x68"),
        (["mask", "--size", "64", "--window", "32"], "at most 256 tokens, got 32x32"),
        (["relative-position", "--window", "20"], "at most 256 tokens, got 20x20"),
        (["relative-position", "--token", "4x0"], "--token is in the window of 4x4, got 4x0"),
        (["receptive-field", "--token", "8x0"], "--token is in the grid of 8x8, got 8x0"),
        (["windows", "--token", "0x0"], "--token is for relative-position and receptive-field"),
        (["window"], "invalid choice: 'window'"),
        (["windows", "-o", "picture.png"], "ends in .svg, got picture.png"),
        (["windows", "-o", "no/such/folder/x.svg"], "can be written, no/such/folder/x.svg"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["show", "-o", "x.svg", *words])
    except SystemExit as stopped:
        code = stopped.code  # type: ignore[assignment]
    out, err = capsys.readouterr()
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert re.search(sentence, err)
    assert not list(tmp_path.iterdir())


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "x.svg").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        files.write(str(tmp_path / "x.svg"), "new \udc80")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x.svg", "old")]
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(ValueError, match="is written to a file"):
        files.check_paths([str(tmp_path / "folder.svg")])


def test_text_reads_on_every_colour() -> None:
    colours = [palette.find_colour(share) for share in np.linspace(0, 1, 50)]
    for colour in [*colours, *palette.REGIONS, *palette.ERRORS, *palette.BLOCKS, palette.MORE, palette.LESS]:
        assert palette.compute_contrast(colour, palette.choose_ink(colour)) >= 4, colour


def test_the_pictures_of_the_documentation_are_drawn_by_the_makefile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = re.findall(r"swin-oracle (.*) (?:-o|--svg) (\S+)", (ROOT / "Makefile").read_text())
    assert {Path(file).name for _, file in made} == {p.name for p in (ROOT / "docs/pictures").iterdir()}
    for words, file in made:
        if not words.startswith("show "):
            continue  # test_locate draws it
        again = tmp_path / Path(file).name
        assert main([*words.split(), "-o", str(again)]) == 0
        assert "wrote" in capsys.readouterr().out
        assert again.read_text() == (ROOT / file).read_text(), f"{file} is old: run `make pictures`"
