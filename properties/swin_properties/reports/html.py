"""Writes a report as one HTML page, without scripts and without files from elsewhere."""

from __future__ import annotations

import itertools
from importlib import resources
from math import isfinite
from string import Template
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from swin_properties.budget.budget import RHO_LIMIT
from swin_properties.cases.case import describe_case
from swin_properties.judging.report import Counterexample, LawResult, Report, Status
from swin_properties.reports import terminal
from swin_properties.reports.drawing import draw_errors
from swin_properties.reports.drawing.svg import make_tag

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


def page(report: Report, every: bool = False) -> str:
    """Returns a report as one self-contained page; all text is escaped.

    ``every``: also with a row for each law that is not offered.

    >>> page(Report("mine & yours", "float32", "quick", 0)).count("mine &amp; yours in float32")
    1
    """
    sections = [
        _write_headline(report),
        *_show_usual(report),
        *_make_cards(report),
        *_list_required(report),
        *_make_table(report, every),
        *_write_remarks(report),
    ]
    template = resources.files("swin_properties.reports").joinpath("page.html").read_text("utf-8")
    return Template(template).substitute(
        title=_make_text(f"{report.implementation} {HEADLINES[report.exit_code]}"),
        body="\n".join(_make_markup(section) for section in sections),
    )


def _write_headline(report: Report) -> Element:
    """Returns the verdict, the cause, and how many laws hold."""
    title = f"{report.implementation} {HEADLINES[report.exit_code]}"
    counted = ((len(report.of(status)), status) for status in STATUSES)
    counts = [
        make_tag("li", make_tag("strong", str(count)), f" {_count_words(status, count)}")
        for count, status in counted
    ]
    faults = [make_tag("p", f"Fault: {text}", class_="broken") for text in report.faults]
    return make_tag(
        "header",
        make_tag("h1", title),
        *faults,
        *(make_tag("p", line, class_="cause") for line in report.cause.splitlines()),
        make_tag("ul", *counts, class_="counts"),
        make_tag("p", terminal.verdict(report), class_="faint"),
        class_=f"verdict {KINDS[report.exit_code]}",
    )


def _show_usual(report: Report) -> list[Element]:
    """Returns the picture of the first broken law that has one on a usual case."""
    for result in itertools.chain.from_iterable(report.list_broken()):
        usual = None if result.counterexample is None else result.counterexample.usual
        drawn = "" if usual is None else draw_errors(result.law, usual)
        if usual is not None and isinstance(drawn, Element):
            component = result.law.partition("/")[0]
            words = f"{result.law} on a usual case: {describe_case(usual.case, component)}"
            link = make_tag("a", "its smallest case", href=f"#{_make_anchor(result.law)}")
            return [
                make_tag(
                    "section",
                    make_tag("h2", "Where it is wrong"),
                    make_tag("p", words, "; see also ", link),
                    make_tag("figure", drawn),
                )
            ]
    return []


def _write_remarks(report: Report) -> list[Element]:
    """Returns what else is said of the run."""
    remarks = [("called" if number else "judged", text) for number, text in enumerate(report.recognised)]
    remarks += [("file", text) for text in report.notes]
    if absent := terminal.not_offered(report):
        remarks.append(("not offered", absent))
    remarks += [("not asked", text) for text in terminal.declined(report)] + terminal.list_remarks(report)
    if not remarks:
        return []
    lines = [make_tag("p", f"{label[0].upper()}{label[1:]}: {text}") for label, text in remarks]
    return [make_tag("section", make_tag("h2", "About this run"), *lines, class_="faint")]


def _count_words(status: Status, count: int) -> str:
    plural = {"holds": "hold", "known failure": "known failures"}
    return status if count == 1 else plural.get(status, status)


def _make_cards(report: Report) -> list[Element]:
    """Returns a card for each broken law."""
    cards = [
        _make_card(result, result.counterexample)
        for result in itertools.chain.from_iterable(report.list_broken())
        if result.counterexample
    ]
    return [make_tag("section", make_tag("h2", "Broken laws"), *cards)] if cards else []


def _make_card(result: LawResult, found: Counterexample) -> Element:
    entries = [(label, _write_value(label, text)) for label, text in result.account]
    drawn = draw_errors(result.law, found)
    picture = (
        make_tag("figure", drawn) if isinstance(drawn, Element) else make_tag("p", drawn, class_="faint")
    )
    if found.traceback:
        entries.append(("traceback", make_tag("pre", found.traceback)))
    listed = [part for word, text in entries for part in (make_tag("dt", word), make_tag("dd", text))]
    return make_tag(
        "article", make_tag("h3", *_make_breakable(result.law)), make_tag("dl", *listed), picture,
        class_="card", id=_make_anchor(result.law),
    )  # fmt: skip


def _write_value(label: str, text: str) -> Element | str:
    if label == "again":
        return make_tag("pre", *_write_command(text))
    return make_tag("code", *_make_breakable(text), class_="faint") if label == "code" else text


def _write_command(line: str) -> list[Element | str]:
    """Returns a shell line whose options do not break after their hyphens."""
    parts: list[Element | str] = []
    for place, word in enumerate(line.split(" ")):
        parts.append(" " * bool(place))
        parts.append(make_tag("span", word, class_="option") if word.startswith("--") else word)
    return parts


def _list_required(report: Report) -> list[Element]:
    """Returns the callables that ``--require`` names and the implementation does not offer."""
    if not report.required:
        return []
    names = [make_tag("li", make_tag("code", name)) for name in report.required]
    return [make_tag("section", make_tag("h2", "Required but not offered"), make_tag("ul", *names))]


def _make_table(report: Report, every: bool) -> list[Element]:
    """Returns the table of the laws, one in a row."""
    results = [result for result in report.results if every or result.status != "not offered"]
    if not results:
        return []
    names = (("law", ""), ("verdict", ""), ("cases", "number"), ("worst rho", "number"))
    head = [make_tag("th", name, scope="col", class_=kind) for name, kind in names]
    caption = (
        "rho is your error divided by the error that correct code makes by rounding each operation once. "
        f"Above {RHO_LIMIT:g}, the mark on each bar, a law is broken. exact: compared bit by bit."
    )
    return [
        make_tag(
            "section",
            make_tag("h2", "All laws" if every else "The laws that were asked"),
            make_tag(
                "table",
                make_tag("caption", caption),
                make_tag("thead", make_tag("tr", *head)),
                make_tag("tbody", *map(_make_row, results)),
            ),
        )
    ]


def _make_row(result: LawResult) -> Element:
    name: list[Element | str] = _make_breakable(result.law)
    if result.status == "broken":
        name = [make_tag("a", *name, href=f"#{_make_anchor(result.law)}")]
    missing = [make_tag("div", result.absence.replace("not offered: ", "needs "), class_="faint")] * bool(
        result.missing
    )
    rho: list[Element | str] = [terminal.describe_rho(result)]
    if result.rho is not None and rho[0] not in ("raised", "refused"):
        rho = [_write_rho(result.rho), _draw_bar(result.rho)]
    return make_tag(
        "tr",
        make_tag("th", *name, scope="row"),
        make_tag("td", make_tag("span", MARKS[result.status], class_=CLASSES[result.status]), *missing),
        make_tag("td", result.counted, class_="number"),
        make_tag("td", *rho, class_="number"),
    )  # fmt: skip


def _write_rho(rho: float) -> str:
    """Returns the largest rho as the table shows it.

    >>> _write_rho(0.437), _write_rho(123456.0), _write_rho(float("inf"))
    ('0.44', '1.2e+05', '\N{INFINITY}')
    """
    return terminal.write_rho(rho) if isfinite(rho) else "\N{INFINITY}"


def _draw_bar(rho: float) -> Element:
    """Returns rho as a bar that is cut off at the right where rho is far beyond the limit."""
    length = BAR if not isfinite(rho) else min(BAR, rho / RHO_LIMIT * BAR_LIMIT)
    fill = "#2c7fb8" if rho <= RHO_LIMIT else "#c2410c"
    return make_tag(
        "svg",
        make_tag("rect", width=BAR, height=10, fill="#eef1f4"),
        make_tag("rect", width=max(length, 1.0), height=10, fill=fill),
        make_tag("path", d=f"M{BAR_LIMIT:g} 0V10", stroke="#1b1f24", stroke_width=1.5),
        width=BAR, height=10, viewBox=f"0 0 {BAR:g} 10", aria_hidden="true",
    )  # fmt: skip


def _make_breakable(name: str) -> list[Element | str]:
    """Returns a law's name with places for line breaks after its slash and its underscores."""
    parts: list[Element | str] = []
    for letter in name:
        parts.append(letter)
        if letter in "/_":
            parts.append(make_tag("wbr"))
    return parts


def _make_anchor(law: str) -> str:
    return "law-" + "".join(c if c.isalnum() or c in "-_" else "-" for c in law)


def _make_text(text: str) -> str:
    return _make_markup(make_tag("title", text)).removeprefix("<title>").removesuffix("</title>")


def _make_markup(element: Element) -> str:
    return ElementTree.tostring(element, encoding="unicode", method="html")
