"""Compiles the C files for this machine, once: the result is kept in the user's cache.

Environment variables, read when this module is imported or first used:

- ``SWIN_TORCH_NATIVE=0``: compile nothing, without a warning; PyTorch operations are used instead.
- ``CC``: the compiler; by default gcc, or else clang.
- ``SWIN_TORCH_CFLAGS``: more flags for the compiler, such as ``make sanitize``'s.
- ``XDG_CACHE_HOME``: the folder in which ``swin_torch/`` holds the compiled files; by default ``~/.cache``.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from swin_torch.backends.slower import say_once

KERNEL = "its native kernel"

SECONDS = 120
"""How long the compiler may take."""

LARGEST = 2**26
"""The most bytes of a compiled file; they have about 2**17."""

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
    name = f"{Path(source).stem}-{key[:24]}"
    try:
        kept = _find_kept(name) or _compile([compiler, *FLAGS, *defined], source, name)
        return ctypes.CDLL(str(kept))
    except (OSError, subprocess.SubprocessError) as error:
        say_once(KERNEL, f"{compiler} did not compile it: {error}")
        return None


def _find_kept(name: str) -> Path | None:
    """Returns the compiled file that was kept under a name, and removes files that are not what was kept.

    A file's name ends in the digest of its bytes: one that is damaged, half written or foreign differs.
    """
    for path in sorted(_find_cache().glob(f"{name}-*.so")):
        about = path.lstat()
        own = stat.S_ISREG(about.st_mode) and _is_own(about) and about.st_size <= LARGEST
        if own and path.name == f"{name}-{_digest(path)}.so":
            return path
        with suppress(OSError):
            path.unlink()
    return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_own(about: os.stat_result) -> bool:
    """Returns whether a file or folder belongs to this user, and nobody else may write it."""
    user = os.getuid() if hasattr(os, "getuid") else about.st_uid
    return about.st_uid == user and not (hasattr(os, "getuid") and about.st_mode & 0o022)


def _compile(command: list[str], source: str, name: str) -> Path:
    """Compiles a file into the cache, then renames it to what it holds: no process sees half a file."""
    _say_compiling(_find_cache())
    with tempfile.TemporaryDirectory(dir=_find_cache()) as folder:
        made = Path(folder) / "made.so"
        command = [*command, "-o", str(made), str(Path(__file__).with_name(source))]
        # What is loaded before Python, such as a sanitizer, is not for the compiler.
        env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        run = partial(subprocess.run, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=SECONDS)
        if run([*command, OPENMP], check=False).returncode:
            run(command, check=True)
        made.chmod(0o700)
        kept = _find_cache() / f"{name}-{_digest(made)}.so"
        made.replace(kept)
    return kept


@cache
def _say_compiling(folder: Path) -> None:
    """Says once, on standard error unless logging is set up otherwise, why the first call takes seconds."""
    logging.getLogger("swin_torch").warning(
        "swin_torch compiles its C kernels for this machine, once; they are kept in %s", folder
    )


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
    """Returns the folder for compiled files: the user's, or a temporary one if another could write it."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "swin_torch"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        about = folder.lstat()
        if stat.S_ISDIR(about.st_mode) and _is_own(about):
            return folder.resolve()
        reason = f"{folder} is a link, of another user, or writable by others: remove it"
    except (OSError, RuntimeError, ValueError) as error:  # no home, no right to write, no path
        reason = f"there is no folder to keep them in, {error}: set XDG_CACHE_HOME"
    say_once("kept kernels, which each process compiles anew", reason)
    temporary = tempfile.mkdtemp(prefix="swin_torch")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


@cache
def _describe_processor() -> bytes:
    """Returns the processor's features: computers that share a home folder may not run each other's code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor().encode()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "").encode()
