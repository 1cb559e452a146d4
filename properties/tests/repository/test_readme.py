"""The READMEs print what their commands print, and the example is an adapter that conforms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from studies import readme

import swin_torch


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
    assert len(example.split("\n")) <= 28
    (tmp_path / "my_swin.py").write_text(example)
    run = command("check", "my_swin.py", "--require", "window_partition,layer_norm,mlp")
    assert run.returncode == 0, run.stdout
    assert re.search(r"\(1\d laws hold, 0 broken", run.stdout)


def test_the_example_of_loading_weights_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.findall(r"```python\n(.*?)```", readme.README.read_text(), re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    torch.save({"model": swin_torch.swin_t().state_dict()}, "swin_tiny_patch4_window7_224.pth")
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["found"].config.depths == names["network"].config.depths == (2, 2, 6, 2)
    assert names["swin_weights"].load("for_timm.safetensors").layout == "timm"


def test_every_callable_is_documented() -> None:
    from swin_properties.adapters.contract import CONTRACT

    text = readme.README.read_text()
    assert all(f"`{name}(" in text for name in CONTRACT)
