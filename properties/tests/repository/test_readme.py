"""The README and its pages show what their commands print, and their examples run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from studies import readme

import swin_torch

WRITTEN = [
    str(page.relative_to(readme.ROOT))
    for folder, pattern in (("", "*.md"), ("docs", "*.md"), ("benchmarks", "*.md"), ("examples", "*.md"))
    for page in (readme.ROOT / folder).glob(pattern)
]
"""The pages that people read."""


def without_rho(text: str) -> str:
    """Text without the last digits of rho: they depend on the machine's arithmetic."""
    return re.sub(r"\d+\.\d\d\b", "#", text)


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: str(page.relative_to(readme.ROOT)))
def test_what_a_readme_prints_is_what_is_printed(page: Path) -> None:
    text = page.read_text()
    assert readme.BLOCK.findall(text)
    assert without_rho(readme.regenerated(text)) == without_rho(text)


def test_the_complete_example_of_an_adapter_conforms(command: Command, tmp_path: Path) -> None:
    example = re.findall(r"```python\n(.*?)```", readme.README.read_text(), re.DOTALL)[0]
    (tmp_path / "my_swin.py").write_text(example)
    run = command("check", "my_swin.py", "--require", "window_partition,layer_norm,mlp")
    assert run.returncode == 0, run.stdout
    assert re.search(r"\(1\d laws hold, 0 broken", run.stdout)


def test_the_example_of_loading_weights_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = readme.ROOT / "docs" / "load-checkpoints.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    torch.save({"model": swin_torch.swin_t().state_dict()}, "swin_tiny_patch4_window7_224.pth")
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["found"].config.depths == names["network"].config.depths == (2, 2, 6, 2)
    assert names["swin_weights"].load("for_timm.safetensors").layout == "timm"


def test_the_page_of_callables_is_what_the_contract_says() -> None:
    assert readme.CALLABLES.read_text() == readme.describe_callables()


LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def headings(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", sorted(WRITTEN), ids=str)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    here = readme.ROOT / page
    for path, anchor in LINK.findall(here.read_text()):
        there = here.parent / path if path else here
        assert there.exists(), f"{page} links to {path}, which is not there"
        if anchor:
            assert anchor in headings(there), f"{page} links to {path}#{anchor}, which has no such heading"


def test_every_target_that_is_named_is_in_the_makefile() -> None:
    text = (readme.ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY:((?:.*\\\n)*.*)", text, re.MULTILINE)
    assert set(phony.replace("\\", " ").split()) <= targets
    for page in WRITTEN:
        named = set(re.findall(r"`make ([a-z][a-z-]*)", (readme.ROOT / page).read_text()))
        assert named <= targets, page
