"""Writes what commands print into the README and its pages, and the page of callables: ``make readme``."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from swin_properties.adapters import contract
from swin_reference.config import SwinConfig
from swin_reference.config_v2 import SwinV2Config

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PRINTED = "read-a-report.md", "find-where-it-differs.md", "judge-jax-and-keras.md"
PAGES = (README, *(ROOT / "docs" / name for name in PRINTED))
CALLABLES = ROOT / "docs" / "callables.md"
CALLABLES_HEAD = """# The callables of an adapter

An implementation is any object that offers some of these functions. `make readme` writes this page.

B: images, H and W: height and width, C: channels, nW: windows of an image, Mh and Mw: the window's sides,
N = Mh Mw: tokens of a window, p: the patch's side, s: the shift.

What holds for all of them:
"""
SCOPE_HEAD = """## `scope`

An adapter that does not take every input says so in a dict, such as
`scope = {"square_windows": True, "qkv_bias": "always"}`. Cases are then drawn inside it, and every law gets
its full number of them. The words of the dict follow; a value is `True` where nothing else is said:"""
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
    if run.returncode == 2:
        raise RuntimeError(f"the README's command fails: swin-oracle {words}: {run.stderr}")
    return "\n".join(text.rstrip() for text in run.stdout.splitlines()) + "\n"


def regenerated(text: str) -> str:
    """A README with every console block's output printed anew."""
    return BLOCK.sub(lambda m: f"```console\n$ swin-oracle {m[1]}\n{printed(m[1])}```\n", text)


def describe_fields(config: Any, but: Any = None) -> str:
    """Returns the fields of a configuration with their values, without those of another.

    >>> describe_fields(SwinV2Config(), but=SwinConfig())
    '`image_size=256`, `window_size=8`, `pretrained_window_sizes=()`'
    """
    known = vars(but).items() if but else ()
    return ", ".join(
        f"`{name}={value!r}`" for name, value in vars(config).items() if (name, value) not in known
    )


def describe_callables() -> str:
    """Returns the page of callables, from the contract."""
    _, _, common = (contract.__doc__ or "").partition("What holds for all of them:")
    common = common.strip().replace("``", "`")
    config, more = describe_fields(SwinConfig()), describe_fields(SwinV2Config(), but=SwinConfig())
    said = (
        f"- The fields of `SwinConfig`, with their defaults, are {config}; of `SwinV2Config` {more} as well."
    )
    lines = [CALLABLES_HEAD, f"{common}\n{said}", "", SCOPE_HEAD, ""]
    lines += [*(f"- `{word}`: {said}." for word, said in contract.SCOPE.items()), ""]
    for name, entry in contract.CONTRACT.items():
        facts = {
            "takes": entry.takes,
            "gives": entry.gives,
            "may be missing in `params`": ", ".join(f"`{part}`" for part in entry.missing),
            "varies": entry.varies,
            "a convention may refuse": entry.refuses,
        }
        lines += [f"## `{contract.write_signature(name)}`", "", getattr(contract.Swin, name).__doc__, ""]
        lines += [*(f"- {word}: {fact}" for word, fact in facts.items() if fact), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    CALLABLES.write_text(describe_callables())
    for page in PAGES:
        page.write_text(regenerated(page.read_text()))
