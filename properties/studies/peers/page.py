"""Writes what was found of every implementation as one static page, without files from elsewhere."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from studies.peers.catalogue import HERE, PEERS
from swin_properties.adapters.contract import CONTRACT, V2_NAMES
from swin_properties.reports.drawing.svg import make_tag

STATUSES = ("holds", "broken", "known failure", "not offered")
CLASSES = ("holds", "broken", "known", "absent")
HEADS = ("hold", "broken", "known failures", "not offered")
OF_V2 = {*V2_NAMES.values(), "continuous_position_bias_table"}
NOT_TRIED = "not tried"

Result = dict[str, Any]


def read_results(folder: Path) -> list[Result]:
    """Returns the results in the order of the catalogue; what has none was not tried."""
    found = []
    for peer in PEERS:
        file = folder / f"{peer.name}.json"
        nothing = {"name": peer.name, "package": peer.package, "absent": NOT_TRIED}
        found.append(json.loads(file.read_text()) if file.is_file() else nothing)
    return found


def write_page(results: Iterable[Result]) -> str:
    """Returns the page of these results."""
    results = list(results)
    shown = [result for result in results if "laws" in result]
    body = [
        make_tag("h1", "Public implementations of Swin, judged"),
        *_explain(shown),
        _make_filters(shown),
        _make_table(shown),
        *map(_make_section, shown),
        *_list_absent([result for result in results if "laws" not in result]),
    ]
    template = (HERE / "page.html").read_text("utf-8")
    markup = "\n".join(ElementTree.tostring(part, "unicode", "html") for part in body)
    return Template(template).substitute(body=markup)


def count_laws(result: Result) -> dict[str, list[int]]:
    """Returns for each callable how many laws hold, are broken, known failures and not offered; "" for all.

    >>> count_laws({"laws": {"mlp/oracle": "holds", "mlp/gelu": "broken", "layer_norm/eps": "not offered"}})
    {'': [1, 1, 0, 1], 'mlp': [1, 1, 0, 0], 'layer_norm': [0, 0, 0, 1]}
    """
    counts: dict[str, list[int]] = {"": [0] * len(STATUSES)}
    for law, status in result["laws"].items():
        for name in ("", law.partition("/")[0]):
            counts.setdefault(name, [0] * len(STATUSES))[STATUSES.index(status)] += 1
    return counts


def find_asked(result: Result) -> list[str]:
    """Returns the callables of which a law was asked, in the order of the contract."""
    counts = count_laws(result)
    return [name for name in CONTRACT if sum(counts.get(name, [])[:3])]


def find_version(result: Result) -> str:
    """Returns the version of Swin, V1 or V2, whose own callables were asked."""
    return "V2" if OF_V2.intersection(find_asked(result)) else "V1"


def _explain(shown: Sequence[Result]) -> list[Element]:
    efforts = " or ".join(sorted({result["effort"] for result in shown}))
    text = (
        f"{len(shown)} implementations, each asked every law of swin-oracle whose callables it offers, "
        f"in its own precision, under its own convention, at {efforts} effort and seed 0. Nothing is looked "
        "for by name: a finding is a law that is broken, with the smallest input that breaks it. A known "
        "failure is a broken law whose reason swin-oracle was told beforehand, with a link to where it is "
        "discussed. A law that is not offered asks for a callable that the library has not, or has only "
        "inside another."
    )
    again = "Written by make peers from the results in properties/studies/peers/results."
    return [make_tag("p", text), make_tag("p", again, class_="faint")]


def _make_filters(shown: Sequence[Result]) -> Element:
    asked = {name for result in shown for name in find_asked(result)}
    callables = [make_tag("option", name, value=name) for name in CONTRACT if name in asked]
    versions = sorted({find_version(result) for result in shown})
    return make_tag(
        "form",
        make_tag(
            "label",
            "Callable",
            make_tag("select", make_tag("option", "all", value=""), *callables, id="callable"),
        ),
        make_tag(
            "label",
            "Version of Swin",
            make_tag(
                "select",
                make_tag("option", "both", value=""),
                *(make_tag("option", name, value=name) for name in versions),
                id="version",
            ),
        ),
        make_tag("output", "", id="said", for_="callable version", class_="faint"),
        class_="filters",
        hidden="",
    )


def _make_table(shown: Sequence[Result]) -> Element:
    names = ("implementation", "version", "Swin", "convention", *HEADS)
    head = [make_tag("th", name, scope="col", class_="number" if name in HEADS else "") for name in names]
    return make_tag(
        "table",
        make_tag("caption", "The laws of each implementation. With a callable chosen, its laws only."),
        make_tag("thead", make_tag("tr", *head)),
        make_tag("tbody", *map(_make_row, shown)),
        class_="overview",
    )


def _make_row(result: Result) -> Element:
    counts, anchor = count_laws(result), _make_anchor(result)
    cells = [
        make_tag("td", str(count), class_=f"number {kind}" + " some" * bool(count), data_label=label)
        for count, kind, label in zip(counts[""], CLASSES, HEADS, strict=True)
    ]
    return make_tag(
        "tr",
        make_tag("th", make_tag("a", result["name"], href=f"#{anchor}"), scope="row"),
        make_tag("td", result["version"], class_="short", data_label="version"),
        make_tag("td", find_version(result), data_label="Swin"),
        make_tag("td", _describe_convention(result), class_="wide", data_label="convention"),
        *cells,
        data_counts=json.dumps(counts),
        data_version=find_version(result),
        data_section=anchor,
    )


def _describe_convention(result: Result) -> str:
    """Returns the convention, or the combination of decisions, by which it was judged."""
    chosen = result["chosen"]
    if chosen.startswith("assumed: it follows none"):
        return "none; judged by canonical"
    if chosen == "assumed":
        return "no whole network; judged by canonical"
    return str(result["convention"]).replace(",", ", ")


def _describe_choice(result: Result) -> str:
    """Returns the convention, and whether the adapter declares it or it was found by networks."""
    word = "declared" if result["chosen"] == "declared" else "identified"
    return _describe_convention(result) + f", {word}" * (not result["chosen"].startswith("assumed"))


def _list_absent(absent: Sequence[Result]) -> list[Element]:
    if not absent:
        return []
    items = [make_tag("li", make_tag("strong", result["name"]), f": {result['absent']}") for result in absent]
    return [
        make_tag("section", make_tag("h2", "Not judged"), make_tag("ul", *items), class_="peer", id="absent")
    ]


def _make_section(result: Result) -> Element:
    lines = [f"{result['framework']}, {result['precision']}; convention: {_describe_choice(result)}."]
    if result["limits"]:
        lines.append(f"Asked only what it takes: {'; '.join(result['limits'])}.")
    if result["scope"]:
        lines.append(f"Asked only within: {result['scope']}.")
    if result["few_shapes"]:
        lines.append("Cases had a few sizes only.")
    nothing = [make_tag("p", "Every law that was asked holds.", class_="holds")] * (not result["findings"])
    return make_tag(
        "section",
        make_tag("h2", f"{result['name']} {result['version']}"),
        *(make_tag("p", line, class_="faint") for line in lines),
        *(make_tag("p", text.replace("``", "")) for text in _read_about(result)),
        make_tag("p", make_tag("code", f"swin-oracle check {result['implementation']}")),
        *(make_tag("p", line) for line in result["cause"].splitlines()),
        *nothing,
        *map(_make_finding, result["findings"]),
        _make_numbers(result),
        class_="peer",
        id=_make_anchor(result),
    )


def _read_about(result: Result) -> list[str]:
    """Returns what the adapter says of how the library is asked; nothing for a peer of swin-oracle itself."""
    file = HERE / f"of_{result['name']}.py"
    if not file.is_file():
        return []
    said = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return [" ".join(text.split()) for text in said.split("\n\n")]


def _make_finding(finding: dict[str, Any]) -> Element:
    known, laws = finding["known"], finding["laws"]
    kind, mark = ("known", "known failure") if known else ("broken", "broken")
    count = f" ({len(laws)} laws)" * (len(laws) > 1)
    entries: list[tuple[str, Element | str]] = [("laws", make_tag("code", ", ".join(laws)))]
    entries += [("the first says" if len(laws) > 1 else "it says", finding["sentence"])]
    if known and known[1]:
        entries.append(("reported at", make_tag("a", known[1], href=known[1])))
    for label, text in finding["account"]:
        entries.append((label, make_tag("pre", text) if label == "again" else text))
    listed = [part for word, text in entries for part in (make_tag("dt", word), make_tag("dd", text))]
    return make_tag(
        "details",
        make_tag("summary", make_tag("span", mark, class_=f"mark {kind}"), describe_finding(finding) + count),
        make_tag("div", make_tag("dl", *listed), *_draw(finding), class_="open"),
        class_="finding",
        data_callables=" ".join(dict.fromkeys(law.partition("/")[0] for law in laws)),
    )


def describe_finding(finding: dict[str, Any]) -> str:
    """Returns a finding in words: the known reason, the exception, or the law that is not true.

    >>> finding = {"known": None, "account": [], "laws": ["mlp/oracle"]}
    >>> describe_finding(finding | {"sentence": "The MLP is the oracle's."})
    "mlp: this is not true of it: The MLP is the oracle's."
    """
    if finding["known"]:
        return str(finding["known"][0])
    seen = dict(map(tuple, finding["account"])).get("seen", "")
    where = finding["laws"][0].partition("/")[0]
    if " raised " in seen:
        return seen.partition("; ")[0]
    return f"{where}: this is not true of it: {finding['sentence']}"


def _draw(finding: dict[str, Any]) -> list[Element]:
    if not finding["picture"]:
        return []
    caption = make_tag("figcaption", f"Where the result of {finding['pictured']} is wrong.")
    return [make_tag("figure", ElementTree.fromstring(finding["picture"]), caption)]


def _make_numbers(result: Result) -> Element:
    counts = count_laws(result)
    rows = [
        make_tag(
            "tr",
            make_tag("th", *_make_breakable(name), scope="row"),
            *(
                make_tag("td", str(count), class_=f"number {kind}" + " some" * bool(count))
                for count, kind in zip(counts[name][:3], CLASSES[:3], strict=True)
            ),
            data_callables=name,
        )
        for name in find_asked(result)
    ]
    head = [make_tag("th", "callable", scope="col")]
    head += [make_tag("th", name, scope="col", class_="number") for name in HEADS[:3]]
    return make_tag(
        "details",
        make_tag("summary", "Numbers by callable"),
        make_tag("table", make_tag("thead", make_tag("tr", *head)), make_tag("tbody", *rows), class_="tight"),
    )


def _make_breakable(name: str) -> list[Element | str]:
    parts: list[Element | str] = []
    for letter in name:
        parts += [letter, make_tag("wbr")] if letter == "_" else [letter]
    return parts


def _make_anchor(result: Result) -> str:
    return f"peer-{result['name']}"
