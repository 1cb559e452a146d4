"""Runs of the cases kept as files: pytest-benchmark's JSON, one file a run, named by date and commit.

python -m benchmarks.history.results [pytest's own words]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_properties.reports import files

FOLDER = Path(__file__).parents[1] / "results"
NAMES = "[0-9]*.json"
"""A run begins with its date; what `make gpu` keeps there does not."""
CASES = str(FOLDER.with_name("tests") / "test_cases.py")
WORDS = ["--benchmark-enable", "--benchmark-only", "-q"]


@dataclass(frozen=True)
class Run:
    """One file: when and on what it was made; by case, its least seconds and what is beside them."""

    file: str
    date: str
    commit: str
    processor: str
    seconds: dict[str, float]
    beside: dict[str, dict[str, Any]]


def read(path: Path) -> Run:
    """A file of results.

    Errors: ``ValueError`` in one sentence for a file that is no JSON, or that pytest-benchmark and this
    project's cases did not write.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"a file of results is JSON, {path} does not read: {error}: remove it") from None
    try:
        machine = data["machine_info"]["swin_oracle"]
        cases = data["benchmarks"]
        names = today([case["name"] for case in cases])
        return Run(
            path.name,
            str(data["datetime"]),
            str(machine["commit"]),
            str(machine["processor"]),
            {names[case["name"]]: float(case["stats"]["min"]) for case in cases},
            {names[case["name"]]: dict(case["extra_info"]) for case in cases},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"a file of results is what `make bench-save` writes, {path} has another schema ({error!r}): "
            "remove it, or make it anew"
        ) from None


def today(names: Sequence[str]) -> dict[str, str]:
    """Returns for each recorded name of a test its name today.

    Until the constructors of swin_torch gave the fast model, that was `swin_torch:fused`, and `swin_torch` or
    `swin_torch:eager` was the plain one.

    >>> today(["a[mlp-swin_torch:fused]", "a[mlp-swin_torch]"])
    {'a[mlp-swin_torch:fused]': 'a[mlp-swin_torch]', 'a[mlp-swin_torch]': 'a[mlp-swin_torch:plain]'}
    >>> today(["a[mlp-swin_torch]", "a[mlp-swin_torch:plain]"])
    {'a[mlp-swin_torch]': 'a[mlp-swin_torch]', 'a[mlp-swin_torch:plain]': 'a[mlp-swin_torch:plain]'}
    """
    old = {"-swin_torch:fused]": "-swin_torch]", "-swin_torch:eager]": "-swin_torch:plain]"}
    if any(name.endswith(tuple(old)) for name in names):
        old["-swin_torch]"] = "-swin_torch:plain]"
    else:
        old = {}
    found = {}
    for name in names:
        ending = next((ending for ending in old if name.endswith(ending)), "")
        found[name] = name.removesuffix(ending) + old.get(ending, "")
    return found


def save(words: list[str]) -> int:
    """Runs the cases and keeps the times, in one piece and only when all went well; pytest's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "run.json"
        command = [sys.executable, "-m", "pytest", CASES, *WORDS, f"--benchmark-json={fresh}"]
        # Within parallel tests it is no worker of theirs: a worker does not time.
        alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        code = subprocess.run([*command, *words], check=False, env=alone).returncode
        if code or not fresh.exists() or not fresh.stat().st_size:
            print("nothing is kept: the run did not finish well", file=sys.stderr)
            return code or 1
        data = json.loads(fresh.read_text(encoding="utf-8"))
    for case in data["benchmarks"]:
        case["stats"].pop("data", None)
    day, commit = data["datetime"][:19].replace(":", ""), data["machine_info"]["swin_oracle"]["commit"]
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{day}_{commit.rstrip('+')}.json"
    files.write(str(path), json.dumps(data, separators=(",", ":")) + "\n")
    read(path)
    print(f"kept as {path}")
    return 0


if __name__ == "__main__":
    sys.exit(save(sys.argv[1:]))
