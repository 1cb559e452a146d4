"""The cache of compiled kernels: what is not what was kept is made anew, and no other user may write it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")

from swin_torch.backends.c import building
from swin_torch.backends.slower import say_once

pytestmark = pytest.mark.usefixtures("compiler")

Load = Callable[[], object]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(building, "FLAGS", ("-O0", "-shared", "-fPIC"))

    def load() -> object:
        for kept in (building._find_cache, building._find_compiler, say_once):
            kept.cache_clear()
        return building.build_library("pointwise.c", BFLOAT16=0)

    yield load  # type: ignore[misc]
    for kept in (building._find_cache, building._find_compiler, say_once):
        kept.cache_clear()


def find_kept(tmp_path: Path) -> Path:
    (kept,) = (tmp_path / "cache" / "swin_torch").iterdir()
    return kept


def test_a_kernel_is_compiled_once(load: Load, tmp_path: Path) -> None:
    assert load() is not None
    before = find_kept(tmp_path).stat()
    assert load() is not None
    assert find_kept(tmp_path).stat().st_ino == before.st_ino
    assert (tmp_path / "cache" / "swin_torch").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["empty", "half", "one bit", "foreign", "a link", "a FIFO", "writable"])
def test_what_is_not_what_was_kept_is_made_anew(damage: str, load: Load, tmp_path: Path) -> None:
    assert load() is not None
    kept = find_kept(tmp_path)
    whole = kept.read_bytes()
    if damage == "writable":
        kept.chmod(0o777)
    else:
        kept.unlink()
    if damage == "a link":
        (tmp_path / "other.so").write_bytes(whole)
        kept.symlink_to(tmp_path / "other.so")
    elif damage == "a FIFO":
        os.mkfifo(kept)
    elif damage != "writable":
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        kept.write_bytes({"empty": b"", "half": whole[:middle], "one bit": flipped}.get(damage, b"foreign"))
    assert load() is not None
    anew = find_kept(tmp_path)
    assert anew.is_file()
    assert not anew.is_symlink()
    assert anew.read_bytes() == whole
    assert anew.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("folder", ["writable by others", "a link", "a file", "under a file", "no home"])
def test_a_folder_that_others_may_write_is_not_used(
    folder: str, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    if folder == "writable by others":
        (cache / "swin_torch").mkdir()
        (cache / "swin_torch").chmod(0o777)
    elif folder == "a link":
        (tmp_path / "other").mkdir()
        (cache / "swin_torch").symlink_to(tmp_path / "other")
    elif folder == "a file":
        (cache / "swin_torch").touch()
    elif folder == "under a file":
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(building.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.warns(UserWarning, match="without kept kernels, which each process compiles anew"):
        assert load() is not None
    assert not list(tmp_path.rglob("*.so"))


def test_a_compiler_that_hangs_or_speaks_no_utf8_is_done_without(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in (("hangs", "sleep 60"), ("speaks", "printf '\\377\\376' >&2; exit 1")):
        compiler = tmp_path / name
        compiler.write_text(f"#!/bin/sh\n{code}\n")
        compiler.chmod(0o700)
        monkeypatch.setenv("CC", str(compiler))
        monkeypatch.setattr(building, "SECONDS", 0.5)
        with pytest.warns(UserWarning, match=f"{name} did not compile it"):
            assert load() is None


def test_a_temporary_folder_is_removed_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = "from swin_torch.backends.c import building; print(building._find_cache())"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    line = [sys.executable, "-W", "ignore", "-c", code]
    run = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.startswith(str(tmp_path))
    assert not Path(run.stdout.strip()).exists()
