"""Judges the peers of swin-oracle at default effort and writes what was found as tables: ``make peers``.

``python -m studies.peers.tables [NAME:PATH ...]`` writes ``docs/peers.md``, and a short table between the
marks ``<!-- peers -->`` of docs/conventions.md.  Microsoft's come from checkouts:
``make peers CHECKOUTS="official:PATH official-v2:PATH detection:PATH"``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing import get_context

from studies.peers.catalogue import ROOT, find
from studies.peers.judge import find_version, list_limits, replace_path
from swin_properties.adapters import load
from swin_properties.adapters.peers import PEERS
from swin_properties.api import make_runner
from swin_properties.judging.report import LawResult, Report
from swin_properties.judging.run import Watcher, ask_laws, make_request
from swin_properties.reports import known_failures

PAGE = ROOT / "docs" / "peers.md"
SUMMARY = ROOT / "docs" / "conventions.md"
BLOCK = re.compile(r"<!-- peers -->\n.*?<!-- /peers -->", re.DOTALL)


@dataclass(frozen=True)
class Judgement:
    """What was found of one peer, and the limits of what it takes."""

    words: str
    version: str
    convention: str
    report: Report

    @property
    def name(self) -> str:
        """The peer's name."""
        return self.words.partition(":")[0]

    @property
    def path(self) -> str:
        """The path of its checkout, empty for a package."""
        return self.words.partition(":")[2]


@dataclass(frozen=True)
class Finding:
    """Laws that are broken for one cause; of the first the smallest case is shown."""

    cause: str
    laws: list[LawResult]


def judge(words: str) -> Judgement:
    """Asks a peer every law under its own convention, in float32, as ``swin-oracle check`` does."""
    name = f"peer:{words}"
    adapter = load.load(name)
    request = make_request(name)
    report = known_failures.mark(
        ask_laws(request, make_runner(request), Watcher()), known_failures.read_shipped(name)
    )
    if report.stale:
        raise SystemExit(f"stale known failures of {name}: {', '.join(entry.law for entry in report.stale)}")
    peer, _, path = words.partition(":")
    return Judgement(words, find_version(find(peer), path), adapter.convention, report)


def group_findings(report: Report) -> list[Finding]:
    """Groups the broken laws, known or not, by cause: the same reason, or the same exception."""
    grouped: dict[str, list[LawResult]] = {}
    for result in report.results:
        if result.counterexample is not None:
            raised = re.search(r" raised (\w+: .*)", result.counterexample.seen)
            cause = str(result.known) if result.known else f"It raises {raised[1]}." if raised else result.law
            grouped.setdefault(cause, []).append(result)
    return [
        Finding(
            cause if len(laws) > 1 or laws[0].known else f"This is not true of it: {laws[0].sentence}", laws
        )
        for cause, laws in grouped.items()
    ]


def write_row(judgement: Judgement) -> str:
    """Returns a peer's line of the table."""
    report = judgement.report
    counts = [len(report.of(status)) for status in ("holds", "broken", "known failure", "not offered")]
    cells = [judgement.name, judgement.version, judgement.convention, *map(str, counts)]
    return f"| {' | '.join(cells)} |"


HEAD = "| peer | version | convention | hold | broken | known failures | not offered |"
RULE = "| --- | --- | --- | --- | --- | --- | --- |"


def write_finding(judgement: Judgement, finding: Finding) -> list[str]:
    """Returns the lines of a finding: its cause, its laws, and the smallest case of the first."""
    first = finding.laws[0]
    assert first.counterexample is not None  # a finding is made of broken laws
    laws = ", ".join(f"`{result.law}`" for result in finding.laws)
    status = "known failure of" if first.known else "breaks"
    seen = replace_path(first.counterexample.seen, judgement.path)
    case = str(first.counterexample.case) or "every size 1"
    return [
        f"- {finding.cause}",
        f"  {status} {laws}.",
        f"  Smallest input of the first: `{case}`; {seen}.",
    ]


def write_page(judgements: Iterable[Judgement], absent: Iterable[str]) -> str:
    """Returns the page: the table, then the findings of each peer."""
    judgements = list(judgements)
    lines = [
        "# Public implementations, judged",
        "",
        "Written by `make peers`. Every law is asked of each implementation under its own convention, in",
        "float32 at default effort and seed 0. A broken law that the project has been told of is a known",
        "failure, with the place where it was reported. The laws of locality and of the mask ask for the",
        "definition, whatever the convention.  [peers.html](peers.html) has more libraries, with pictures.",
        "",
        HEAD,
        RULE,
        *map(write_row, judgements),
        "",
    ]
    if absent:
        lines += [f"Not judged in this run: {', '.join(absent)}.", ""]
    for judgement in judgements:
        lines += [f"## {judgement.name} {judgement.version}", ""]
        again = f"peer:{judgement.name}" + (":PATH" if ":" in judgement.words else "")
        lines += [f"`swin-oracle check {again}`", ""]
        if limits := list_limits(judgement.report):
            lines += [f"Asked only what it takes: {'; '.join(limits)}.", ""]
        found = group_findings(judgement.report)
        lines += [line for finding in found for line in write_finding(judgement, finding)] or [
            "Every law holds."
        ]
        lines.append("")
    return "\n".join(lines)


def write_summary(judgements: Iterable[Judgement]) -> str:
    """Returns the table alone, between its marks."""
    return "\n".join(["<!-- peers -->", HEAD, RULE, *map(write_row, judgements), "<!-- /peers -->"])


def main(checkouts: list[str]) -> None:
    """Judges the installed peers and those of the checkouts, two at a time, and writes both pages."""
    asked = [name for name, checkout in PEERS.items() if not checkout] + checkouts
    with get_context("spawn").Pool(2) as pool:
        judgements = []
        for judgement in pool.imap(judge, asked, chunksize=1):
            judgements.append(judgement)
            print(write_row(judgement), flush=True)
    absent = [name for name in PEERS if name not in {judgement.name for judgement in judgements}]
    PAGE.write_text(write_page(judgements, absent))
    SUMMARY.write_text(BLOCK.sub(lambda _: write_summary(judgements), SUMMARY.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
