"""An ONNX file: read, checked, its graph as a list of what computes with weights, and run by a runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from swin_reference.outside import one_sentence, open_file, refusal

QUANTISED = (
    "QuantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearMatMul",
    "MatMulInteger",
    "ConvInteger",
    "QLinearConv",
)
"""The operators that only quantised models have."""

RUNTIMES = ("onnxruntime", "openvino")


def import_onnx() -> Any:
    """Returns the package onnx.

    Errors: ``ValueError`` with the line that installs it.
    """
    try:
        import onnx
    except ImportError:
        raise ValueError(
            "an ONNX file is read by onnx, it is not installed: pip install 'swin-oracle[onnx]'"
        ) from None
    return onnx


def read_model(path: str) -> Any:
    """Returns the model of an ONNX file, with its weights.

    Errors: ``ValueError`` in one sentence for a file that is missing, truncated or no ONNX, or whose external
    data is missing or lies outside its folder.
    """
    onnx = import_onnx()
    with open_file(path, "an ONNX file"):
        pass
    with one_sentence(f"an ONNX file parses as a model, {Path(path).name} does not"):
        model = onnx.load(path, load_external_data=False)
        if not model.graph.node or not model.opset_import:
            raise ValueError("it has no graph")
        check_complete(model)
    for tensor in model.graph.initializer:
        _check_place(tensor, Path(path))
    with one_sentence(f"the weights of an ONNX file are whole, those of {Path(path).name} are not"):
        onnx.load_external_data_for_model(model, str(Path(path).parent))
        for tensor in model.graph.initializer:
            onnx.numpy_helper.to_array(tensor)
    return model


def check_complete(model: Any) -> None:
    """Checks that every value that is used is made: a file that was cut may still parse.

    Errors: ``ValueError`` that names the first value that is missing.
    """
    graph = model.graph
    known = {one.name for one in (*graph.input, *graph.initializer)} | {""}
    known |= {sparse.values.name for sparse in graph.sparse_initializer}
    for node in graph.node:
        if missing := [one for one in node.input if one not in known]:
            raise ValueError(f"{node.op_type} uses {missing[0]!r}, which nothing makes")
        known |= set(node.output)
    if not graph.output or graph.output[0].name not in known:
        raise ValueError("nothing makes its output")


def _check_place(tensor: Any, path: Path) -> None:
    """Checks that the external data of a tensor is a file inside the folder of the model."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if tensor.data_location != 1 or "location" not in entries:
        return
    folder, place = path.parent.resolve(), entries["location"]
    file = (folder / place).resolve()
    if not file.is_relative_to(folder):
        raise refusal(
            f"external data lies in the folder of {path.name}, {tensor.name} is in {place!r}: export it again"
        )
    if not file.is_file():
        raise refusal(
            f"external data lies beside {path.name}, {place!r} with {tensor.name} is missing: copy it there"
        )
    if file.stat().st_size < int(entries.get("offset", 0)) + int(entries.get("length", 0)):
        raise refusal(
            f"external data is whole, {place!r} ends before {tensor.name} of {path.name} does: copy it again"
        )


class Graph:
    """A graph, with the maker and the users of every value, and the values that no input changes."""

    def __init__(self, model: Any) -> None:
        self.onnx = import_onnx()
        self.model = model
        self.nodes = list(model.graph.node)
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.users: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self.values: dict[str, Any] = {}

    @cached_property
    def constants(self) -> set[str]:
        """The names of the values that no input of the graph changes."""
        found = set(self.initializers)
        for node in self.nodes:
            inputs = [name for name in node.input if name]
            random = node.op_type.startswith("Random") or node.op_type in ("Loop", "If", "Scan")
            if not random and all(name in found for name in inputs):
                found |= set(node.output)
        return found

    def value(self, name: str) -> Any:
        """Returns the array of a constant, computed where it is not stored."""
        if name in self.values:
            return self.values[name]
        if name in self.initializers:
            found = self.onnx.numpy_helper.to_array(self.initializers[name])
        else:
            node = self.makers[name]
            given = {one: self.value(one) for one in node.input if one}
            helper = self.onnx.helper
            # Values of a graph of one node need no types: the reference evaluator reads the arrays.
            inputs = [helper.make_value_info(one, self.onnx.TypeProto()) for one in given]
            outputs = [helper.make_value_info(one, self.onnx.TypeProto()) for one in node.output]
            graph = helper.make_graph([node], "one", inputs, outputs)
            model = helper.make_model(graph, opset_imports=self.model.opset_import)
            from onnx.reference import ReferenceEvaluator

            for one, array in zip(node.output, ReferenceEvaluator(model).run(None, given), strict=True):
                self.values[one] = array
            return self.values[name]
        self.values[name] = found
        return found

    def list_stored(self) -> list[Any]:
        """Returns the arrays that the file holds, and those that no input changes and no node computes."""
        stored = [self.onnx.numpy_helper.to_array(tensor) for tensor in self.initializers.values()]
        made = (node for node in self.nodes if node.op_type in ("Constant", "ConstantOfShape"))
        return stored + [self.value(node.output[0]) for node in made if node.output[0] in self.constants]

    def behind(self, name: str) -> Iterator[Any]:
        """Yields the nodes from which a value is computed, the nearest first."""
        seen, row = {name}, [name]
        while row:
            node = self.makers.get(row.pop(0))
            if node is None:
                continue
            yield node
            for one in node.input:
                if one and one not in seen:
                    seen.add(one)
                    row.append(one)


def is_quantised(graph: Graph) -> bool:
    """Tells whether a graph has operators that only quantised models have."""
    return any(node.op_type in QUANTISED for node in graph.nodes)


def find_input_shape(model: Any, name: str) -> tuple[int | None, ...]:
    """Returns the shape (B, 3, H, W) of a model's images, None for a side that may be any.

    Errors: ``ValueError`` for a model that takes something else.
    """
    inputs = list_inputs(model)
    shape = find_shape(model) if inputs else ()
    if len(inputs) != 1 or len(shape) != 4:
        raise ValueError(
            f"an exported classifier takes images (B, 3, H, W), {name} takes {len(inputs)} inputs, the first "
            f"of {len(shape)} axes: export the whole network"
        )
    return shape


def list_inputs(model: Any) -> list[Any]:
    """Returns what a model is given, but for its weights, which some files list beside it."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [one for one in model.graph.input if one.name not in weights]


def find_tokens(model: Any, start: Callable[[Any], Any]) -> int | None:
    """Returns how many tokens a window of a model has: those over which its first softmax is taken.

    ``start`` makes of a model what runs it: the softmax becomes a further output.  None where the model does
    not say how large its images are.
    """
    batch, *rest = find_shape(model)
    sides = [side for side in rest if side is not None]
    taken = next((node.input[0] for node in model.graph.node if node.op_type == "Softmax"), None)
    if taken is None or len(sides) < len(rest):
        return None
    watched = type(model)()
    watched.CopyFrom(model)
    watched.graph.output.append(import_onnx().helper.make_empty_tensor_value_info(taken))
    images = np.zeros((batch or 1, *sides), np.float16 if takes_half(model) else np.float32)
    return int(start(watched)(images)[-1].shape[-1])


def takes_half(model: Any) -> bool:
    """Tells whether a model is given numbers in half precision."""
    return bool(list_inputs(model)[0].type.tensor_type.elem_type == import_onnx().TensorProto.FLOAT16)


def find_shape(model: Any) -> tuple[int | None, ...]:
    """Returns the shape of what a model is given first, None for a side that may be any."""
    return tuple(side.dim_value or None for side in list_inputs(model)[0].type.tensor_type.shape.dim)


def find_precision(graph: Graph) -> str:
    """Returns the precision of most numbers among a graph's weights.

    Errors: ``ValueError`` for one that is not judged.
    """
    types = graph.onnx.TensorProto
    counted = {types.FLOAT: 0, types.FLOAT16: 0, types.DOUBLE: 0, types.BFLOAT16: 0}
    for tensor in graph.initializers.values():
        if tensor.data_type in counted:
            counted[tensor.data_type] += int(np.prod(tensor.dims))
    names = {types.FLOAT: "float32", types.FLOAT16: "float16"}
    found = max(counted, key=lambda kind: counted[kind])
    if found not in names:
        raise ValueError(
            f"exported files are judged in float32 and float16, most weights are {types.DataType.Name(found)}"
            ": export it in one of these"
        )
    return names[found]


def make_session(model: Any, name: str, runtime: str, provider: str, optimise: bool) -> Any:
    """Returns a function from images to the list of a model's outputs, as a runtime computes it.

    Errors: ``ValueError`` in one sentence for a runtime that is not installed, a provider it has not, and a
    model that it does not take.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"a runtime is {' or '.join(RUNTIMES)}, got {runtime!r}: use one of these")
    if runtime == "openvino":
        return _openvino(model, name)
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(
            "an ONNX file is run by onnxruntime, it is not installed: pip install 'swin-oracle[onnx]'"
        ) from None
    if provider not in (known := onnxruntime.get_available_providers()):
        raise ValueError(
            f"a provider of this onnxruntime is one of {', '.join(known)}, got {provider!r}: use one of "
            "these, or install the onnxruntime that has it"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    with one_sentence(f"onnxruntime {onnxruntime.__version__} takes an ONNX file, it does not take {name}"):
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[provider])
    first = session.get_inputs()[0].name
    return lambda images: session.run(None, {first: images})


def make_run(start: Callable[[Any], Any], model: Any) -> Callable[[Any], Any]:
    """Returns what computes a model's first output; ``start`` makes a session of it."""
    session = start(model)
    return lambda images: session(images)[0]


def _openvino(model: Any, name: str) -> Any:
    try:
        import openvino
    except ImportError:
        raise ValueError(
            "--runtime openvino is openvino's, it is not installed: pip install openvino"
        ) from None
    with one_sentence(f"openvino takes an ONNX file, it does not take {name}"):
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
    return lambda images: [np.asarray(x) for x in compiled([images]).values()]
