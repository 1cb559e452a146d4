"""The page of public implementations: it says what the results say, and shows a fault that is planted."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import swin_reference
from studies.peers import page, tables
from studies.peers.__main__ import PAGE, judge_in_environment
from studies.peers.catalogue import PEERS, RESULTS, Peer, find
from studies.peers.environment import find_error
from studies.peers.judge import make_question, replace_path, summarise
from swin_properties import check


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of the table's cells by row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def judge(**callables: Any) -> dict[str, Any]:
    """What the page shows of an implementation with these callables."""
    report = check(SimpleNamespace(precision="float64", **callables), effort="quick", shrink=1.0)
    return {"name": "mine", "package": "mine", "framework": "NumPy", "version": "1", **summarise(report)}


def roll_too_far(x: Any, shift_size: Any) -> Any:
    """A planted fault: the columns are not rolled back."""
    height, _ = (shift_size, shift_size) if isinstance(shift_size, int) else shift_size
    return np.roll(x, (height, 0), (1, 2))


def test_page_is_what_the_results_say() -> None:
    results = page.read_results(RESULTS)
    assert PAGE.read_text("utf-8") == page.write_page(results)
    assert tables.PAGE.read_text("utf-8") == tables.write_page(results)
    assert tables.write_summary(results) in tables.SUMMARY.read_text("utf-8")


def test_each_known_failure_of_our_peers_fails() -> None:
    asked = [one for one in tables.choose_peers(page.read_results(RESULTS)) if "laws" in one]
    assert {one["effort"] for one in asked} == {"default"}
    assert [(one["name"], one["stale"]) for one in asked if one["stale"]] == []


def test_numbers_are_those_of_the_laws() -> None:
    results = [result for result in page.read_results(RESULTS) if "laws" in result]
    assert len(results) >= 10
    shown = {row[0]: row for row in Elements(PAGE.read_text("utf-8")).rows if len(row) == 8}
    for result in results:
        statuses = list(result["laws"].values())
        counts = [statuses.count(status) for status in page.STATUSES]
        assert shown[result["name"]][4:] == [str(count) for count in counts]
        told = {law for finding in result["findings"] for law in finding["laws"]}
        wrong = {law for law, status in result["laws"].items() if status in ("broken", "known failure")}
        assert told == wrong


def test_each_other_has_a_reason() -> None:
    text = PAGE.read_text("utf-8")
    for result in page.read_results(RESULTS):
        if "laws" not in result:
            assert result["absent"]
            assert f"<strong>{result['name']}</strong>" in text


def test_page_is_whole_by_itself() -> None:
    text = PAGE.read_text("utf-8")
    elements = Elements(text).found
    for tag, attributes in elements:
        assert not {"src", "srcset", "data", "action"} & attributes.keys(), tag
        if tag != "a" and "href" in attributes:
            assert str(attributes["href"]).startswith(("data:", "#")), tag
    assert not re.search(r"@import|url\(", text)
    names = {attributes["id"] for _, attributes in elements if "id" in attributes}
    links = [str(a["href"])[1:] for tag, a in elements if tag == "a" and str(a.get("href")).startswith("#")]
    assert links
    assert set(links) <= names
    assert "/tmp" not in text
    assert "/home" not in text


def test_planted_fault_is_a_finding() -> None:
    forward = swin_reference.cyclic_shift
    right = judge(cyclic_shift=forward, reverse_cyclic_shift=swin_reference.reverse_cyclic_shift)
    wrong = judge(cyclic_shift=forward, reverse_cyclic_shift=roll_too_far)
    assert not right["findings"]
    assert "Every law that was asked holds." in page.write_page([right])
    text = page.write_page([wrong])
    findings = [a for tag, a in Elements(text).found if tag == "details" and a.get("class") == "finding"]
    assert findings
    assert {a["data-callables"] for a in findings} <= {"reverse_cyclic_shift", "cyclic_shift"}
    assert wrong["cause"].splitlines()[0] in text
    assert "<svg" in text
    assert "smallest case" in text
    broken = list(wrong["laws"].values()).count("broken")
    assert broken
    assert next(row for row in Elements(text).rows if row[0] == "mine")[5] == str(broken)


def test_every_environment_is_pinned() -> None:
    for peer in PEERS:
        if not peer.peer and peer.adapter.is_file():
            lines = peer.requirements.read_text().split()
            assert lines
            assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line) for line in lines)


def test_what_was_not_judged_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got 'tim': use one of these"):
        find("tim")
    assert judge_in_environment(find("official")) == "not tried: it comes from a checkout, and none was given"
    assert judge_in_environment(Peer("none", "none", "PyTorch")) == "not tried"
    assert page.read_results(tmp_path)[0]["absent"] == "not tried"
    assert find_error("x\nAttributeError: no y\n") == "AttributeError: no y"
    assert json.dumps(replace_path({"a": ["at /mine"]}, "/mine")) == '{"a": ["at PATH"]}'
    assert make_question(find("timm")).effort == "default"
    assert make_question(find("monai")).effort == "quick"
