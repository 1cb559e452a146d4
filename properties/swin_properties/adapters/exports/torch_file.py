"""Files of torch.export and of TorchScript: their weights by name, and the network that they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from swin_reference.outside import one_sentence, open_file

SCRIPT = (".pt", ".ts", ".torchscript")
"""The ends of the names of TorchScript files."""

PRECISIONS = {"torch.float32": "float32", "torch.float16": "float16"}
"""The precisions in which exported files are judged."""


def import_torch() -> Any:
    """Returns the package torch.

    Errors: ``ValueError`` with the line that installs it.
    """
    try:
        import torch
    except ImportError:
        raise ValueError(
            "a .pt2 or TorchScript file is run by torch, it is not installed: "
            "pip install 'swin-oracle[torch]'"
        ) from None
    return torch


@dataclass(frozen=True)
class TorchFile:
    """A file of torch: how it runs, the shape (B, 3, H, W) that it takes, and its weights by their own names.

    Of ``shape`` None is a side that may be any, or of which the file says nothing.  ``write`` puts other
    weights in place, by the file's names, and returns what runs them.  ``buffers`` are the other numbers that
    the file holds, such as masks, and ``tokens`` how many a window has, where the file shows it: the weights
    of a Swin V2 do not.
    """

    run: Callable[[Any], Any]
    shape: tuple[int | None, ...]
    weights: Mapping[str, Any]
    write: Callable[[Mapping[str, Any]], Callable[[Any], Any]]
    precision: str
    buffers: Sequence[Any] = ()
    tokens: int | None = None


def open_torch(path: str) -> TorchFile:
    """Returns the program or the TorchScript module that a file holds.

    Errors: ``ValueError`` in one sentence for a file that does not read, or whose precision is not judged.
    """
    torch = import_torch()
    with open_file(path, "an exported file"):
        pass
    name = Path(path).name
    if path.endswith(".pt2"):
        with one_sentence(f"a .pt2 file is read by torch {torch.__version__}, {name} is not"):
            program = torch.export.load(path)
            shape, tokens = _find_shape(program), _find_tokens(program)
            module = program.module()
    else:
        with one_sentence(f"a TorchScript file is read by torch {torch.__version__}, {name} is not"):
            module = torch.jit.load(path, map_location="cpu")
        module.eval()
        shape = (None, 3, None, None)  # such a file does not say what it takes
        sizes = [x.numel() for one, x in module.named_buffers() if one.endswith("relative_position_index")]
        tokens = isqrt(sizes[0]) if sizes else None
    # Zeros that timm keeps beside the biases of queries and values, and that are no weights.
    held = {one: x for one, x in module.state_dict().items() if not one.endswith(".k_bias")}
    floats = [x for x in held.values() if x.is_floating_point()]
    kind = str(floats[0].dtype) if floats else "none"
    if kind not in PRECISIONS:
        raise ValueError(
            f"exported files are judged in float32 and float16, the weights of {name} are {kind}: "
            "export it again"
        )
    precision = PRECISIONS[kind]

    def run(images: Any) -> Any:
        with torch.no_grad():
            result = module(torch.from_numpy(np.array(images)))
        while not isinstance(result, torch.Tensor):
            result = next(iter(result.values() if isinstance(result, Mapping) else result))
        return result.float().numpy()

    def write(weights: Mapping[str, Any]) -> Callable[[Any], Any]:
        with torch.no_grad():
            for one, x in weights.items():
                held[own[one]].copy_(torch.from_numpy(np.array(x)))
        return run

    own = {strip(one, held): one for one in held}
    weights = {
        strip(one, held): x.detach().numpy()
        for one, x in held.items()
        if x.is_floating_point() or "index" in one
    }
    shown = {one: x for one, x in module.named_buffers() if one.endswith("relative_coords_table")}
    weights |= {strip(one, held): x.numpy() for one, x in shown.items()}  # it tells V2's windows
    others = [x.detach().numpy() for x in module.buffers() if x.is_floating_point()]
    return TorchFile(run, shape, weights, write, precision, others, tokens)


def strip(name: str, names: Mapping[str, Any]) -> str:
    """Returns a name without the attribute in which a wrapper keeps the network.

    >>> strip("model.swin.layernorm.bias", {"model.swin.layernorm.bias": 0, "model.classifier.bias": 0})
    'swin.layernorm.bias'
    """
    first = {one.partition(".")[0] for one in names}
    return name.partition(".")[2] if len(first) == 1 else name


def _find_shape(program: Any) -> tuple[int | None, ...]:
    """Returns the shape of the images of a program, None for a side that may be any."""
    name, *others = program.graph_signature.user_inputs
    if others:
        raise ValueError(f"it takes {1 + len(others)} inputs, a network or a block takes one")
    value = next(node.meta["val"] for node in program.graph.nodes if node.name == name)
    return tuple(side if isinstance(side, int) else None for side in value.shape)


def _find_tokens(program: Any) -> int | None:
    """Returns how many tokens a window of a program has: those over which its first softmax is taken."""
    calls = (node for node in program.graph.nodes if node.op == "call_function")
    shapes = (node.meta["val"].shape for node in calls if "softmax" in str(node.target))
    side = next((shape[-1] for shape in shapes), None)
    return side if isinstance(side, int) else None
