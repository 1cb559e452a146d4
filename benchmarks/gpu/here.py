"""Records what the machine has: card, driver, versions, commit; and which packages are missing."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu.part import Part
from benchmarks.machine.checkout import ROOT, find_commit

PACKAGES = {
    "numpy": "all",
    "scipy": "all",
    "torch": "all",
    "triton": "all that the kernels do",
    "hypothesis": "the laws on drawn cases",
    "timm": "the goals against timm",
    "torchvision": "the goals against torchvision",
    "transformers": "the goals against transformers",
    "pytest": "nothing here: the tests",
    "jaxtyping": "nothing here: the tests of shapes",
    "rich": "nothing here: the command's tables",
    "PIL": "nothing here: pictures of inputs",
    "safetensors": "nothing here: checkpoints in that form",
}
"""The packages that are used, and what does not run without them."""

DISTRIBUTIONS = {"PIL": "pillow"}

SOURCES = "*.py", "*.c", "*.h", "*.toml", "tuned.json"


def run(part: Part) -> None:
    """Reports missing packages first, then looks at the card."""
    missing = {name: costs for name, costs in PACKAGES.items() if find_spec(name) is None}
    for name, costs in missing.items():
        print(f"{name} is not installed; without it is left out: {costs}", flush=True)
    part.record.add("missing", missing)
    part.record.add("versions", {name: number for name in PACKAGES if (number := find_version(name))})
    part.record.add("python", platform.python_version())
    part.record.add("cores", os.cpu_count())
    part.record.add("commit", find_commit())
    part.record.add("sources", compute_digest(ROOT))
    part.record.add("date", datetime.now(UTC).isoformat(timespec="minutes"))
    part.do_each({"card": lambda: look_at_card(part)})


def look_at_card(part: Part) -> None:
    """Records the GPU, or that there is none."""
    import torch

    if part.reduced or not torch.cuda.is_available():
        part.record.add("card", None)
        return
    found = torch.cuda.get_device_properties(0)
    part.record.add("card", found.name)
    part.record.add("capability", f"{found.major}.{found.minor}")
    part.record.add("multiprocessors", found.multi_processor_count)
    part.record.add("memory_gb", round(found.total_memory / 1e9, 1))
    part.record.add("cuda", torch.version.cuda)
    part.do_each({"driver": lambda: part.record.add("driver", find_driver())})


def find_driver() -> str:
    """Returns the driver's version."""
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]


def find_version(package: str) -> str | None:
    """Returns the version of an installed package.

    >>> find_version("no-such-package") is None
    True
    """
    try:
        return version(DISTRIBUTIONS.get(package, package))
    except PackageNotFoundError:
        return None


def compute_digest(root: Path) -> str:
    """Returns a hash of all source files, which identifies a copy's commit where git is missing.

    >>> from tempfile import mkdtemp
    >>> compute_digest(Path(mkdtemp()))[:8]
    'e3b0c442'
    """
    found = hashlib.sha256()
    folders = (root / name for name in ("reference", "swin_torch", "properties", "benchmarks"))
    for path in sorted(path for folder in folders for kind in SOURCES for path in folder.rglob(kind)):
        found.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return found.hexdigest()
