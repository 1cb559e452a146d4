"""Chooses how each kernel is launched: as measured on such a GPU, or else by arithmetic.

``tuned.json`` holds the measured choices by compute capability; `benchmarks.gpu` measures them.  Nothing is
searched when a model runs.
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swin_torch.geometry.plan import Plan

FILE = Path(__file__).with_name("tuned.json")

ONE_TILE = 64
"""Tokens of a window up to which one tile holds all its logits."""

RIDGE = 184
"""Operations per byte of tokens and outputs from which multiplying takes longer, on an H200."""


class Attention(NamedTuple):
    """How an attention kernel is launched.

    A program computes ``block`` tokens of a window at once, and goes through a larger window in steps of
    ``step`` tokens.  A multiprocessor runs ``programs`` programs of ``num_warps`` warps at once, each with
    ``num_stages`` loads under way.
    """

    block: int
    step: int
    num_warps: int
    num_stages: int
    programs: int


class Tile(NamedTuple):
    """How a linear layer's kernel is launched: a program's tile, and the programs of a multiprocessor."""

    rows: int
    columns: int
    step: int
    num_warps: int
    num_stages: int
    programs: int


MOVING = Tile(128, 64, 32, num_warps=8, num_stages=3, programs=2)
"""Where loading and storing takes longer than multiplying: more programs, whose loads overlap."""

MULTIPLYING = Tile(128, 128, 64, num_warps=8, num_stages=3, programs=1)

FEW = Tile(64, 64, 32, num_warps=4, num_stages=3, programs=4)
"""Where there are too few larger tiles for all multiprocessors."""

WAYS = "five launches", "library's products"
"""How a block without gradients is computed: with our linear layers, or with PyTorch's."""


def choose_attention(kernel: str, plan: Plan, qkv: Tensor) -> Attention:
    """Returns how an attention kernel is launched for qkv (B, H, W, 3 C).

    >>> plan = Plan((8, 8), (8, 8), (4, 4), (0, 0), 1, False)
    >>> choose_attention("forward", plan, torch.zeros(1, 8, 8, 96))
    Attention(block=16, step=0, num_warps=1, num_stages=1, programs=4)
    """
    found = _find_measured(qkv.device).get("attention")
    if found and (choice := found.get(make_attention_key(kernel, plan, qkv))):
        return choice
    return estimate_attention(kernel, plan, qkv)


def make_attention_key(kernel: str, plan: Plan, qkv: Tensor) -> str:
    """Returns the name under which ``tuned.json`` holds an attention kernel's choice.

    >>> plan = Plan((7, 7), (7, 7), (7, 7), (0, 0), 3, False)
    >>> make_attention_key("forward", plan, torch.zeros(1, 7, 7, 288))
    'forward, window 7x7, head 32, 4 bytes'
    """
    (height, width), head_dim = plan.window, qkv.shape[3] // 3 // plan.heads
    return f"{kernel}, window {height}x{width}, head {head_dim}, {qkv.dtype.itemsize} bytes"


def estimate_attention(kernel: str, plan: Plan, qkv: Tensor) -> Attention:
    """Returns the choice without a measurement: as many programs as a multiprocessor's registers hold."""
    tokens, head_dim = plan.tokens, qkv.shape[3] // 3 // plan.heads
    block = min(ONE_TILE, round_to_power(tokens))
    wide = qkv.dtype == torch.float32 or head_dim > 64
    small, forward = tokens <= ONE_TILE, kernel == "forward"
    return Attention(
        block,
        step=0 if small else fit_step(tokens, (64, 32, 16)),
        num_warps={16: 1, 32: 2, 64: 8 if wide else 4}[block],
        num_stages=1 if wide else 3 if forward else 2,
        programs=4 if small and forward else 2,
    )


def choose_linear(
    x: Tensor, weight: Tensor, norm: bool, gelu: bool, onto: bool, multiprocessors: int
) -> Tile:
    """Returns how a linear layer is launched for tokens x (..., C) and a weight (K, C)."""
    columns, channels = weight.shape
    rows = x.numel() // channels
    found = _find_measured(x.device).get("linear")
    tile = found.get(make_linear_key(weight, norm, gelu, onto)) if found else None
    return fill_processors(tile or estimate_linear(columns, channels), rows, columns, multiprocessors)


def make_linear_key(weight: Tensor, norm: bool, gelu: bool, onto: bool) -> str:
    """Returns the name under which ``tuned.json`` holds a linear layer's choice.

    >>> make_linear_key(torch.zeros(4, 2), True, True, False)
    'norm, 2 to 4, GELU, 4 bytes'
    """
    columns, channels = weight.shape
    around = "norm, " * norm, f"{channels} to {columns}", ", GELU" * gelu, ", residual" * onto
    return f"{''.join(around)}, {weight.dtype.itemsize} bytes"


def estimate_linear(columns: int, channels: int) -> Tile:
    """Returns the tile without a measurement: by whether moving or multiplying takes longer."""
    return MULTIPLYING if channels * columns > RIDGE * (channels + columns) else MOVING


def fill_processors(tile: Tile, rows: int, columns: int, multiprocessors: int) -> Tile:
    """Returns the tile, or a small one where so few tokens would leave multiprocessors without work."""
    tiles = -(-rows // tile.rows) * -(-columns // tile.columns)
    return tile if tiles >= tile.programs * multiprocessors else FEW


def choose_way(x: Tensor) -> str:
    """Returns how a block of tokens x (..., C) is computed without gradients, one of `WAYS`.

    Where so many channels were not measured, the nearest number that was counts.

    >>> choose_way(torch.zeros(1, 4))
    'five launches'
    """
    measured = _find_measured(x.device).get("block")
    return _find_way(tuple(measured.items()), x.shape[-1], x.dtype.itemsize) if measured else WAYS[0]


@lru_cache(maxsize=64)
def _find_way(measured: tuple[tuple[str, str], ...], channels: int, size: int) -> str:
    """Returns the way of the nearest number of channels, in numbers of ``size`` bytes.

    >>> _find_way((("96 channels, 2 bytes", "a"), ("384 channels, 2 bytes", "b")), 256, 2)
    'b'
    """
    numbers = {}
    for key, name in measured:
        of_key, _, ending = key.partition(" channels, ")
        if ending == f"{size} bytes":
            numbers[int(of_key)] = name
    if not numbers:
        return WAYS[0]
    return numbers[min(numbers, key=lambda number: max(number, channels) / min(number, channels))]


def make_way_key(x: Tensor) -> str:
    """Returns the name under which ``tuned.json`` holds a block's way.

    >>> make_way_key(torch.zeros(1, 4))
    '4 channels, 4 bytes'
    """
    return f"{x.shape[-1]} channels, {x.dtype.itemsize} bytes"


Choices = dict[str, Any]
"""Of one compute capability, the tables "attention", "linear" and "block"; "from" says what measured them."""

_in_use: dict[str, Choices] = {}


def use(path: Path = FILE) -> None:
    """Replaces the choices in use by those of a file.

    Errors: ``ValueError`` for a file that does not hold choices.
    """
    found = read(path)
    _in_use.clear()
    _in_use.update(found)


def put(capability: str, table: str, key: str, choice: Attention | Tile | str) -> None:
    """Adds a choice, under a key of a table, to those in use."""
    _in_use.setdefault(capability, {}).setdefault(table, {})[key] = choice


def read(path: Path) -> dict[str, Choices]:
    """Returns the choices of a file by compute capability.

    Errors: ``ValueError`` for a file that does not hold choices.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {
            capability: {table: _read_table(table, entries) for table, entries in tables.items()}
            for capability, tables in data.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"a file of choices holds attention, linear and block by compute capability, {path} does not "
            f"({error!r}): make it anew with `make gpu`"
        ) from None


def _read_table(table: str, entries: Any) -> Any:
    if table == "from":
        return str(entries)
    kind = {"attention": _read_attention, "linear": _read_tile, "block": _read_way}[table]
    return {key: kind(entry) for key, entry in entries.items()}


def make_text(choices: dict[str, Choices]) -> str:
    """Returns choices as the text of a file that `read` reads."""
    plain = {
        capability: {
            table: {key: _make_plain(entry) for key, entry in sorted(entries.items())}
            if isinstance(entries, dict)
            else entries
            for table, entries in tables.items()
        }
        for capability, tables in choices.items()
    }
    return json.dumps(plain, indent=1) + "\n"


def merge(old: dict[str, Choices], new: dict[str, Choices]) -> dict[str, Choices]:
    """Returns the new choices, and the old ones of capabilities, tables and keys that have no new one.

    >>> merge({"8.0": {}, "9.0": {"block": {"a": 1, "b": 1}}}, {"9.0": {"block": {"b": 2}}})
    {'8.0': {}, '9.0': {'block': {'a': 1, 'b': 2}}}
    """
    found = dict(old)
    for capability, tables in new.items():
        before = found.get(capability, {})
        found[capability] = before | {
            table: before.get(table, {}) | entries if isinstance(entries, dict) else entries
            for table, entries in tables.items()
        }
    return found


def _find_measured(device: torch.device) -> Choices:
    return _in_use.get(find_capability(device), {}) if _in_use else _in_use


@cache
def find_capability(device: torch.device) -> str:
    """Returns a GPU's compute capability; "interpreter" where there is none."""
    if device.type != "cuda":
        return "interpreter"
    major, minor = torch.cuda.get_device_capability(device)
    return f"{major}.{minor}"


def _read_attention(entry: Any) -> Attention:
    return Attention(**{name: int(number) for name, number in entry.items()})


def _read_tile(entry: Any) -> Tile:
    return Tile(**{name: int(number) for name, number in entry.items()})


def _read_way(entry: Any) -> str:
    if entry not in WAYS:
        raise ValueError(f"no way of computing a block: {entry}")
    return str(entry)


def _make_plain(entry: Attention | Tile | str) -> Any:
    return entry if isinstance(entry, str) else entry._asdict()


def fit_step(count: int, steps: tuple[int, ...]) -> int:
    """Returns the largest step whose padding costs at most 15 % more than that of the best step."""
    padded = {step: -(-count // step) * step for step in steps}
    return next(step for step in padded if padded[step] <= 1.15 * min(padded.values()))


def round_to_power(number: int) -> int:
    """Returns the next power of two, at least the 16 that a tensor core takes."""
    return max(16, 1 << (number - 1).bit_length())


def count_tiles_of_bias(plan: Plan, block: int) -> int:
    """Returns how many tiles of ``block`` by ``block`` a window's bias has.

    >>> count_tiles_of_bias(Plan((12, 12), (12, 12), (12, 12), (0, 0), 1, False), 64)
    9
    """
    return int((-(-prod(plan.window) // block)) ** 2)


use()
