"""The walks of docs/architecture.md are true: their functions exist and are called in this order."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from swin_properties.commands import cli
from swin_reference import SwinConfig

import swin_torch
from swin_torch.backends.c.building import build_library

ROOT = Path(__file__).resolve().parents[3]
WALKS = (ROOT / "docs" / "architecture.md").read_text().split("\n## ")[1:]
STEP = re.compile(r"^\d+\. `([^`:]+): (\w+)`", re.MULTILINE)
HOMES = (ROOT / "properties" / "swin_properties", ROOT / "swin_torch")


def steps(title: str) -> list[tuple[Path, str]]:
    """Returns a walk's functions, each with its file."""
    (walk,) = [walk for walk in WALKS if walk.startswith(title)]
    found = []
    for name, function in STEP.findall(walk):
        (path,) = [home / name for home in HOMES if (home / name).is_file()]
        found.append((path, function))
    return found


def record(call: Callable[[], Any]) -> list[tuple[Path, str]]:
    """Returns the Python functions of the two packages that a call enters, in order."""
    entered: list[tuple[Path, str]] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT)):
            entered.append((Path(code.co_filename), code.co_name))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return entered


def assert_in_order(walk: list[tuple[Path, str]], entered: list[tuple[Path, str]]) -> None:
    """Asserts that the functions of a walk are entered one after the other."""
    calls = iter(entered)
    for step in walk:
        assert step in calls, f"{step[1]} of {step[0].name} is not called, or not at this place"


def test_every_walk_has_at_most_ten_steps_and_every_function_exists() -> None:
    numbers = [int(number) for number in re.findall(r"^(\d+)\. `", "\n".join(WALKS), re.MULTILINE)]
    assert max(numbers) == 10
    for walk in ("A walk: from", "A walk: `shift_size`", "The same on a GPU"):
        assert steps(walk)
        for path, function in steps(walk):
            start = r"^ *def " if path.suffix == ".py" else r"^void "
            assert re.search(rf"{start}{function}\(", path.read_text(), re.MULTILINE), (
                f"{path} has no {function}"
            )


def test_a_check_walks_from_the_command_to_a_law_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", "swin_reference", "--only", "mlp/oracle", "--effort", "quick", "--dtype", "float32"]
    entered = record(lambda: cli.main(words))
    assert "conforms" in capsys.readouterr().out
    assert_in_order(steps("A walk: from"), entered)


def test_the_shift_walks_from_the_network_to_the_kernel() -> None:
    if build_library("attention.c", TOKENS=8, CHANNELS=8, BFLOAT16=0) is None:
        pytest.skip("no C compiler: the kernel of the walk cannot be called")
    config = SwinConfig(embed_dim=8, depths=(2,), num_heads=(2,), window_size=2, num_classes=3)
    model = swin_torch.SwinTransformer(config)
    images = torch.randn(1, 3, 24, 24)
    with torch.no_grad():
        entered = record(lambda: model.eval()(images))
    walk = steps("A walk: `shift_size`")
    assert walk[-1][0].suffix == ".c"
    assert_in_order(walk[:-1], entered)
