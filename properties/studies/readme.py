"""Writes into the README and its pages what their commands print: ``make readme``."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "docs" / "read-a-report.md")
BLOCK = re.compile(r"```console\n\$ swin-oracle (.*)\n(?:.*\n)*?```\n")


def printed(words: str) -> str:
    """What ``swin-oracle WORDS`` prints where the README's example is ``my_swin.py``."""
    example = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    with tempfile.TemporaryDirectory() as folder:
        if example:
            (Path(folder) / "my_swin.py").write_text(example[1])
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        line = [sys.executable, "-m", "swin_properties.commands.cli", *shlex.split(words)]
        environment = os.environ | {"COLUMNS": "100"}
        run = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if run.returncode == 2 or run.stderr:
        raise RuntimeError(f"the README's command fails: swin-oracle {words}: {run.stderr}")
    return "\n".join(text.rstrip() for text in run.stdout.splitlines()) + "\n"


def regenerated(text: str) -> str:
    """A README with every console block's output printed anew."""
    return BLOCK.sub(lambda m: f"```console\n$ swin-oracle {m[1]}\n{printed(m[1])}```\n", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(regenerated(page.read_text()))
