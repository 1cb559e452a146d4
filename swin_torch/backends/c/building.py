"""Compiling a C file of this package for this very machine, once: the result is kept in the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from swin_torch.backends.slower import say_once

KERNEL = "its native kernel"

MORE = tuple(os.environ.get("SWIN_TORCH_CFLAGS", "").split())
"""Flags of the user's own: make sanitize names the sanitizers here."""

FLAGS = "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", *MORE
TOGETHER = "-fopenmp"
"""For the threads that PyTorch uses too; not every compiler has them."""


def library(source: str, **constants: int) -> ctypes.CDLL | None:
    """The C file compiled with constants for this processor; None where that cannot be, said once."""
    compiler = _compiler()
    if compiler is None:
        return None
    texts = [Path(__file__).with_name(source), *sorted(Path(__file__).parent.glob("*.h"))]
    text = b"".join(path.read_bytes() for path in texts)
    defined = [f"-D{name}={value}" for name, value in constants.items()]
    key = hashlib.sha256(
        b"".join([text, repr((compiler, FLAGS, defined)).encode(), _processor()])
    ).hexdigest()
    kept = _cache() / f"{Path(source).stem}-{key[:24]}.so"
    try:
        if not kept.exists():
            _compile([compiler, *FLAGS, *defined], source, kept)
        return ctypes.CDLL(str(kept))
    except (OSError, subprocess.CalledProcessError) as error:
        say_once(KERNEL, f"{compiler} did not compile it: {error}")
        return None


def _compile(words: list[str], source: str, kept: Path) -> None:
    """Compiles beside the place and moves there: another process sees the whole file or none."""
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        made = Path(folder) / "made.so"
        words = [*words, "-o", str(made), str(Path(__file__).with_name(source))]
        own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # is Python's alone
        if subprocess.run([*words, TOGETHER], check=False, capture_output=True, env=own).returncode:
            subprocess.run(words, check=True, capture_output=True, text=True, env=own)
        made.replace(kept)


@cache
def _compiler() -> str | None:
    """$CC, or gcc or clang; None if there is none or SWIN_TORCH_NATIVE is 0."""
    if os.environ.get("SWIN_TORCH_NATIVE") == "0":
        return None
    found = next(filter(None, map(shutil.which, filter(None, (os.environ.get("CC"), "gcc", "clang")))), None)
    if found is None:
        say_once(
            KERNEL,
            "there is no C compiler: install gcc or clang, or set SWIN_TORCH_NATIVE=0 to hear no more of it",
        )
    return found


@cache
def _cache() -> Path:
    """A folder of the user's own; where none can be made, one that lasts as long as this process."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        (home / "swin_torch").mkdir(parents=True, exist_ok=True, mode=0o700)
        return home / "swin_torch"
    except OSError:
        return Path(tempfile.mkdtemp(prefix="swin_torch"))


@cache
def _processor() -> bytes:
    """What tells processors apart that share a cache: code for one does not run on the other."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor().encode()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "").encode()
