"""Writes what was found of our own peers as text: docs/peers.md, and the table of docs/conventions.md.

It reads the same results as the page docs/peers.html does; nothing is judged here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from studies.peers.catalogue import ROOT, find
from studies.peers.page import Result, count_laws, describe_finding

PAGE = ROOT / "docs" / "peers.md"
SUMMARY = ROOT / "docs" / "conventions.md"
BLOCK = re.compile(r"<!-- peers -->\n.*?<!-- /peers -->", re.DOTALL)

HEAD = "| peer | version | convention | hold | broken | known failures | not offered |"
RULE = "| --- | --- | --- | --- | --- | --- | --- |"


def choose_peers(results: Iterable[Result]) -> list[Result]:
    """Returns the results of swin-oracle's own peers: those that ``check peer:NAME`` judges."""
    return [result for result in results if find(result["name"]).peer]


def write_row(result: Result) -> str:
    """Returns a peer's line of the table."""
    cells = [result["name"], result["version"], result["convention"], *map(str, count_laws(result)[""])]
    return f"| {' | '.join(cells)} |"


def write_finding(finding: dict[str, Any]) -> list[str]:
    """Returns the lines of a finding: what it is, its laws, and the smallest input of the first.

    >>> account = [["seen", "rho 3"], ["smallest case", "grid=1x2"]]
    >>> found = {"known": None, "laws": ["mlp/gelu"], "sentence": "GELU.", "account": account}
    >>> print(*write_finding(found), sep="\\n")
    - mlp: this is not true of it: GELU.
      Broken: `mlp/gelu`.
      The smallest case: `grid=1x2`; rho 3.
    """
    known, account = finding["known"], dict(map(tuple, finding["account"]))
    laws = ", ".join(f"`{law}`" for law in finding["laws"])
    link = f" ({known[1]})" if known and known[1] else ""
    label = next(label for label in account if "smallest case" in label)
    of_the_first = " of the first" * (len(finding["laws"]) > 1)
    return [
        f"- {describe_finding(finding)}{link}",
        f"  {'Known failure' if known else 'Broken'}: {laws}.",
        f"  {label.capitalize() if label.startswith('not') else 'The ' + label}{of_the_first}: "
        f"`{account[label]}`; {account['seen']}.",
    ]


def write_page(results: Iterable[Result]) -> str:
    """Returns the page: the table, then the findings of each peer."""
    peers = choose_peers(results)
    shown = [result for result in peers if "laws" in result]
    efforts = " and ".join(
        sorted({f"{result['precision']} at {result['effort']} effort" for result in shown})
    )
    lines = [
        "# Public implementations, judged",
        "",
        "Written by `make peers`. Every law is asked of each implementation under its own convention, in",
        f"{efforts} and seed 0. A broken law that was reported, or that stands in the library's",
        "own code, is a known failure, with the place. The laws of locality and of the mask ask for the",
        "definition, whatever the convention.  [peers.html](peers.html) has more libraries, with pictures.",
        "",
        HEAD,
        RULE,
        *map(write_row, shown),
        "",
    ]
    for result in peers:
        if "laws" not in result:
            lines += [f"Not judged: {result['name']}, {result['absent']}.", ""]
    for result in shown:
        lines += [f"## {result['name']} {result['version']}", ""]
        lines += [f"`swin-oracle check {result['implementation']}`", ""]
        if result["limits"]:
            lines += [f"The laws ask only what it takes: {'; '.join(result['limits'])}.", ""]
        if result["scope"]:
            lines += [f"Cases are drawn inside its scope: {result['scope']}.", ""]
        lines += [line for finding in result["findings"] for line in write_finding(finding)] or [
            "Every law that was asked holds."
        ]
        lines.append("")
    return "\n".join(lines)


def write_summary(results: Iterable[Result]) -> str:
    """Returns the table alone, between its marks."""
    rows = [write_row(result) for result in choose_peers(results) if "laws" in result]
    return "\n".join(["<!-- peers -->", HEAD, RULE, *rows, "<!-- /peers -->"])


def write_tables(results: Iterable[Result]) -> None:
    """Writes both pages."""
    results = list(results)
    PAGE.write_text(write_page(results), "utf-8")
    SUMMARY.write_text(BLOCK.sub(lambda _: write_summary(results), SUMMARY.read_text("utf-8")), "utf-8")
