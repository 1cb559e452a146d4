"""Judges one implementation, in the environment that runs this, and writes what was found as JSON.

``python -m studies.peers.judge NAME [PATH]``, from the root of the repository; PATH is a checkout.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from studies.peers.catalogue import ROOT, Peer, find
from swin_properties.api import judge, make_runner
from swin_properties.judging.report import LawResult, Report
from swin_properties.judging.run import Request, Watcher, make_request
from swin_properties.reports import known_failures
from swin_properties.reports.drawing import draw_errors

SHRINK = 5.0
"""How many seconds a smaller case of a broken law is looked for, of a peer with an environment of its own."""


class Progress(Watcher):
    """Prints each law that is broken, as soon as it is known."""

    def after_law(self, law: Any, result: LawResult) -> None:
        """Is called after the last case of a law."""
        if result.status == "broken":
            print(f"  broken: {law.name}", flush=True)


def make_question(peer: Peer, path: str = "") -> Request:
    """Returns what is asked of a peer: every law, at default effort of swin-oracle's own peers.

    Those that have an environment of their own are slower, and are asked at quick effort.
    """
    limits: dict[str, Any] = {} if peer.peer else {"effort": "quick", "shrink": SHRINK}
    program = (str(peer.python), str(peer.adapter.relative_to(ROOT))) if peer.client else ()
    return make_request(
        peer.name_implementation(path),
        program=program,
        few_shapes=peer.few_shapes,
        **limits,
    )


def judge_peer(peer: Peer, path: str = "") -> dict[str, Any]:
    """Judges a peer; returns what the page shows of it."""
    start = time.monotonic()
    request = make_question(peer, path)
    with closing(make_runner(request)) as runner:
        report = judge(request, runner, Progress())
    report = known_failures.mark(report, known_failures.read_shipped(request.implementation))
    told = {
        "name": peer.name,
        "package": peer.package,
        "framework": peer.framework,
        "version": find_version(peer, path),
        **summarise(report),
        "seconds": round(time.monotonic() - start),
    }
    if peer.client:
        told = replace_path(told, str(peer.python), "PYTHON")
        told["implementation"] = f"-- PYTHON {peer.adapter.relative_to(ROOT)}"
    return replace_path(told, path)


def summarise(report: Report) -> dict[str, Any]:
    """Returns what the page shows of a report: the verdict of each law, and the findings.

    >>> summarise(Report("mine", "float32", "quick", 0))["findings"]
    []
    """
    return {
        "implementation": report.implementation,
        "precision": report.precision,
        "effort": report.effort,
        "seed": report.seed,
        "few_shapes": report.few_shapes,
        "convention": report.convention,
        "chosen": report.chosen,
        "scope": report.scope,
        "limits": list_limits(report),
        "cause": report.cause,
        "laws": {result.law: result.status for result in report.results},
        "findings": [make_finding(laws) for laws in group_broken(report)],
        "stale": [entry.law for entry in report.stale],
    }


def list_limits(report: Report) -> list[str]:
    """Returns what the adapter says the peer takes, where cases were declined for that."""
    return sorted(reason for reason in report.declined if reason.endswith(" only"))


def group_broken(report: Report) -> list[list[LawResult]]:
    """Groups the broken laws: the same reason is known for those of a group, or the same was seen in them."""
    known: dict[str, list[LawResult]] = {}
    for result in report.of("known failure"):
        known.setdefault(str(result.known), []).append(result)
    return [*report.list_broken(), *known.values()]


def make_finding(laws: list[LawResult]) -> dict[str, Any]:
    """Returns a finding in words: its laws, the smallest input of the first, and a picture, if any."""
    first = laws[0]
    found = first.counterexample
    assert found is not None  # a finding is made of broken laws
    usual = found.usual
    drawn = draw_errors(first.law, found if usual is None else usual)
    picture = "" if isinstance(drawn, str) else ElementTree.tostring(drawn, "unicode")
    return {
        "laws": [result.law for result in laws],
        "sentence": first.sentence,
        "known": None if first.known is None else [first.known.reason, first.known.link],
        "account": [[label, text] for label, text in first.account if label not in ("law", "code")],
        "picture": picture,
        "pictured": "" if not picture else "the usual case" if usual is not None else "the smallest case",
    }


def find_version(peer: Peer, path: str) -> str:
    """Returns a package's version; of a checkout its commit."""
    if not peer.checkout:
        if not peer.client:
            return importlib.metadata.version(peer.package)
        code = f"import importlib.metadata as m; print(m.version({peer.package!r}))"
        return subprocess.run(
            [peer.python, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
    folder = path if Path(path).is_dir() else str(Path(path).parent)
    line = ["git", "-C", folder, "rev-parse", "--short=8", "HEAD"]
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip() or "a checkout"


def replace_path(told: Any, path: str, word: str = "PATH") -> Any:
    """Returns the value with a path, such as a checkout's, replaced by a word in every text.

    >>> replace_path({"again": ["check peer:official:/mine"]}, "/mine")
    {'again': ['check peer:official:PATH']}
    """
    return json.loads(json.dumps(told).replace(json.dumps(path)[1:-1], word)) if path else told


def main(name: str, path: str = "") -> None:
    """Judges a peer and writes its result."""
    peer = find(name)
    told = judge_peer(peer, path)
    peer.result.parent.mkdir(exist_ok=True)
    peer.result.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
    print(f"{name}: {len(told['findings'])} findings, {told['seconds']} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
