"""Recovers the weights of a Swin Transformer from an ONNX graph, and writes others in their place.

Names are not needed: optimisers lose them, and exporters give equal weights one name.  A Swin uses its
weights in one order: embedding, then for each block a norm, the queries, keys and values, a softmax, the
projection, a norm and the two layers of the MLP; between stages a norm and the reduction; at last a norm and
the head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import numpy as np
from swin_reference.relative_position import relative_position_index

from swin_properties.adapters.exports.onnx_file import Graph, make_run

HIDDEN = -50.0
"""A mask adds a number below this one to a logit."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Slot:
    """One input of a node: where a constant stands."""

    node: Any
    number: int

    @property
    def name(self) -> str:
        """The name of the constant."""
        return str(self.node.input[self.number])


@dataclass(frozen=True)
class Step:
    """One use of weights: an ``embedding``, a ``linear`` layer, a ``norm``, or a ``softmax`` with its bias.

    ``flip``: the weight is stored as (in, out).
    """

    kind: str
    node: Any
    weight: Slot | None = None
    bias: Slot | None = None
    flip: bool = False

    @property
    def label(self) -> str:
        """The step in words, with the name of its initializer."""
        return f"a {self.kind}" + (f" with {self.weight.name}" if self.weight else "")


@dataclass(frozen=True)
class Place:
    """Where a weight stands, and what a new weight becomes there."""

    slot: Slot
    make: Callable[[Any], Any]


@dataclass
class Recovered:
    """The weights of a graph under their official names, the place of each, and the sizes of the network.

    ``sizes`` are fields of `NetCase`.  ``faults`` are sentences on what is wrong in the file itself.
    ``folded``: the file has the bias of each pair of tokens in place of a table.
    ``mask_value``: what hides a token, where a mask was added to the bias.
    """

    graph: Graph
    weights: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    folded: bool = False
    mask_value: str = ""

    def add(
        self, name: str, slot: Slot, read: Callable[[Any], Any], make: Callable[[Any], Any] | None = None
    ) -> None:
        """Adds a weight: ``read`` makes it from what stands in the slot, ``make`` the other way round."""
        stored = self.graph.value(slot.name)
        self.weights[name] = np.ascontiguousarray(read(stored))
        self.places[name] = Place(slot, make or (lambda new: new.reshape(stored.shape)))

    def add_layer(self, name: str, step: Step, biased: bool = True) -> None:
        """Adds the weight and the bias of a linear layer or a norm.

        ``biased``: it has a bias; where the graph has none, an optimiser removed zeros.
        """
        assert step.weight is not None
        if step.flip:
            self.add(f"{name}.weight", step.weight, np.transpose, np.transpose)
        else:
            self.add(f"{name}.weight", step.weight, lambda x: x)
        if step.bias is not None:
            self.add(f"{name}.bias", step.bias, np.ravel)
        elif biased:
            weight = self.weights[f"{name}.weight"]
            self.weights[f"{name}.bias"] = np.zeros(weight.shape[0], weight.dtype)
            self.places[f"{name}.bias"] = Place(Slot(step.node, 2), lambda new: new)

    def write(self, weights: Mapping[str, Any]) -> Any:
        """Returns the model with other weights, those with official names; it is the same model each time."""
        graph = self.graph
        for name, place in self.places.items():
            whole, _, part = name.partition(" ")  # queries, keys and values may stand apart
            new = np.split(weights[whole], 3)[int(part)] if part else weights[whole]
            new = np.ascontiguousarray(place.make(new), self._types[name])
            self._tensors[name].CopyFrom(graph.onnx.numpy_helper.from_array(new, f"weights of {name}"))
        return graph.model

    def make_writer(self, start: Callable[[Any], Any]) -> Callable[[Mapping[str, Any]], Callable[[Any], Any]]:
        """Returns what runs the model with other weights; ``start`` makes a session of a model."""
        self.make_room()
        return lambda weights: make_run(start, self.write(weights))

    def make_room(self) -> None:
        """Gives each weight an initializer of its own: equal weights may share one."""
        graph = self.graph.model.graph
        for name, place in self.places.items():
            node, number = place.slot.node, place.slot.number
            self._types[name] = self.weights[name.partition(" ")[0]].dtype
            self._tensors[name] = graph.initializer.add()
            if number < len(node.input):
                node.input[number] = f"weights of {name}"
            elif node.op_type in ("Gemm", "LayerNormalization", "Conv"):
                node.input.extend([""] * (number - len(node.input)) + [f"weights of {name}"])
            else:
                self._insert_sum(node, f"weights of {name}")

    def _insert_sum(self, node: Any, name: str) -> None:
        """Adds a constant to what a node gives."""
        result, nodes = node.output[0], self.graph.model.graph.node
        node.output[0] = f"{result} before {name}"
        added = self.graph.onnx.helper.make_node("Add", [node.output[0], name], [result])
        nodes.insert(next(i for i, one in enumerate(nodes) if one is node or one == node) + 1, added)

    _types: dict[str, Any] = field(default_factory=dict)
    _tensors: dict[str, Any] = field(default_factory=dict)


NOT_UNDERSTOOD = (KeyError, IndexError, TypeError, ValueError, NotImplementedError, RuntimeError)
"""What reading a graph raises that is not that of a Swin."""


class NotRecovered(ValueError):
    """The weights of a graph are not recovered, for a reason in words."""


def recover(graph: Graph) -> Recovered:
    """Returns the weights of a graph, where each stands, and the sizes of the network.

    Errors: `NotRecovered` that names the initializers in question.
    """
    steps = list_steps(graph)
    if not any(step.kind == "softmax" for step in steps):
        raise NotRecovered("it has no attention: no softmax follows a product")
    return _Reader(graph, steps).read()


def begins_as_block(graph: Graph) -> bool:
    """Tells whether the first weights of a graph with an attention are those of a norm, as a block's are."""
    steps = list_steps(graph)
    return bool(steps) and steps[0].kind == "norm" and any(step.kind == "softmax" for step in steps)


def recover_block(graph: Graph) -> Recovered:
    """Returns the weights of a graph of one block; its ``sizes`` are the window and the heads.

    Errors: `NotRecovered` that names the initializers in question.
    """
    return _Reader(graph, list_steps(graph)).read_block()


def list_steps(graph: Graph) -> list[Step]:
    """Returns the uses of weights in the order of the graph."""
    steps = (_read_step(graph, node) for node in graph.nodes)
    return [step for step in steps if step is not None]


def _read_step(graph: Graph, node: Any) -> Step | None:
    kind, constants = node.op_type, graph.constants
    if node.output[0] in constants:
        return None
    if kind == "Conv" and node.input[1] in constants:
        return Step("embedding", node, Slot(node, 1), _find_third(node))
    if kind == "Gemm" and node.input[1] in constants:
        attributes = {one.name: one.i for one in node.attribute}
        return Step("linear", node, Slot(node, 1), _find_third(node), flip=not attributes.get("transB"))
    if kind == "MatMul" and node.input[1] in constants and graph.value(node.input[1]).ndim == 2:
        width = graph.value(node.input[1]).shape[1]
        return Step("linear", node, Slot(node, 1), _find_added(graph, node.output[0], width), flip=True)
    if kind == "LayerNormalization" and node.input[1] in constants:
        return Step("norm", node, Slot(node, 1), _find_third(node))
    if kind == "Mul":  # a norm of an opset without LayerNormalization
        for number, name in enumerate(node.input):
            other = graph.makers.get(node.input[1 - number])
            if name in constants and other is not None and other.op_type == "Div":
                width = graph.value(name).size
                if graph.value(name).ndim == 1 and width > 1:
                    return Step("norm", node, Slot(node, number), _find_added(graph, node.output[0], width))
    if kind == "Softmax":
        return Step("softmax", node)
    return None


def _find_third(node: Any) -> Slot | None:
    """Returns the third input of a node, which is its bias; None where it has none."""
    return Slot(node, 2) if len(node.input) > 2 and node.input[2] else None


def _find_added(graph: Graph, name: str, width: int) -> Slot | None:
    """Returns where the constant stands that is added to a value, one number for each channel."""
    for node in graph.users.get(name, []):
        for number, one in enumerate(node.input):
            if node.op_type == "Add" and one in graph.constants:
                shape = graph.value(one).shape
                if shape and shape[-1] == width == graph.value(one).size:
                    return Slot(node, number)
    return None


class _Reader:
    """Reads the steps one after the other."""

    def __init__(self, graph: Graph, steps: list[Step]) -> None:
        self.graph, self.steps, self.at = graph, steps, 0
        self.found = Recovered(graph)
        self.depths: list[int] = []
        self.heads: list[int] = []
        self.window: Pair = (1, 1)

    def read(self) -> Recovered:
        self._read_embedding()
        depth = 0
        while self._next_is("norm"):
            stage = len(self.depths)
            if self._count_linear(self.at + 1) > 1 or self._kind(self.at + 2) == "softmax":
                self._read_block(f"layers.{stage}.blocks.{depth}", stage, depth)
                depth += 1
                continue
            norm = self._take("norm")
            if self._next_is("linear") and self.at + 1 < len(self.steps):
                self.found.add_layer(f"layers.{stage}.downsample.norm", norm)
                self.found.add_layer(
                    f"layers.{stage}.downsample.reduction", self._take("linear"), biased=False
                )
                self.depths.append(depth)
                depth = 0
                continue
            self.found.add_layer("norm", norm)
            break
        self.depths.append(depth)
        if self._next_is("linear"):
            self.found.add_layer("head", self._take("linear"))
        if self.at < len(self.steps):
            raise NotRecovered(f"after the head comes {self.steps[self.at].label}")
        self._describe()
        return self.found

    def read_block(self) -> Recovered:
        found, alone = self.found, "block."
        self._read_block(alone[:-1], 0, 0)
        if self.at < len(self.steps):
            raise NotRecovered(
                f"behind its MLP comes {self.steps[self.at].label}: export one block alone, or the whole "
                "network"
            )
        found.weights = {name.removeprefix(alone): x for name, x in found.weights.items()}
        found.places = {name.removeprefix(alone): place for name, place in found.places.items()}
        found.sizes = {"window": self.window, "heads": self.heads[0]}
        return found

    def _kind(self, at: int) -> str:
        return self.steps[at].kind if at < len(self.steps) else ""

    def _next_is(self, kind: str) -> bool:
        return self._kind(self.at) == kind

    def _count_linear(self, at: int) -> int:
        """Returns how many linear layers come before a softmax; 0 where none comes before another step."""
        count = 0
        while self._kind(at) == "linear":
            at, count = at + 1, count + 1
        return count if self._kind(at) == "softmax" else 0

    def _take(self, kind: str) -> Step:
        if not self._next_is(kind):
            after = self.steps[self.at - 1].label if self.at else "the images"
            label = self.steps[self.at].label if self.at < len(self.steps) else "nothing"
            raise NotRecovered(f"after {after} comes {label}, a Swin has a {kind} there")
        self.at += 1
        return self.steps[self.at - 1]

    def _read_embedding(self) -> None:
        first = self.steps[0]
        assert first.weight is not None or first.kind == "softmax"
        if first.kind == "embedding":
            self.found.add_layer("patch_embed.proj", first)
        elif first.kind == "linear" and first.weight is not None:
            self._read_flat_embedding(first, first.weight)
        else:
            raise NotRecovered(f"the first weight is that of {first.label}, a Swin begins with a convolution")
        self.at = 1
        if self._next_is("norm") and self._kind(2) == "norm":
            self.found.add_layer("patch_embed.norm", self._take("norm"))
        channels = self.found.weights["patch_embed.proj.weight"].shape[0]
        self._read_positions(channels)

    def _read_flat_embedding(self, step: Step, slot: Slot) -> None:
        """Reads an embedding that is a product with a patch's pixels: colours, then rows, then columns."""
        stored = self.graph.value(slot.name)
        rows = stored.shape[0] if step.flip else stored.shape[1]
        side = isqrt(rows // 3)
        orders = [
            list(one.ints)
            for node in self.graph.behind(step.node.input[0])
            for one in node.attribute
            if node.op_type == "Transpose"
        ]
        if 3 * side * side != rows or [0, 2, 4, 1, 3, 5] not in orders:
            raise NotRecovered(f"how {slot.name} orders the pixels of a patch is not known")

        def read(x: Any) -> Any:
            return (x.T if step.flip else x).reshape(-1, 3, side, side)

        def make(new: Any) -> Any:
            return new.reshape(len(new), -1).T if step.flip else new.reshape(len(new), -1)

        self.found.add("patch_embed.proj.weight", slot, read, make)
        if step.bias is None:
            raise NotRecovered(f"the product with {slot.name} has no bias")
        self.found.add("patch_embed.proj.bias", step.bias, np.ravel)

    def _read_positions(self, channels: int) -> None:
        """Reads an absolute position embedding: tokens that are added before the first block's norm."""
        if self.at >= len(self.steps):
            return
        for node in self.graph.behind(self.steps[self.at].node.input[0]):
            for number, name in enumerate(node.input):
                if node.op_type == "Add" and name in self.graph.constants:
                    shape = self.graph.value(name).shape
                    if len(shape) > 2 and shape[-1] == channels and max(shape[:-1]) > 1:
                        self.found.add(
                            "absolute_pos_embed", Slot(node, number), lambda x: x.reshape(1, -1, channels)
                        )
                        return

    def _read_block(self, name: str, stage: int, block: int) -> None:
        self.found.add_layer(f"{name}.norm1", self._take("norm"))
        linear = []
        while self._next_is("linear"):
            linear.append(self._take("linear"))
        softmax = self._take("softmax")
        if len(linear) == 1:
            self.found.add_layer(f"{name}.attn.qkv", linear[0], biased=False)
        elif len(linear) == 3:
            self._read_apart(f"{name}.attn.qkv", self._order(softmax, linear))
        else:
            raise NotRecovered(
                f"{name} has {len(linear)} products before its softmax, "
                f"{', '.join(step.weight.name for step in linear if step.weight)}; a Swin has 1 or 3"
            )
        heads, window = self._read_bias(name, softmax)
        if block == 0:
            self.heads.append(heads)
        if (stage, block) == (0, 0):
            self.window = window
        self.found.add_layer(f"{name}.attn.proj", self._take("linear"))
        self.found.add_layer(f"{name}.norm2", self._take("norm"))
        self.found.add_layer(f"{name}.mlp.fc1", self._take("linear"))
        self.found.add_layer(f"{name}.mlp.fc2", self._take("linear"))

    def _order(self, softmax: Step, linear: list[Step]) -> list[Step]:
        """Returns three layers as those of queries, keys and values, by what the softmax's product takes."""
        product = next(
            (
                n
                for n in self.graph.behind(softmax.node.input[0])
                if n.op_type == "MatMul" and self._varies(n)
            ),
            None,
        )
        made = {step.node.output[0]: step for step in linear}

        def find(name: str) -> Step | None:
            return next((made[n.output[0]] for n in self.graph.behind(name) if n.output[0] in made), None)

        sides = [] if product is None else [find(name) for name in product.input]
        query, key = sides if len(sides) == 2 else (None, None)
        value = [step for step in linear if step is not query and step is not key]
        if query is None or key is None or len(value) != 1:
            names = ", ".join(step.weight.name for step in linear if step.weight)
            raise NotRecovered(f"which of {names} makes queries, which keys and which values is not known")
        return [query, key, value[0]]

    def _varies(self, node: Any) -> bool:
        return not any(name in self.graph.constants for name in node.input)

    def _read_apart(self, name: str, steps: list[Step]) -> None:
        """Adds queries, keys and values that stand in three layers, as one weight."""
        apart = Recovered(self.graph)
        for number, step in enumerate(steps):
            apart.add_layer(str(number), step, biased=False)
        for leaf in ("weight", "bias"):
            parts = [apart.weights.get(f"{number}.{leaf}") for number in range(3)]
            given = [part for part in parts if part is not None]
            if leaf == "bias" and not given:
                continue
            if len(given) != 3:
                raise NotRecovered(f"only {len(given)} of the three layers of {name} have a bias")
            self.found.weights[f"{name}.{leaf}"] = np.concatenate(given)
            for number in range(3):
                self.found.places[f"{name}.{leaf} {number}"] = apart.places[f"{number}.{leaf}"]

    def _read_bias(self, name: str, softmax: Step) -> tuple[int, Pair]:
        """Reads the bias of an attention: the graph may have only its values for each pair of tokens."""
        slot = self._find_bias(name, softmax)
        stored = self.graph.value(slot.name)
        heads, tokens = stored.shape[-3], stored.shape[-1]
        each = stored.reshape(-1, heads, tokens, tokens).astype(np.float64)
        bias = each.max(0)
        with np.errstate(invalid="ignore"):
            mask = np.where(each - bias < HIDDEN, np.round(each - bias), 0.0)
        if np.any(mask):
            self.found.mask_value = f"{mask.min():g}"
        window, index = self._find_window(name, bias)
        first = np.unique(index, return_index=True)[1]
        table = np.zeros((index.max() + 1, heads))
        table[index.ravel()[first]] = bias.reshape(heads, -1).T[first]

        def make(new: Any) -> Any:
            return (np.moveaxis(new[index], -1, 0) + mask).reshape(stored.shape)

        weight = f"{name}.attn.relative_position_bias_table"
        if (own := self._find_table(slot.name, table.shape)) is not None:
            self.found.add(weight, own, lambda x: x)
        else:
            self.found.folded = True
            self.found.add(weight, slot, lambda x: table.astype(x.dtype), make)
        return heads, window

    def _find_bias(self, name: str, softmax: Step) -> Slot:
        """Returns where the constant stands that is added to the logits, one for each head and pair."""
        seen, row = set(), [softmax.node.input[0]]
        candidates = []
        while row:
            node = self.graph.makers.get(row.pop(0))
            if node is None or node.output[0] in seen or (node.op_type == "MatMul" and self._varies(node)):
                continue
            seen.add(node.output[0])
            for number, one in enumerate(node.input):
                if not one:
                    continue
                if one not in self.graph.constants:
                    row.append(one)
                elif node.op_type == "Add":
                    shape = self.graph.value(one).shape
                    if len(shape) > 2 and shape[-1] == shape[-2]:
                        candidates.append(Slot(node, number))
        biases = [slot for slot in candidates if not self._is_mask(slot)] or candidates
        if not biases:
            raise NotRecovered(f"nothing of each pair of tokens is added to the logits of {name}")
        return biases[0]

    def _is_mask(self, slot: Slot) -> bool:
        x = self.graph.value(slot.name)
        return x.ndim != 4 or bool(np.all((x == 0) | (x < HIDDEN)) and np.any(x))

    def _find_window(self, name: str, bias: Any) -> tuple[Pair, Any]:
        """Returns the window in which pairs of one offset have one bias, the square first, and its index."""
        tokens = bias.shape[-1]
        sides = sorted((abs(a - tokens // a), a) for a in range(1, tokens + 1) if tokens % a == 0)
        windows = [(a, tokens // a) for _, a in sides]
        for window in windows:
            index = relative_position_index(window)
            if _find_disagreement(bias, index) is None:
                return window, index
        index = relative_position_index(windows[0])
        head, (i, j), (k, m) = _find_disagreement(bias, index)  # type: ignore[misc]
        self.found.faults.append(
            f"pairs of tokens of one offset have one bias: in {name} head {head} has "
            f"{bias[head, i, j]:.6g} for the tokens {i} and {j} of a window "
            f"{windows[0][0]}x{windows[0][1]}, and {bias[head, k, m]:.6g} for {k} and {m}, which lie alike"
        )
        return windows[0], index

    def _find_table(self, name: str, shape: tuple[int, ...]) -> Slot | None:
        """Returns where the graph has the table itself, from which it computes the bias of each pair."""
        for node in self.graph.behind(name):
            for number, one in enumerate(node.input):
                if one in self.graph.initializers and self.graph.value(one).shape == shape:
                    return Slot(node, number)
        return None

    def _check_output(self, classes: int, channels: int) -> None:
        """Checks that the graph gives as many numbers as the last weights."""
        sides = [side.dim_value for side in self.graph.model.graph.output[0].type.tensor_type.shape.dim]
        given = classes or channels << len(self.depths) - 1
        if sides and sides[-1] not in (0, given):
            last = self.steps[-1].label
            raise NotRecovered(
                f"it gives {sides[-1]} numbers for each image, {last} is last and gives {given}"
            )

    def _describe(self) -> None:
        """Reads the sizes of the network from its weights."""
        weights = self.found.weights
        without = [
            name for name in weights if name.endswith("qkv.weight") and name[:-6] + "bias" not in weights
        ]
        if without and any(name.endswith("qkv.bias") for name in weights):
            raise NotRecovered(f"{without[0]} has no bias, others have one")
        channels, colours, *patch = weights["patch_embed.proj.weight"].shape
        if colours != 3:
            raise NotRecovered(f"its images have {colours} colours, the laws ask images of 3")
        self.found.sizes = {
            "patch": tuple(patch),
            "window": self.window,
            "depths": tuple(self.depths),
            "heads": tuple(self.heads),
            "embed_dim": channels,
            "hidden": weights["layers.0.blocks.0.mlp.fc1.weight"].shape[0],
            "qkv_bias": int(any(name.endswith("attn.qkv.bias") for name in weights)),
            "patch_norm": int("patch_embed.norm.weight" in weights),
            "position_embedding": int("absolute_pos_embed" in weights),
            "classes": weights["head.weight"].shape[0] if "head.weight" in weights else 0,
        }
        self._check_output(self.found.sizes["classes"], channels)


def _find_disagreement(bias: Any, index: Any) -> tuple[int, Pair, Pair] | None:
    """Returns a head and two pairs of tokens of one offset whose biases differ; None where there are none."""
    flat = index.ravel()
    first = np.zeros(flat.max() + 1, int)
    numbers, places = np.unique(flat, return_index=True)
    first[numbers] = places
    values = bias.reshape(len(bias), -1)
    differs = np.argwhere(values != values[:, first[flat]])
    if not len(differs):
        return None
    head, place = map(int, differs[0])
    tokens = len(index)
    one, other = divmod(int(first[flat[place]]), tokens), divmod(place, tokens)
    return head, one, other
