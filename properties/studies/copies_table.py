"""Judges public copies of Swin without an adapter and writes down what was found: ``docs/copies.md``.

    python properties/studies/copies_table.py CHECKOUTS [--reports FOLDER]

CHECKOUTS holds ``LIST.tsv``, with a repository, its commit and the path of a file in each line, and a
checkout of each repository in a folder OWNER+NAME.  Reports that FOLDER already holds are not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "copies.md"
LAWS = (
    "*/oracle,window_partition/*,window_reverse/*,relative_position_index/*,shifted_window_mask/*,"
    "window_attention/mask,cosine_window_attention/mask,*_block/drop-path,*/gradient"
)
"""The laws that each file is asked: components against the oracle, windows, mask, gradients."""

COMMAND = ("check", "--effort", "quick", "--shrink", "1", "--in-process", "--only", LAWS)

INTRODUCTION = """# Public copies, judged without an adapter

<!-- Written by properties/studies/copies_table.py; change that. -->

Each row is one file of a public repository, unchanged, judged by `swin-oracle check FILE`. The command reads
its classes and functions as [Judge a copy](judge-a-copy.md) explains: at effort quick, by the laws that
compare each component with the oracle, and those of windows, index, mask, drop path and gradients. A broken
law says nothing of a network that was trained with the file: training adapts to many of these differences.

"""

NOT_ALONE = """Where an attention works inside windows and a block shifts them, nothing offers a shifted
window attention alone: the laws of the block ask it. Laws of what is not offered were not asked."""

LICENCES = {
    "MIT License": "MIT",
    "Apache License": "Apache 2.0",
    "GNU AFFERO": "AGPL 3.0",
    "GNU GENERAL": "GPL 3.0",
    "BSD 3-Clause": "BSD 3-Clause",
}


@dataclass(frozen=True)
class Copy:
    """A file of a repository, and what became of it: a report, or a sentence."""

    repository: str
    commit: str
    file: str
    licence: str
    report: dict[str, Any] | None
    sentence: str

    @property
    def verdict(self) -> str:
        """What was judged, in words."""
        if self.report is None:
            return "not judged"
        laws = [law for law in self.report["laws"] if law["status"] in ("holds", "broken")]
        broken = sum(law["status"] == "broken" for law in laws)
        return (
            f"{len(laws) - broken} laws hold, {broken} broken"
            if broken
            else f"conforms: {len(laws)} laws hold"
        )

    @property
    def version(self) -> str:
        """The version of Swin, and the convention that it was judged by."""
        if self.report is None:
            return ""
        version = "V2" if "Swin V2" in self.report["recognised"][0] else "V1"
        return f"{version}, {self.report['convention']}"


def read_licence(folder: Path) -> str:
    """Returns the licence of a repository by the first words of its file."""
    for file in sorted(folder.glob("LICENSE*")):
        text = file.read_text(errors="replace")[:400]
        return next((name for words, name in LICENCES.items() if words in text), "other")
    return "none stated"


def judge(folder: Path, repository: str, commit: str, file: str, reports: Path) -> Copy:
    """Judges one file, in a process of its own, or reads its report where it was judged before."""
    home = folder / repository.replace("/", "+")
    kept = reports / f"{repository}/{file}".replace("/", "+").replace(".py", ".json")
    said = kept.with_suffix(".txt")
    if not kept.is_file() and not said.is_file():
        line = [sys.executable, "-m", "swin_properties.commands.cli", *COMMAND, file, "--json", str(kept)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        run = subprocess.run(line, cwd=home, capture_output=True, text=True, env=environment, check=False)
        if not kept.is_file():
            last = (run.stderr.strip().splitlines() or [f"its process ended with {run.returncode}"])[-1]
            said.write_text(last.removeprefix("swin-oracle: "))
    report = json.loads(kept.read_text()) if kept.is_file() else None
    sentence = "" if report is not None else said.read_text().replace(str(home), "")
    return Copy(repository, commit, file, read_licence(home), report, sentence)


def describe_broken(report: dict[str, Any]) -> Iterable[str]:
    """Yields the cause, then for each component that is wrong the first law, in words, with what was seen."""
    if report["cause"]:
        yield f"- {report['cause'].splitlines()[0]}"
    groups: dict[str, list[dict[str, Any]]] = {}
    for law in report["laws"]:
        if law["status"] == "broken":
            groups.setdefault(law["name"].partition("/")[0], []).append(law)
    for laws in groups.values():
        law = laws[0]
        seen = law["counterexample"]["seen"] if law["counterexample"] else "the process died"
        more = f" ({len(laws)} laws of it are broken)" if len(laws) > 1 else ""
        yield f"- `{law['name']}`: {law['sentence']} Seen: {seen}{more}."


def write_page(copies: list[Copy]) -> str:
    """Returns the page: a table, what is broken in each, and what was not offered or judged."""
    judged = [copy for copy in copies if copy.report is not None]
    lines = [INTRODUCTION + f"{len(copies)} files were tried, {len(judged)} give a verdict.", ""]
    lines += [
        "| repository | commit | file | licence | judged as | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for copy in copies:
        link = f"[{copy.repository}](https://github.com/{copy.repository}/blob/{copy.commit}/{copy.file})"
        cells = link, copy.commit[:8], f"`{copy.file}`", copy.licence, copy.version, copy.verdict
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## What is broken", ""]
    for copy in judged:
        broken = list(describe_broken(copy.report or {}))
        if broken:
            lines += [f"### {copy.repository}, `{copy.file}`", "", *broken, ""]
    lines += ["## What was not offered", "", NOT_ALONE, ""]
    for copy in judged:
        said = (copy.report or {})["recognised"]
        refused = [line for line in said if " is not offered: " in line and "shifts them alone" not in line]
        if refused:
            lines += [f"### {copy.repository}, `{copy.file}`", "", *(f"- {line}" for line in refused), ""]
    lines += ["## What stopped the others", ""]
    lines += [
        f"- {copy.repository}, `{copy.file}`: {copy.sentence}" for copy in copies if copy.report is None
    ]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Judges the files of a list, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", type=Path)
    parser.add_argument("--reports", type=Path)
    parser.add_argument("--list", type=Path, help="the files, where not those of LIST.tsv")
    args = parser.parse_args()
    text = (args.list or args.checkouts / "LIST.tsv").read_text()
    rows = [line.split("\t") for line in text.splitlines() if line.strip()]
    with TemporaryDirectory() as scratch:
        reports = args.reports or Path(scratch)
        reports.mkdir(exist_ok=True)
        copies = []
        for repository, commit, file in rows:
            copies.append(judge(args.checkouts, repository, commit, file.removeprefix("./"), reports))
            print(f"{repository} {file}: {copies[-1].verdict}", file=sys.stderr, flush=True)
        PAGE.write_text(write_page(copies))


if __name__ == "__main__":
    main()
