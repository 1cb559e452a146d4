"""Writes a report as one HTML page, without scripts and without files from elsewhere."""

from __future__ import annotations

from importlib import resources
from math import isfinite
from string import Template
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from swin_properties.budget.budget import RHO_LIMIT
from swin_properties.cases.measured import NO_SIZES
from swin_properties.judging.report import Counterexample, LawResult, Report, Status
from swin_properties.reports import terminal
from swin_properties.reports.drawing import draw_errors
from swin_properties.reports.drawing.svg import tag

HEADLINES = {0: "conforms", 1: "does not conform", 2: "could not be judged"}
KINDS = {0: "conforms", 1: "fails", 2: "nothing"}
MARKS = {
    "holds": "\N{CHECK MARK} holds",
    "broken": "\N{MULTIPLICATION X} broken",
    "known failure": "known failure",
    "not offered": "not offered",
}
CLASSES = {"holds": "holds", "broken": "broken", "known failure": "faint", "not offered": "faint"}
STATUSES: tuple[Status, ...] = ("holds", "broken", "known failure", "not offered")
BAR, BAR_LIMIT = 72.0, 56.0


def page(report: Report) -> str:
    """Returns a report as one self-contained page; all text is escaped.

    >>> page(Report("mine & yours", "float32", "quick", 0)).count("mine &amp; yours in float32")
    1
    """
    sections = [_headline(report), *_broken(report), *_required(report), *_table(report)]
    template = resources.files("swin_properties.reports").joinpath("page.html").read_text("utf-8")
    return Template(template).substitute(
        title=_text(f"{report.implementation} {HEADLINES[report.exit_code]}"),
        body="\n".join(_markup(section) for section in sections),
    )


def _headline(report: Report) -> Element:
    title = f"{report.implementation} {HEADLINES[report.exit_code]}"
    counted = ((len(report.of(status)), status) for status in STATUSES)
    counts = [
        tag("li", tag("strong", str(count)), f" {_count_words(status, count)}") for count, status in counted
    ]
    sizes = "" if report.sizes == NO_SIZES else str(report.sizes)
    told = (("Cause", report.cause), ("Caught", report.caught), ("Sizes", sizes))
    return tag(
        "header",
        tag("h1", title),
        tag("ul", *counts, class_="counts"),
        *(tag("p", f"{label}: {text}") for label, text in told if text),
        *(tag("p", f"Not asked: {text}", class_="faint") for text in terminal.declined(report)),
        tag("p", terminal.verdict(report), class_="faint"),
        class_=f"verdict {KINDS[report.exit_code]}",
    )


def _count_words(status: Status, count: int) -> str:
    plural = {"holds": "hold", "known failure": "known failures"}
    return status if count == 1 else plural.get(status, status)


def _broken(report: Report) -> list[Element]:
    """Returns a card for each broken law."""
    cards = [_card(result, result.counterexample) for result in report.of("broken") if result.counterexample]
    return [tag("section", tag("h2", "Broken laws"), *cards)] if cards else []


def _card(result: LawResult, found: Counterexample) -> Element:
    entries = [(label, _value(label, text)) for label, text in result.account]
    drawn = draw_errors(result.law, found)
    picture = tag("figure", drawn) if isinstance(drawn, Element) else tag("p", drawn, class_="faint")
    listed = [part for word, text in entries for part in (tag("dt", word), tag("dd", text))]
    return tag(
        "article", tag("h3", *_breakable(result.law)), tag("dl", *listed), picture,
        class_="card", id=_anchor(result.law),
    )  # fmt: skip


def _value(label: str, text: str) -> Element | str:
    if label == "again":
        return tag("pre", *_options(text))
    return tag("code", *_breakable(text), class_="faint") if label == "code" else text


def _options(line: str) -> list[Element | str]:
    """Returns a shell line whose options do not break after their hyphens."""
    parts: list[Element | str] = []
    for place, word in enumerate(line.split(" ")):
        parts.append(" " * bool(place))
        parts.append(tag("span", word, class_="option") if word.startswith("--") else word)
    return parts


def _required(report: Report) -> list[Element]:
    """Returns the callables that ``--require`` names and the implementation does not offer."""
    if not report.required:
        return []
    names = [tag("li", tag("code", name)) for name in report.required]
    return [tag("section", tag("h2", "Required but not offered"), tag("ul", *names))]


def _table(report: Report) -> list[Element]:
    """Returns the table of all laws, one in a row."""
    if not report.results:
        return []
    names = (("law", ""), ("verdict", ""), ("cases", "number"), ("worst rho", "number"))
    head = [tag("th", name, scope="col", class_=kind) for name, kind in names]
    caption = (
        f"rho is the error divided by the rounding error that a correct implementation may make; the mark on "
        f"each bar is the limit, {RHO_LIMIT:g}. exact: compared bit by bit."
    )
    return [
        tag(
            "section",
            tag("h2", "All laws"),
            tag(
                "table",
                tag("caption", caption),
                tag("thead", tag("tr", *head)),
                tag("tbody", *map(_row, report.results)),
            ),
        )
    ]


def _row(result: LawResult) -> Element:
    name: list[Element | str] = _breakable(result.law)
    if result.status == "broken":
        name = [tag("a", *name, href=f"#{_anchor(result.law)}")]
    missing = [tag("div", result.absence.replace("not offered: ", "needs "), class_="faint")] * bool(
        result.missing
    )
    rho: list[Element | str] = []
    compared = result.counterexample is None or result.counterexample.evidence is not None
    if result.cases and (compared or result.rho is not None):
        rho = ["exact"] if result.rho is None else [_rho_words(result.rho), _bar(result.rho)]
    return tag(
        "tr",
        tag("th", *name, scope="row"),
        tag("td", tag("span", MARKS[result.status], class_=CLASSES[result.status]), *missing),
        tag("td", str(result.cases) if result.cases else "", class_="number"),
        tag("td", *rho, class_="number"),
    )  # fmt: skip


def _rho_words(rho: float) -> str:
    """Returns the largest rho as the table shows it.

    >>> _rho_words(0.437), _rho_words(123456.0), _rho_words(float("inf"))
    ('0.44', '1.2e+05', '\N{INFINITY}')
    """
    if not isfinite(rho):
        return "\N{INFINITY}"
    return f"{rho:.2f}" if rho < 1000 else f"{rho:.1e}"


def _bar(rho: float) -> Element:
    """Returns rho as a bar that is cut off at the right where rho is far beyond the limit."""
    length = BAR if not isfinite(rho) else min(BAR, rho / RHO_LIMIT * BAR_LIMIT)
    fill = "#2c7fb8" if rho <= RHO_LIMIT else "#c2410c"
    return tag(
        "svg",
        tag("rect", width=BAR, height=10, fill="#eef1f4"),
        tag("rect", width=max(length, 1.0), height=10, fill=fill),
        tag("path", d=f"M{BAR_LIMIT:g} 0V10", stroke="#1b1f24", stroke_width=1.5),
        width=BAR, height=10, viewBox=f"0 0 {BAR:g} 10", aria_hidden="true",
    )  # fmt: skip


def _breakable(name: str) -> list[Element | str]:
    """Returns a law's name with places for line breaks after its slash and its underscores."""
    parts: list[Element | str] = []
    for letter in name:
        parts.append(letter)
        if letter in "/_":
            parts.append(tag("wbr"))
    return parts


def _anchor(law: str) -> str:
    return "law-" + "".join(c if c.isalnum() or c in "-_" else "-" for c in law)


def _text(text: str) -> str:
    return _markup(tag("title", text)).removeprefix("<title>").removesuffix("</title>")


def _markup(element: Element) -> str:
    return ElementTree.tostring(element, encoding="unicode", method="html")
