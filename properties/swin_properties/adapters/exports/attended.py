"""The windows of an attention in an ONNX graph: what it is given, what it gives, what its mask hides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from swin_properties.adapters.exports.onnx_file import Graph
from swin_properties.adapters.exports.recover import HIDDEN, Step

PRODUCTS = ("MatMul", "FusedMatMul", "Gemm", "Einsum", "Mul", "Div")
"""The operators that make the logits of an attention, or scale them, before anything is added."""


def find_windows(graph: Graph, steps: Sequence[Step], passed: Iterable[str]) -> dict[str, str]:
    """Returns the names of four values of an attention, whose steps stand between the two norms of its block.

    These are the windows that it is given and gives, its logits, and those before bias and mask are added.
    ``passed`` are the operators that only move numbers.  Nothing where the steps are others.
    """
    kinds = [step.kind for step in steps]
    if kinds not in (["linear", "softmax", "linear"], [*["linear"] * 3, "softmax", "linear"]):
        return {}
    first, softmax, last = steps[0].node, steps[-2].node, steps[-1]
    name = softmax.input[0]
    while (node := graph.makers.get(name)) is not None and node.op_type in ("Add", *passed):
        named = [one for one in node.input if one and any(maker is first for maker in graph.behind(one))]
        if not named:
            return {}
        name = named[0]
    if node is None or node.op_type not in PRODUCTS:
        return {}
    gave = last.node.output[0] if last.bias is None else last.bias.node.output[0]
    return {
        "attn.in": first.input[0],
        "attn.out": gave,
        "attn.logits": softmax.input[0],
        "attn.product": name,
    }


def read_windows(maps: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the maps with a mask (nW, N, N) for each attention in place of its logits.

    A pair of tokens is hidden where the attention adds a number that is no bias.  An attention that is not
    given and does not give windows (nW, N, C) is left out: their order is not known.

    >>> logits, x = np.float32([[[[1, -99], [2, 0]]]]), np.ones((1, 2, 3))
    >>> maps = {"attn.logits": logits, "attn.product": np.zeros(4), "attn.in": x, "attn.out": x}
    >>> read_windows(maps)["attn.mask"].tolist(), len(read_windows(maps | {"attn.in": x[0]}))
    ([[[0.0, -100.0], [0.0, 0.0]]], 0)
    """
    found = dict(maps)
    for attention in [key.removesuffix(".logits") for key in maps if key.endswith("attn.logits")]:
        parts = (found.pop(f"{attention}.{key}") for key in ("in", "out", "logits", "product"))
        given, gave, logits, product = parts
        heads, tokens = logits.shape[-3], logits.shape[-1]
        added = (logits - product.reshape(logits.shape)).reshape(-1, heads, tokens, tokens).max(1)
        if not given.shape[:-1] == gave.shape[:-1] == added.shape[:2]:
            continue
        hiding = np.where(np.isinf(added), -np.inf, -100.0)  # -97 is -100 and a bias
        mask = np.where(added < HIDDEN, hiding, 0.0)
        found |= {f"{attention}.in": given, f"{attention}.out": gave, f"{attention}.mask": mask}
    return found
