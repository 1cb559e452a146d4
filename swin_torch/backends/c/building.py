"""Compiles the C files for this machine, once: the result is kept in the user's cache.

Environment variables, read when this module is imported or first used:

- ``SWIN_TORCH_NATIVE=0``: compile nothing, without a warning; PyTorch operations are used instead.
- ``CC``: the compiler; by default gcc, or else clang.
- ``SWIN_TORCH_CFLAGS``: more flags for the compiler, such as ``make sanitize``'s.
- ``XDG_CACHE_HOME``: the folder in which ``swin_torch/`` holds the compiled files; by default ``~/.cache``.
"""

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

USER_FLAGS = tuple(os.environ.get("SWIN_TORCH_CFLAGS", "").split())
FLAGS = "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", *USER_FLAGS

OPENMP = "-fopenmp"
"""Runs the parts of a call in the threads that PyTorch uses too.  Not every compiler has it."""


def build_library(source: str, **constants: int) -> ctypes.CDLL | None:
    """Returns a C file of this package, compiled with these constants; None, with a warning, on failure."""
    compiler = _find_compiler()
    if compiler is None:
        return None
    texts = [Path(__file__).with_name(source), *sorted(Path(__file__).parent.glob("*.h"))]
    text = b"".join(path.read_bytes() for path in texts)
    defined = [f"-D{name}={value}" for name, value in constants.items()]
    key = hashlib.sha256(
        b"".join([text, repr((compiler, FLAGS, defined)).encode(), _describe_processor()])
    ).hexdigest()
    kept = _find_cache() / f"{Path(source).stem}-{key[:24]}.so"
    try:
        if not kept.exists():
            _compile([compiler, *FLAGS, *defined], source, kept)
        return ctypes.CDLL(str(kept))
    except (OSError, subprocess.CalledProcessError) as error:
        say_once(KERNEL, f"{compiler} did not compile it: {error}")
        return None


def _compile(command: list[str], source: str, kept: Path) -> None:
    """Compiles a file into the folder of ``kept``, then renames it: no process sees half a file."""
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        made = Path(folder) / "made.so"
        command = [*command, "-o", str(made), str(Path(__file__).with_name(source))]
        # What is loaded before Python, such as a sanitizer, is not for the compiler.
        env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        if subprocess.run([*command, OPENMP], check=False, capture_output=True, env=env).returncode:
            subprocess.run(command, check=True, capture_output=True, text=True, env=env)
        made.replace(kept)


@cache
def _find_compiler() -> str | None:
    """Returns $CC, or gcc or clang; None if there is none or SWIN_TORCH_NATIVE is 0."""
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
def _find_cache() -> Path:
    """Returns the user's folder for compiled files, or if it cannot be made a temporary one."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        (home / "swin_torch").mkdir(parents=True, exist_ok=True, mode=0o700)
        return home / "swin_torch"
    except OSError:
        return Path(tempfile.mkdtemp(prefix="swin_torch"))


@cache
def _describe_processor() -> bytes:
    """Returns the processor's features: computers that share a home folder may not run each other's code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor().encode()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "").encode()
