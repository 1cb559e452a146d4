"""Judges the public implementations and writes down what was found: ``make peers``.

Writes ``docs/peers.md``, and a short table between the marks ``<!-- peers -->`` of docs/conventions.md.
Microsoft's two come from checkouts: ``make peers CHECKOUTS="official:PATH detection:PATH"``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from swin_properties.adapters import load
from swin_properties.adapters.peers import PEERS
from swin_properties.api import make_runner
from swin_properties.judging.report import LawResult, Report
from swin_properties.judging.run import Watcher, ask_laws, make_request
from swin_properties.reports import known_failures

ROOT = Path(__file__).resolve().parents[2]
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
    def limits(self) -> list[str]:
        """What the adapter says the peer takes, where cases were declined for that."""
        reasons = {reason for result in self.report.results for reason in result.declined}
        return sorted(reason for reason in reasons if reason.endswith(" only"))

    def shown(self, text: str) -> str:
        """Returns the text with the checkout's path replaced by PATH."""
        path = self.words.partition(":")[2]
        return text.replace(path, "PATH") if path else text


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
    return Judgement(words, version(words, adapter.name), adapter.convention, report)


def version(words: str, name: str) -> str:
    """A package's version; of a checkout its commit."""
    path = words.partition(":")[2]
    if not path:
        return name.split()[-1]
    folder = path if Path(path).is_dir() else str(Path(path).parent)
    line = ["git", "-C", folder, "rev-parse", "--short=8", "HEAD"]
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip() or "a checkout"


def findings(report: Report) -> list[Finding]:
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


def row(judgement: Judgement) -> str:
    """Returns a peer's line of the table."""
    report = judgement.report
    counts = [len(report.of(status)) for status in ("holds", "broken", "known failure", "not offered")]
    cells = [judgement.name, judgement.version, judgement.convention, *map(str, counts)]
    return f"| {' | '.join(cells)} |"


HEAD = "| peer | version | convention | hold | broken | known failures | not offered |"
RULE = "| --- | --- | --- | --- | --- | --- | --- |"


def item(judgement: Judgement, finding: Finding) -> list[str]:
    """Returns the lines of a finding: its cause, its laws, and the smallest case of the first."""
    first = finding.laws[0]
    assert first.counterexample is not None  # a finding is made of broken laws
    laws = ", ".join(f"`{result.law}`" for result in finding.laws)
    status = "known failure of" if first.known else "breaks"
    seen = judgement.shown(first.counterexample.seen)
    case = str(first.counterexample.case) or "every size 1"
    return [
        f"- {finding.cause}",
        f"  {status} {laws}.",
        f"  Smallest input of the first: `{case}`; {seen}.",
    ]


def page(judgements: Iterable[Judgement], absent: Iterable[str]) -> str:
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
        *map(row, judgements),
        "",
    ]
    if absent:
        lines += [f"Not judged in this run: {', '.join(absent)}.", ""]
    for judgement in judgements:
        lines += [f"## {judgement.name} {judgement.version}", ""]
        again = f"peer:{judgement.name}" + (":PATH" if ":" in judgement.words else "")
        lines += [f"`swin-oracle check {again}`", ""]
        if judgement.limits:
            lines += [f"Asked only what it takes: {'; '.join(judgement.limits)}.", ""]
        found = findings(judgement.report)
        lines += [line for finding in found for line in item(judgement, finding)] or ["Every law holds."]
        lines.append("")
    return "\n".join(lines)


def short(judgements: Iterable[Judgement]) -> str:
    """Returns the table alone, between its marks."""
    return "\n".join(["<!-- peers -->", HEAD, RULE, *map(row, judgements), "<!-- /peers -->"])


def main(checkouts: list[str]) -> None:
    """Judges the installed peers and those of the checkouts, two at a time, and writes both pages."""
    asked = [name for name, checkout in PEERS.items() if not checkout] + checkouts
    with get_context("spawn").Pool(2) as pool:
        judgements = []
        for judgement in pool.imap(judge, asked, chunksize=1):
            judgements.append(judgement)
            print(row(judgement), flush=True)
    absent = [name for name in PEERS if name not in {judgement.name for judgement in judgements}]
    PAGE.write_text(page(judgements, absent))
    SUMMARY.write_text(BLOCK.sub(lambda _: short(judgements), SUMMARY.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
