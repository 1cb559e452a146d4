"""Exported models: files of ONNX, of torch.export and of TorchScript, as implementations with one network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

ONNX, TORCH = (".onnx",), (".pt2", ".pt", ".ts", ".torchscript")
"""The ends of the names of exported files."""

OPTIONS = ("checkpoint", "image_size", "runtime", "provider", "optimisation")
"""What may be said of an exported file besides its path: options of the command and of its import string."""

RUNNING = ("runtime", "provider", "optimisation")
"""Those of them that say how a file is run."""


def is_export(name: str) -> bool:
    """Tells whether an import string names an exported file, with or without options.

    >>> is_export("a/model.onnx"), is_export("model.pt2?checkpoint=w.pth"), is_export("mine.py:adapter")
    (True, True, False)
    """
    return _split(name)[0].endswith(ONNX + TORCH)


def add_options(path: str, options: Mapping[str, str]) -> str:
    """Returns the import string of an exported file with options.

    >>> add_options("model.onnx", {"provider": "CPUExecutionProvider"})
    'model.onnx?provider=CPUExecutionProvider'
    """
    return f"{path}?{urlencode(options)}" if options else path


def is_onnx(name: str) -> bool:
    """Tells whether an import string names an ONNX file, which a runtime may change before it runs it."""
    return _split(name)[0].endswith(ONNX)


def find(name: str) -> Any:
    """Returns the adapter of the exported file that an import string names.

    Errors: ``ValueError`` in one sentence for a file that does not read, holds no Swin, or whose weights are
    not recovered where no checkpoint is given; for an unknown option; and for a library that is missing.
    """
    from swin_properties.adapters.exports.network import open_export

    path, query = _split(name)
    options = dict(parse_qsl(query))
    if unknown := [word for word in options if word not in OPTIONS]:
        raise ValueError(
            f"the options of an exported file are {', '.join(OPTIONS)}, got {unknown[0]!r}: use some of these"
        )
    return open_export(path, **options)


def _split(name: str) -> tuple[str, str]:
    """Returns the path and the options of an import string."""
    path, mark, query = name.rpartition("?")
    return (path, query) if mark and path.endswith(ONNX + TORCH) else (name, "")
