"""Reading torch's files, which are pickles: only weights are read, no code in them is run."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

CONFIGURATIONS = ("argparse", "yacs", "types", "easydict", "addict", "mmcv", "mmengine", "ml_collections")
"""The modules of the configurations that training code saves beside the weights."""


def read_torch(path: Path) -> Any:
    """Reads a file of torch, tensors as NumPy arrays; bfloat16 becomes float32, which is exact.

    Errors: ``ValueError`` for a file that is no pickle of weights or is truncated, and without torch.
    """
    try:
        import torch
    except ImportError:
        raise ValueError(f"reading {path.name} needs torch: install it, or convert to .npz") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below says the same
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
    """Returns why a pickle is refused; for a configuration, with two lines of code that extract the weights.

    The lines read each object of the configuration as a plain dict: no code in the file is run.
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
    """Returns the classes and functions in a pickle that weights do not need."""
    import torch

    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return re.findall(r"GLOBAL ([\w.]+)", reason)[:1]  # the older format: the reason names the first


def _unreadable(path: Path, reason: str) -> str:
    return f"{path.name} does not read as a file of weights alone: {reason.splitlines()[0]}"
