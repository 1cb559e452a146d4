"""Pickles: weights come out of them, and nothing in them is run."""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import swin_weights
from swin_properties.commands.cli import main
from swin_reference.config import SwinConfig
from swin_reference.parameters import initial_parameters

torch = pytest.importorskip("torch", reason="torch is not installed")

FLAT = swin_weights.flatten(
    initial_parameters(SwinConfig(embed_dim=4, depths=(1,), num_heads=(2,), window_size=2, num_classes=3))
)
STATE = {name: torch.from_numpy(x) for name, x in FLAT.items()}


class Shell:
    """A pickle of this makes a file, when it is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.path}",))


class Python(Shell):
    def __reduce__(self) -> Any:
        return (eval, (f"__import__('pathlib').Path({str(self.path)!r}).touch()",))


class CfgNode(dict):  # type: ignore[type-arg]
    """A configuration as yacs keeps it: a dict with attributes."""

    def __init__(self) -> None:
        super().__init__(MODEL={"TYPE": "swin"})
        self.__dict__["__immutable__"] = False


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kind", [Shell, Python])
def test_code_is_refused_and_not_run(kind: Any, old: bool, tmp_path: Path) -> None:
    proof, path = tmp_path / "proof", tmp_path / "bad.pth"
    torch.save({"model": STATE, "z": kind(proof)}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(ValueError, match=r"holds code as well .*which was not run") as caught:
        swin_weights.load(path)
    assert re.search("system|eval", str(caught.value))
    assert "\n" not in str(caught.value)
    assert not proof.exists()
    torch.load(path, weights_only=False)  # the file does run, for who lets it
    assert proof.exists()


def test_the_command_runs_no_code_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": STATE, "z": Shell(tmp_path / "proof")}, tmp_path / "bad.pth")
    words = ["predict", "swin_reference", "--image", "photo.jpg", "--checkpoint", str(tmp_path / "bad.pth")]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("home", "old"),
    [("yacs.config", False), ("yacs.config", True), ("lightning_fabric.utilities.data", False)],
)
def test_a_training_file_is_read_without_its_configuration(
    home: str, old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType(home)
    module.CfgNode = CfgNode  # type: ignore[attr-defined]
    monkeypatch.setattr(CfgNode, "__module__", home)
    for name in itertools.accumulate(home.split("."), "{}.{}".format):
        monkeypatch.setitem(sys.modules, name, module if name == home else types.ModuleType(name))
    held = {"model": STATE, "config": CfgNode(), "epoch": 1, "args": argparse.Namespace(lr=0.1)}
    torch.save(held, tmp_path / "training.pth", _use_new_zipfile_serialization=not old)
    monkeypatch.setattr(CfgNode, "__setstate__", lambda *_: pytest.fail("it was run"), raising=False)
    found = swin_weights.load(tmp_path / "training.pth")
    assert all(np.array_equal(found.weights[name], x) for name, x in FLAT.items())
    assert found.notes == (f"its configuration ({home}.CfgNode, argparse.Namespace) is left out",)


class Named:
    """A pickle of this names a class by any text."""

    def __reduce__(self) -> Any:
        return (Named, ())


def test_a_name_in_a_pickle_is_no_line_of_code(tmp_path: Path) -> None:
    name = "yacs.config"
    hostile = "yacs.x'),(__import__('os').system('touch proof'))#"
    torch.save({"model": STATE, "z": Named()}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "w.pth").read_bytes()
    written = f"{Named.__module__}\nNamed\n".encode()
    assert written in whole
    (tmp_path / "w.pth").write_bytes(whole.replace(written, f"{name}\n{hostile}\n".encode()))
    with pytest.raises(ValueError, match=r"w\.pth") as caught:
        swin_weights.load(tmp_path / "w.pth")
    assert "__import__" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("strange", [torch.ones(2).to(torch.float8_e4m3fn), torch.eye(2).to_sparse()])
def test_tensors_that_numpy_has_not(strange: Any, tmp_path: Path) -> None:
    torch.save({"model": STATE | {"norm.bias": strange}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"cannot hold .*: save the weights dense, in float32"):
        swin_weights.load(tmp_path / "w.pth")


@pytest.mark.parametrize("held", [[torch.ones(1)], torch.ones(1), np.ones(1)])
def test_a_file_without_a_dict(held: Any, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth holds no dict: save the model's state_dict"):
        swin_weights.load(tmp_path / "w.pth")


def test_other_objects_are_named(tmp_path: Path) -> None:
    torch.save({"model": STATE, "path": pathlib.PurePosixPath("x")}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="PurePosixPath"):
        swin_weights.load(tmp_path / "w.pth")
