"""The page of a verdict: whole, self-contained, escaped, and shown by a browser."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from swin_properties.cases.case import Case, GridCase, NetCase
from swin_properties.judging.compare import Evidence
from swin_properties.judging.report import Counterexample, LawResult, Report
from swin_properties.reports import html
from swin_properties.reports.drawing import draw_errors
from swin_properties.reports.drawing.errors import divide_errors

FAULTY = """
import numpy as np, swin_reference as s
precision = "float64"
def shifted_window_mask(height, width, window_size, shift_size):
    return np.zeros_like(s.shifted_window_mask(height, width, window_size, shift_size))
def reverse_cyclic_shift(x, shift_size): return s.cyclic_shift(x, shift_size)
def mlp(x, params): return 1.0001 * s.mlp(x, params)
def layer_norm(x, params, eps=1e-5): raise ValueError("<script>alert('&')</script>")
def cyclic_shift(x, shift_size): return s.cyclic_shift(x, shift_size)
"""
VOID = {"meta", "link", "wbr", "br", "img"}


class Page(HTMLParser):
    """Elements in order with their attributes, text by element, and whether all tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.text[tag][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that the command writes for a faulty implementation."""
    from swin_properties.commands.cli import main

    folder = tmp_path_factory.mktemp("page")
    (folder / "faulty.py").write_text(FAULTY)
    words = ["check", str(folder / "faulty.py"), "--effort", "quick", "--html", str(folder / "report.html")]
    assert main(words) == 1
    return folder / "report.html"


def test_the_page_is_self_contained_and_accessible(written: Path) -> None:
    text = written.read_text("utf-8")
    page = Page(text)
    assert not re.search(r"(?:https?:)?//", text)
    assert not page.of("script")
    assert all(a.get("href", "#").startswith(("#", "data:")) for _, a in page.elements)  # type: ignore[union-attr]
    assert page.of("html") == [{"lang": "en"}]
    assert len(page.text["h1"]) == len(page.text["main"]) == 1
    assert {a["scope"] for a in page.of("th")} == {"col", "row"}
    assert all(a.get("aria-hidden") or (a["role"] == "img" and a["aria-label"]) for a in page.of("svg"))
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    assert {str(a["href"])[1:] for a in page.of("a")} == set(identifiers)


def test_the_page_says_what_the_verdict_says(written: Path, command: Command) -> None:
    page = Page(written.read_text("utf-8"))
    again = [line for line in page.text["pre"] if "mlp/oracle" in line]
    run = command(*shlex.split(again[0])[1:])
    assert run.returncode == 1
    assert f"again: {again[0]}" in run.stdout
    (seen,) = re.findall("seen: (.*)", run.stdout)
    assert any(seen == words for words in page.text["dd"])
    (where,) = re.findall("code: (.*)", run.stdout)
    assert where in page.text["dd"]
    assert sum("broken" in row for row in page.text["tr"]) == len(page.text["article"])
    assert any(re.fullmatch(r"mlp/oracle.*broken\d+[\d.e+]+", row) for row in page.text["tr"])


def test_what_an_implementation_says_is_escaped(written: Path) -> None:
    text = written.read_text("utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert('&amp;')&lt;/script&gt;" in text
    assert "<b>" not in html.page(Report("<b>\x1b[31m\udc80</b>", "float32", "quick", 0))
    html.page(Report("\x00\udc80", "float32", "quick", 0)).encode()


@pytest.mark.parametrize("words", [["no/such/x.html"]])
def test_an_unwritable_page_is_found_before_judging(words: list[str], command: Command) -> None:
    run = command("check", "swin_reference", "--html", *words)
    assert (run.returncode, run.stdout, len(run.stderr.splitlines())) == (2, "", 1)


def broken_law(case: Case, got: Any, expected: Any, beta: Any = None) -> Counterexample:
    return Counterexample(case, "seen", "again", Evidence(np.asarray(got), np.asarray(expected), beta))


GRID = GridCase(grid=(4, 6), window=(2, 3), shift=(1, 1))


def test_the_picture_of_a_grid_shows_the_worst_item_in_budgets() -> None:
    expected, beta = np.zeros((2, 4, 6, 3)), np.full((2, 4, 6, 3), 0.5)
    got = expected.copy()
    got[1, 2, 3, 1], got[0, 0, 0, 0], got[1, 0, 5, 0] = 30.0, 5.0, np.nan
    one = broken_law(GRID, got, expected, beta)
    assert one.evidence
    assert divide_errors(one.evidence)[1, 2, 3, 1] == 60
    assert divide_errors(one.evidence)[1, 0, 5, 0] == np.inf
    drawn = draw_errors("swin_block/oracle", one)
    assert not isinstance(drawn, str)
    words = [text.text or "" for text in drawn.iter("text")]
    assert {"60.0", "\N{INFINITY}"} <= set(words)
    assert "batch item 1 of 2, the worst" in " ".join(words)
    assert "10.0" not in words


def test_the_picture_of_an_exact_law_marks_what_differs() -> None:
    got = np.zeros((1, 4, 6, 1))
    got[0, 1, 1, 0] = 1e-30
    drawn = draw_errors("cyclic_shift/definition", broken_law(GRID, got, np.zeros(got.shape)))
    assert not isinstance(drawn, str)
    assert [text.text for text in drawn.iter("text")].count("\N{NOT EQUAL TO}") == 1


@pytest.mark.parametrize("kind", [bool, int, float])
def test_the_pictures_of_matrices_show_those_that_differ(kind: type) -> None:
    got, expected = np.zeros((8, 6, 6), kind), np.zeros((8, 6, 6), kind)
    got[2, 0, 1] = expected[5, 1, 1] = 1
    drawn = draw_errors("shifted_window_mask/definition", broken_law(GRID, got, expected))
    assert not isinstance(drawn, str)
    words = " ".join(text.text or "" for text in drawn.iter("text"))
    assert "Matrix 2: got minus expected" in words
    assert "Matrix 5" in words
    assert "Matrix 0" not in words


@pytest.mark.parametrize(
    ("law", "one"),
    [
        ("mlp/oracle", Counterexample(GRID, "raised", "again")),
        (
            "swin_transformer/oracle",
            broken_law(NetCase(), np.ones((1, 5)), np.zeros((1, 5)), np.ones((1, 5))),
        ),
        ("window_attention/oracle", broken_law(GRID, np.ones((8, 6, 1)), np.zeros((8, 6, 1)))),
        ("shifted_window_mask/count", broken_law(GRID, [True], [False])),
        ("mlp/oracle", broken_law(GridCase(grid=(1, 90)), np.ones((1, 1, 90, 1)), np.zeros((1, 1, 90, 1)))),
    ],
)
def test_where_no_picture_can_be_drawn_a_sentence_says_so(law: str, one: Counterexample) -> None:
    sentence = draw_errors(law, one)
    assert isinstance(sentence, str)
    assert re.fullmatch(r"No picture: .*\.", sentence)
    report = Report(
        "mine", "float64", "quick", 0, [LawResult(law, "A law.", "broken", 1, counterexample=one)]
    )
    assert sentence in Page(html.page(report)).text["article"][0]


def test_not_offered_and_required_are_said() -> None:
    absent = LawResult("mlp/oracle", "A law.", "not offered", missing=("mlp",))
    page = Page(html.page(Report("mine", "float64", "quick", 0, [absent], ("mlp", "swin_block")), every=True))
    assert "mine does not conform" in page.text["h1"]
    assert page.text["code"] == ["mlp", "swin_block"]
    assert any("needs mlp" in row for row in page.text["tr"])


def test_a_browser_shows_a_broken_law_its_picture_and_its_line(written: Path, tmp_path: Path) -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for path in map(shutil.which, names) if path), None)
    if browser is None:
        pytest.skip(f"no browser on PATH: none of {', '.join(names)}")
    quiet = ("gpu", "sync", "background-networking", "component-update", "quic")
    line = [
        browser, "--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet),
        f"--user-data-dir={tmp_path}", "--dump-dom", written.as_uri(),
    ]  # fmt: skip
    run = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
    cards = re.findall(r'<article.*?id="law-(.*?)".*?</article>', run.stdout, re.DOTALL)
    assert {"mlp-oracle", "shifted_window_mask-definition", "reverse_cyclic_shift-definition"} <= set(cards)
    card = next(
        c for c in re.findall(r"<article.*?</article>", run.stdout, re.DOTALL) if "law-mlp-oracle" in c
    )
    dom = Page(card)
    assert "swin-oracle check" in dom.text["pre"][0]
    assert "--only mlp/oracle" in dom.text["pre"][0]
    assert [a["viewbox"] for a in dom.of("svg")]
    assert "Tokens of the image" in dom.text["text"]
