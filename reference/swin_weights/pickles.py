"""Reading torch's files, which are pickles: weights alone, no code of theirs is ever run."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

CONFIGURATIONS = ("argparse", "yacs", "types", "easydict", "addict", "mmcv", "mmengine", "ml_collections")
"""The modules whose objects training files keep beside the weights."""


def read_torch(path: Path) -> Any:
    """What a file of torch's holds, tensors as NumPy arrays (bfloat16 as float32, exactly).

    Errors: ``ValueError`` for a file that is foreign or truncated, needs torch, or holds more than weights.
    """
    try:
        import torch
    except ImportError:
        raise ValueError(f"reading {path.name} needs torch: install it, or convert to .npz") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the error says
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path, str(error))) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(_unreadable(path, str(error) or type(error).__name__)) from None

    def numpy(node: Any) -> Any:
        if isinstance(node, torch.Tensor):
            wide = node.float() if node.dtype == torch.bfloat16 else node
            try:
                return wide.detach().numpy()
            except (TypeError, RuntimeError):
                raise ValueError(
                    f"{path.name} holds a tensor that NumPy cannot hold ({node.dtype}, {node.layout}): save "
                    "the weights dense, in float32"
                ) from None
        return {name: numpy(child) for name, child in node.items()} if isinstance(node, dict) else node

    return numpy(loaded)


def _refusal(path: Path, reason: str) -> str:
    """Why a pickle is refused; for a configuration's class, the two lines that get the weights out of it.

    They read every object of those classes as a plain dict: nothing of the file runs then either.
    """
    found = _foreign(path, reason)
    if not found:
        return _unreadable(path, reason)
    named = ", ".join(found)
    if any(name.partition(".")[0] not in CONFIGURATIONS for name in found):
        return (
            f"a checkpoint holds weights alone, {path.name} holds code as well ({named}), which was not run: "
            "ask its author for the state_dict alone"
        )
    classes = ", ".join(f'(__import__("collections").OrderedDict, "{name}")' for name in found)
    return (
        f"a checkpoint holds weights alone, {path.name} holds a configuration as well ({named}): extract "
        "its weights, which runs nothing of it, with "
        f"`import torch; torch.serialization.add_safe_globals([{classes}])` and "
        f" `torch.save({{k: v for k, v in torch.load({str(path)!r}).items() if k in "
        '("model", "state_dict")}, "weights.pth")`'
    )


def _foreign(path: Path, reason: str) -> list[str]:
    """The classes and functions that a pickle names and weights do not need."""
    import torch

    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return re.findall(r"GLOBAL ([\w.]+)", reason)[:1]  # the older format: the first is in the reason


def _unreadable(path: Path, reason: str) -> str:
    return f"{path.name} does not read as a file of weights alone: {reason.splitlines()[0]}"
