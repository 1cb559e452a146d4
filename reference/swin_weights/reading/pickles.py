"""Reading torch's files, which are pickles: only weights are read, no code in them is run."""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
import zipfile
from collections import Counter, OrderedDict
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from swin_weights.reading.archives import check_archive

CONFIGURATIONS = (
    "argparse", "yacs", "types", "easydict", "addict", "mmcv", "mmengine", "ml_collections", "omegaconf",
    "typing", "lightning", "lightning_fabric", "pytorch_lightning", "fvcore",
)  # fmt: skip
"""The modules of the configurations that training code saves beside the weights."""

OLD_PICKLES = 5
"""How many pickles begin an old file of torch, before its storages."""

MOST_OBJECTS, DEEPEST = 10**7, 60
"""The most objects that a pickle may build, each counted as often as it is referred to, and their depth."""

MOST_OPERATIONS = 2**20
"""The most operations of a pickle; a training file's has some 2**14."""

MOST_CLASSES = 16
"""The most classes that a configuration may have."""

NUMPY = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
)
"""What a pickle of NumPy's numbers and arrays calls."""


class Inert:
    """Stands for one of `NUMPY` while a pickle is read: it keeps what it is given, and runs nothing."""

    def __init__(self, *given: Any) -> None:
        """Keeps the arguments."""
        self.given = given
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def as_array(self) -> Any:
        """Returns the array that a pickle of NumPy's describes.

        Errors: ``ValueError`` for anything but an array of plain numbers.
        """
        try:
            _, shape, dtype, fortran, content = self.state
            kind = np.dtype(dtype.state[1].replace("|", "=") + dtype.given[0])
            if kind.kind in "fiub" and isinstance(content, bytes):
                return np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")
        except (AttributeError, IndexError, TypeError, ValueError):
            pass
        raise ValueError("it is no array of numbers: save it as a tensor")


def read_torch(path: Path, file: BinaryIO) -> tuple[Any, list[str]]:
    """Reads a file of torch as torch nests it, and notes on what was read as a plain dict.

    That is a configuration beside the weights: its classes are known by name, and nothing of them is run.

    Errors: ``ValueError`` for a file that is no pickle of weights, is damaged or holds code, and without
    torch.
    """
    try:
        import torch
    except ImportError:
        raise ValueError(f"reading {path.name} needs torch: install it, or convert to .npz") from None
    if file.read(4) == b"PK\3\4":
        sizes = check_archive(file)
        if any(name.endswith("constants.pkl") for name in sizes):
            raise ValueError(
                "it is a TorchScript archive, a program: `swin-oracle check` takes it as an implementation; "
                "for a checkpoint, save its state_dict"
            )
        with zipfile.ZipFile(file) as archive:
            for name in sizes:
                if name.endswith(".pkl"):
                    check_nesting(BytesIO(archive.read(name)))
    else:
        sizes = None
        file.seek(0)
        for _ in range(OLD_PICKLES):
            check_nesting(file)
    plain: list[str] = []
    while True:
        file.seek(0)
        try:
            loaded = _load(file, plain)
            break
        except pickle.UnpicklingError as error:
            name = _find_configuration(str(error))
            if name in plain or len(plain) == MOST_CLASSES:
                raise ValueError(f"its configuration cannot be left out, the last of it is {name}") from None
            plain.append(name)
    if sizes is not None:
        _check_storages([x for x in _list_leaves(loaded) if isinstance(x, torch.Tensor)], sizes)
    return loaded, [f"its configuration ({', '.join(plain)}) is left out"] if plain else []


def check_nesting(file: BinaryIO) -> None:
    """Checks, without building anything, that what a pickle builds is small and not nested deeply.

    An object that refers to one object twice, which refers to another twice, and so on, is small in memory,
    but hashing it or printing it never ends.  Dicts and lists that are filled after they were referred to
    count once: they have no hash.

    Errors: ``ValueError`` for what is larger than `MOST_OBJECTS`, deeper than `DEEPEST`, or longer to build
    than `MOST_OPERATIONS`.

    >>> x = ()
    >>> for _ in range(30): x = x, x
    >>> check_nesting(BytesIO(pickle.dumps(x)))
    Traceback (most recent call last):
    ...
    ValueError: its pickle builds over 10000000 objects, or nests them over 60 deep
    """
    memo: dict[Any, tuple[int, int]] = {}
    stack: list[tuple[int, int] | None] = []  # for each object its size and depth, None for a mark
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if number > MOST_OPERATIONS:
            raise ValueError(f"its pickle has over {MOST_OPERATIONS} operations")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else argument] = stack[-1] or (1, 1)
            continue
        if opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
            continue
        taken: list[tuple[int, int]] = []
        for kind in reversed(opcode.stack_before):
            if kind is pickletools.stackslice:
                while stack and stack[-1] is not None:
                    taken.append(stack.pop() or (1, 1))
            elif kind is pickletools.markobject:
                del stack[-1:]
            else:
                taken.append(stack.pop() or (1, 1))
        size = 1 + sum(size for size, _ in taken)
        depth = 1 + max((depth for _, depth in taken), default=0)
        if size > MOST_OBJECTS or depth > DEEPEST:
            raise ValueError(
                f"its pickle builds over {MOST_OBJECTS} objects, or nests them over {DEEPEST} deep"
            )
        stack += [None if kind is pickletools.markobject else (size, depth) for kind in opcode.stack_after]


def _load(file: BinaryIO, plain: list[str]) -> Any:
    """Loads a pickle of weights; the classes in ``plain`` are read as dicts with attributes."""
    import torch

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # the error says the same
        known: Any = [(OrderedDict, name) for name in plain] + [(Inert, name) for name in NUMPY]
        stack.enter_context(torch.serialization.safe_globals(known))
        return torch.load(file, map_location="cpu", weights_only=True)


def _find_configuration(reason: str) -> str:
    """Returns the class of a configuration for which torch refused a pickle.

    Errors: ``ValueError`` for any other refusal.
    """
    found = re.search(r"GLOBAL ([\w.]+)", reason, re.ASCII)
    if found is None:
        raise ValueError(reason.splitlines()[0] if reason else "it is no pickle of weights")
    name = found[1]
    if name.partition(".")[0] not in CONFIGURATIONS:
        raise ValueError(
            f"a checkpoint holds weights alone, it holds code as well ({name}), which was not run: ask its "
            "author for the state_dict alone"
        )
    return name


def _list_leaves(loaded: Any) -> list[Any]:
    """Returns what the dicts of a file hold, each dict visited once."""
    found: list[Any] = []
    rest, seen = [loaded], {id(loaded)}
    while rest:
        node = rest.pop()
        if not isinstance(node, dict):
            found.append(node)
            continue
        fresh = [child for child in node.values() if id(child) not in seen]
        seen.update(map(id, fresh))
        rest += fresh
    return found


def _check_storages(tensors: list[Any], sizes: dict[str, int]) -> None:
    """Checks that each storage is as long as a member of the archive; ``sizes`` are those of its members.

    Torch believes the pickle, and would read past a member's end.
    """
    import torch

    dense = [x.untyped_storage() for x in tensors if x.layout == torch.strided]
    records = Counter(size for name, size in sizes.items() if re.fullmatch(r"[^/]+/data/[0-9]+", name))
    lengths = Counter({storage.data_ptr(): storage.nbytes() for storage in dense}.values())
    lengths.pop(0, None)
    if wrong := lengths - records:
        raise ValueError(f"a storage of {next(iter(wrong))} bytes has no member of that length")


def as_array(x: Any) -> Any:
    """Returns a tensor, or an array in a pickle, as a NumPy array, another value as it is.

    bfloat16 becomes float32, which is exact.

    Errors: ``ValueError`` for a tensor that NumPy cannot hold, and for one that repeats its numbers.
    """
    if isinstance(x, Inert):
        return x.as_array()
    try:
        import torch
    except ImportError:
        return x
    if not isinstance(x, torch.Tensor):
        return x
    try:
        if x.numel() * x.element_size() > x.untyped_storage().nbytes():
            raise ValueError(f"it repeats fewer than its {x.numel()} numbers: save it contiguous")
        return (x.detach().float() if x.dtype == torch.bfloat16 else x.detach()).numpy()
    except (TypeError, RuntimeError):
        raise ValueError(
            f"it is a tensor that NumPy cannot hold ({x.dtype}, {x.layout}): save the weights dense, in "
            "float32"
        ) from None
