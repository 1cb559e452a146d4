"""Runs the cases and keeps the times: pytest-benchmark's JSON, a file for each run, named by date and commit.

python -m benchmarks.history.results [arguments of pytest]
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
"""The name of a run begins with its date; other files in the folder do not."""
CASES = str(FOLDER.with_name("tests") / "test_cases.py")
WORDS = ["--benchmark-enable", "--benchmark-only", "-q"]


@dataclass(frozen=True)
class Run:
    """Holds a file: its date, commit and processor; by case the least seconds and the extra_info."""

    file: str
    date: str
    commit: str
    processor: str
    seconds: dict[str, float]
    beside: dict[str, dict[str, Any]]


def read(path: Path) -> Run:
    """Reads a file of results.

    Errors: ``ValueError`` for a file that is not JSON, or not written by pytest-benchmark and these cases.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"a file of results is JSON, {path} does not read: {error}: remove it") from None
    try:
        machine = data["machine_info"]["swin_oracle"]
        cases = data["benchmarks"]
        names = find_names_today([case["name"] for case in cases])
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


def find_names_today(names: Sequence[str]) -> dict[str, str]:
    """Returns the name that each recorded test has today, by its recorded name.

    Until the constructors of swin_torch gave the fast model, that was `swin_torch:fused`, and `swin_torch` or
    `swin_torch:eager` was the plain one.

    >>> find_names_today(["a[mlp-swin_torch:fused]", "a[mlp-swin_torch]"])
    {'a[mlp-swin_torch:fused]': 'a[mlp-swin_torch]', 'a[mlp-swin_torch]': 'a[mlp-swin_torch:plain]'}
    >>> find_names_today(["a[mlp-swin_torch]", "a[mlp-swin_torch:plain]"])
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
    """Runs the cases, keeps the times if all went well, and returns pytest's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "run.json"
        command = [sys.executable, "-m", "pytest", CASES, *WORDS, f"--benchmark-json={written}"]
        # Inside parallel tests these variables would make it a worker, and a worker times nothing.
        alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        code = subprocess.run([*command, *words], check=False, env=alone).returncode
        if code or not written.exists() or not written.stat().st_size:
            print("nothing is kept: the run did not finish well", file=sys.stderr)
            return code or 1
        data = json.loads(written.read_text(encoding="utf-8"))
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
