"""The process of one revision: loads implementations from its tree and runs one case at a time.

It runs as a file and imports nothing but NumPy and the standard library, so that every other module comes
from the tree.  It speaks the message of docs/protocol.md: the word ``arguments`` of a request and the word
``answer`` of a reply are JSON.  What an implementation prints goes to standard error.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from types import ModuleType
from typing import Any

import numpy as np

WARM = 3
"""Runs before a case is timed; the least of their times decides how many runs fill a sample."""


class Worker:
    """Loads implementations and runs a case."""

    def __init__(self, tree: Path, elsewhere: Path) -> None:
        """``tree`` holds the revision, ``elsewhere`` is the repository's checkout."""
        self.tree, self.elsewhere = tree, elsewhere
        self.implementations: dict[str, Any] = {}
        self.work: Callable[[], Any] = lambda: None

    def load(self, name: str) -> dict[str, Any]:
        """Returns the callables that an implementation offers, or why the tree does not have it."""
        source, _, attribute = name.partition("?")[0].partition(":")
        if missing := self._explain_missing(source):
            return {"missing": missing}
        found: Any = load_file(source) if source.endswith(".py") else importlib.import_module(source)
        for part in filter(None, attribute.split(".")):
            if not hasattr(found, part):
                return {"missing": f"{source} has no {attribute}"}
            found = getattr(found, part)
        found = found if attribute else getattr(found, "adapter", found)
        found = open_copy(found, name)
        self._check_origins()
        self.implementations[name] = found
        offers = [word for word in dir(found) if not word.startswith("_") and callable(getattr(found, word))]
        return {"offers": offers}

    def prepare(self, implementation: str, call: str, arguments: list[Any], prepares: bool) -> dict[str, Any]:
        """Prepares a case, warms it up, and returns the least seconds of a run."""
        found = self.implementations[implementation]
        wide = getattr(found, "precision", "float32") == "float64"
        args = make_inputs(arguments, np.random.default_rng(0), np.dtype(np.float64 if wide else np.float32))
        self.work = lambda: None  # frees the memory of the last case
        if prepares:
            self.work = found.prepare(call, *args)
        else:
            self.work = lambda: getattr(found, call)(*args)
        return {"seconds": min(self.run(1)["seconds"] for _ in range(WARM))}

    def run(self, repeats: int) -> dict[str, Any]:
        """Runs the case ``repeats`` times, and returns the mean seconds."""
        work = self.work
        start = perf_counter()
        for _ in range(repeats):
            work()
        return {"seconds": (perf_counter() - start) / repeats}

    def clock(self) -> dict[str, Any]:
        """Returns the processor seconds of this process."""
        return {"seconds": process_time()}

    def count(self) -> dict[str, Any]:
        """Returns the counters of a run; none where torch was not used."""
        return count_operators(self.work, sys.modules.get("torch"))

    def _explain_missing(self, source: str) -> str:
        """Returns why the tree has no such module, empty where it has it."""
        if source.endswith(".py"):
            return "" if Path(source).is_file() else f"there is no file {source}"
        try:
            spec = importlib.util.find_spec(source)
        except ModuleNotFoundError as error:
            if not f"{source}.".startswith(f"{error.name}."):
                raise  # the module is there, but imports one that is not
            spec = None
        if spec is None:
            return f"there is no module {source}"
        folders = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
        if not any(Path(os.path.realpath(folder or "")).is_relative_to(self.tree) for folder in folders):
            return f"{source} is not in the tree but at {folders[0] if folders else 'no folder'}"
        return ""

    def _check_origins(self) -> None:
        """Refuses modules that were imported from the checkout instead of the tree.

        Errors: ``ImportError``.
        """
        for name, module in list(sys.modules.items()):
            path = Path(getattr(module, "__file__", None) or __file__)
            apart = (
                path.is_relative_to(self.tree) or path.is_relative_to(sys.prefix) or path == Path(__file__)
            )
            if path.is_relative_to(self.elsewhere) and "site-packages" not in path.parts and not apart:
                raise ImportError(f"{name} is the checkout's, {path}, and not the revision's")


def load_file(path: str) -> ModuleType:
    """Loads a file as a module, once.  It can import the files beside it, as a script can."""
    file = Path(path).resolve()
    if (name := str(file)) not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)  # a dataclass looks for its module there
        sys.path.insert(0, str(file.parent))
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def open_copy(found: Any, name: str) -> Any:
    """Returns the adapter of a copy of a public Swin, as `swin-oracle check` makes it; else ``found``.

    Errors: ``ValueError`` for a copy whose calls are not understood.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(found, (ModuleType, type, torch.nn.Module)):
        return found
    try:
        load = importlib.import_module("swin_properties.adapters.load")
    except ModuleNotFoundError:  # a revision from before copies were taken
        return found
    return load.load_in_precision(name)[0]


def load_message() -> Any:
    """Loads the message from the file beside this package, and leaves no module of it behind."""
    file = Path(__file__).resolve().parents[1] / "message.py"
    spec = importlib.util.spec_from_file_location("swin_timing_message", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # a dataclass looks for it there
    spec.loader.exec_module(module)
    del sys.modules[spec.name]
    return module


def make_inputs(given: Any, rng: np.random.Generator, dtype: Any) -> Any:
    """Makes the arguments from their description: the same ones in the processes of both revisions.

    Weights have standard deviation 1 / sqrt(inputs), the weight of a norm is near 1, all else has deviation
    1.

    >>> given = [{"shape": [2]}, {"bias": {"shape": [1]}}, [7, 7]]
    >>> make_inputs(given, np.random.default_rng(0), np.dtype("float64"))
    [array([ 0.12573022, -0.13210486]), {'bias': array([0.64042265])}, [7, 7]]
    """
    if isinstance(given, list):
        return [make_inputs(part, rng, dtype) for part in given]
    if not isinstance(given, dict):
        return given
    if set(given) == {"config"}:
        return make_configuration(given["config"])
    if set(given) != {"shape"}:
        return {name: make_named_input(name, part, rng, dtype) for name, part in given.items()}
    return np.asarray(rng.standard_normal(given["shape"]), dtype)


def make_named_input(name: str, given: Any, rng: np.random.Generator, dtype: Any) -> Any:
    """Makes a parameter, scaled so that a layer's output is about as large as its input."""
    drawn = make_inputs(given, rng, dtype)
    if name == "weight" and isinstance(drawn, np.ndarray):
        inputs_of_one = drawn[0].size if drawn.ndim > 1 else 100
        drawn = drawn / np.sqrt(inputs_of_one, dtype=dtype) + dtype.type(drawn.ndim == 1)
    return drawn


def make_configuration(sizes: dict[str, Any]) -> Any:
    """Makes the configuration of these sizes by the tree's own class."""
    config = importlib.import_module("swin_reference.config")
    return config.SwinConfig(**{name: tuple(x) if isinstance(x, list) else x for name, x in sizes.items()})


def count_operators(work: Callable[[], Any], torch: Any) -> dict[str, int]:
    """Counts the operators that are no views, and the bytes kept for backward without inputs and parameters.

    Returns nothing where torch dispatched no operator.
    """
    if torch is None:
        return {}
    operators = 0
    saved: dict[int, Any] = {}

    class Counter(torch.utils._python_dispatch.TorchDispatchMode):  # type: ignore[misc]
        """Counts every operator that reaches a backend."""

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal operators
            operators += not function.is_view
            return function(*args, **(kwargs or {}))

    def pack(tensor: Any) -> Any:
        base = tensor if tensor._base is None else tensor._base  # a linear keeps a view of its weight
        if not (base.is_leaf and base.requires_grad):
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with Counter(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        work()
    saved_bytes = sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
    return {"operators": operators, "saved bytes": saved_bytes} if operators else {}


@contextmanager
def open_pipes() -> Iterator[tuple[int, int]]:
    """Opens the pipes to the other process, where nothing that an implementation prints or reads gets."""
    questions, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    yield questions, answers


def main(tree: str, elsewhere: str) -> None:
    """Answers questions until the input ends."""
    message = load_message()
    worker = Worker(Path(tree), Path(elsewhere))
    with open_pipes() as (questions, answers):
        while (question := message.receive(questions)) is not None:
            try:
                words = json.loads(question.words["arguments"])
                reply = {"ok": "1", "answer": json.dumps(getattr(worker, question.words["cmd"])(*words))}
            except (Exception, SystemExit) as error:
                reason = (str(error).strip().splitlines() or ["no message"])[0]
                reply = {"error": f"{type(error).__name__}: {reason}"}
            message.send(answers, reply)


if __name__ == "__main__":
    main(*sys.argv[1:])
