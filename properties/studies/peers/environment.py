"""Makes the environment of an implementation: ours, and above it what its file of requirements pins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from studies.peers.catalogue import ENVIRONMENTS, Peer


def make_environment(peer: Peer) -> Path:
    """Returns the Python of a peer's environment, which is made where it is missing or its file has changed.

    Packages of ours are seen in it, unless its own have the same name; in that of a program none are.

    Errors: ``ValueError`` with the last line of pip, for what does not install.
    """
    home, python = ENVIRONMENTS / peer.home, peer.python
    done = home / "installed.txt"
    wanted = peer.requirements.read_text()
    if done.is_file() and done.read_text() == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = home / "venv" / "lib" / version / "site-packages"
    ours = [path for path in sys.path if path.endswith("site-packages") and not peer.client]
    (packages / "_ours.pth").write_text("".join(f"{path}\n" for path in ours))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    line = [*pip, "--quiet", "--no-deps", "--requirement", str(peer.requirements)]
    ran = subprocess.run(line, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ValueError(f"does not install: {find_error(ran.stderr)}")
    done.write_text(wanted)
    return python


def find_error(text: str) -> str:
    """Returns the line of a failed command that says what is wrong: the first error, else the last line.

    >>> find_error("Traceback:\\n  File ...\\nModuleNotFoundError: No module named 'x'")
    "ModuleNotFoundError: No module named 'x'"
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR:", "swin-oracle: ")) or "Error: " in line]
    return (errors or lines or ["it said nothing"])[-1]
