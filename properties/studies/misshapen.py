"""Misshapen inputs and weights, as data, and what became of each; a script, for some may end their process.

A case changes a call that is right.  What is expected of the fused way is what the plain way does with the
same change: the same type of error, or its numbers.  Numbers are right if they are, to the last bit, those of
the plain operations on the same tensors, or of the fused way on contiguous copies of them: that these are
right, the laws say.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from swin_torch import PatchMerging, SwinBlock, SwinV2Block, SwinV2PatchMerging
from swin_torch.blocks import ways, ways_v2
from swin_torch.blocks.parts_v2 import CosineAttention
from swin_torch.blocks.ways import Way, compute_around_products, compute_by_layers
from swin_torch.geometry import functional_v2

WINDOW, SHIFT, GRID, HEADS, CHANNELS, HIDDEN = (4, 3), (2, 1), (5, 7), 4, 32, 48


@dataclass
class Call:
    """A call of a module: what it is given, what its backward is, and what happens between the two."""

    module: Any
    inputs: dict[str, Any]
    gradient: Tensor
    between: Callable[[Call], None] = lambda _: None
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    training: bool = False
    leaves: list[Tensor] = field(default_factory=list)


Change = Callable[[Call], None]
Outcome = str | list[Tensor | None]
"""The type of an error and what it says, or an output and its gradients."""


def drawn(*shape: int) -> Tensor:
    """Returns random numbers, the same for the same shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def block_call(training: bool) -> Call:
    """Returns a call of a block on a grid that is padded."""
    torch.manual_seed(0)
    block = SwinBlock(CHANNELS, HEADS, WINDOW, HIDDEN)
    x = drawn(2, *GRID, CHANNELS)
    return Call(block, {"x": x, "shift_size": SHIFT, "kept": None}, drawn(*x.shape), training=training)


def merge_call(training: bool) -> Call:
    """Returns a call of a merge of an odd grid."""
    torch.manual_seed(0)
    return Call(PatchMerging(8), {"x": drawn(2, *GRID, 8)}, drawn(2, 3, 4, 16), training=training)


def v2_block_call(training: bool) -> Call:
    """Returns a call of a block of V2, whose norms are not 0."""
    torch.manual_seed(0)
    block = SwinV2Block(CHANNELS, HEADS, WINDOW, HIDDEN)
    for norm in (block.norm1, block.norm2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = drawn(2, *GRID, CHANNELS)
    return Call(block, {"x": x, "shift_size": SHIFT, "kept": None}, drawn(*x.shape), training=training)


def v2_merge_call(training: bool) -> Call:
    """Returns a call of V2's merge of an odd grid."""
    torch.manual_seed(0)
    return Call(SwinV2PatchMerging(8), {"x": drawn(2, *GRID, 8)}, drawn(2, 3, 4, 16), training=training)


# --- layouts: the same numbers otherwise in memory


def spread_out(x: Tensor) -> Tensor:
    """Returns every second number of twice as many."""
    return torch.stack([x, x + 1], -1)[..., 0]


def columns_first(x: Tensor) -> Tensor:
    """Returns a tensor that lies in memory the last axis first."""
    return x.permute(*reversed(range(x.dim()))).contiguous().permute(*reversed(range(x.dim())))


def negated(x: Tensor) -> Tensor:
    """Returns a tensor whose memory holds other signs: a bit of it says so."""
    return torch._neg_view(-x)


def inside(x: Tensor) -> Tensor:
    """Returns a tensor that begins in the middle of a memory, where no vector does."""
    return torch.cat([x.new_ones(3), x.flatten(), x.new_ones(5)])[3:-5].view(x.shape)


def first_row_for_all(x: Tensor) -> Tensor:
    """Returns rows that are one in memory."""
    return x[:1].expand(x.shape)


def overlapping(x: Tensor) -> Tensor:
    """Returns rows that begin one number after the other in memory."""
    return x.flatten().as_strided(x.shape, [1] * x.dim())


def flipped(x: Tensor) -> Tensor:
    """Returns the rows in the other order."""
    return x.flip(0)


LAYOUTS = (spread_out, columns_first, negated, inside, first_row_for_all, overlapping, flipped)


# --- shapes and types


def a_row_less(x: Tensor) -> Tensor:
    """Returns all rows but the last."""
    return x[:-1].clone()


def a_row_more(x: Tensor) -> Tensor:
    """Returns a row more."""
    return torch.cat([x, x[:1]])


def a_column_less(x: Tensor) -> Tensor:
    """Returns all columns but the last."""
    return x[..., :-1].clone()


def a_column_more(x: Tensor) -> Tensor:
    """Returns a column more."""
    return torch.cat([x, x[..., :1]], -1)


def half_of_the_columns(x: Tensor) -> Tensor:
    """Returns the first half of the columns."""
    return x[..., : x.shape[-1] // 2].clone()


def half_of_the_rows(x: Tensor) -> Tensor:
    """Returns the first half of the rows."""
    return x[: len(x) // 2].clone()


def transposed(x: Tensor) -> Tensor:
    """Returns columns as rows."""
    return x.T.contiguous()


def nothing(x: Tensor) -> Tensor:
    """Returns an empty tensor of as many axes."""
    return x.new_empty([0] * x.dim())


def one_number(x: Tensor) -> Tensor:
    """Returns one number, of as many axes."""
    return x.flatten()[:1].clone().view([1] * x.dim())


def one_row(x: Tensor) -> Tensor:
    """Returns the first row."""
    return x[:1].clone()


def without_axes(x: Tensor) -> Tensor:
    """Returns one number without an axis."""
    return x.flatten()[0].clone()


def an_axis_more(x: Tensor) -> Tensor:
    """Returns the same numbers under another axis."""
    return x[None].clone()


def float64(x: Tensor) -> Tensor:
    """Returns it in float64."""
    return x.double()


def bfloat16(x: Tensor) -> Tensor:
    """Returns it in bfloat16."""
    return x.bfloat16()


def float16(x: Tensor) -> Tensor:
    """Returns it in float16."""
    return x.half()


def integers(x: Tensor) -> Tensor:
    """Returns it in int32, as many bytes."""
    return x.int()


def elsewhere(x: Tensor) -> Tensor:
    """Returns one on another device."""
    return x.to("meta")


def sparse(x: Tensor) -> Tensor:
    """Returns it as indices and values."""
    return x.to_sparse()


OF_A_MATRIX = (
    a_row_less,
    a_row_more,
    a_column_less,
    a_column_more,
    half_of_the_columns,
    half_of_the_rows,
    transposed,
    nothing,
    one_number,
    one_row,
    without_axes,
    an_axis_more,
    float64,
    bfloat16,
    integers,
    elsewhere,
    sparse,
)
OF_A_VECTOR = (
    a_row_less,
    a_row_more,
    half_of_the_rows,
    nothing,
    one_number,
    without_axes,
    an_axis_more,
    float64,
    bfloat16,
    integers,
    elsewhere,
)
OF_AN_INPUT = (
    a_column_less,
    a_column_more,
    half_of_the_columns,
    half_of_the_rows,
    nothing,
    one_number,
    without_axes,
    an_axis_more,
    float64,
    bfloat16,
    float16,
    integers,
    elsewhere,
    sparse,
)


def put(module: nn.Module, path: str, value: Tensor | None) -> None:
    """Replaces a parameter; what is no float wants no gradient."""
    *owners, name = path.split(".")
    owner = module.get_submodule(".".join(owners))
    if value is None:
        setattr(owner, name, None)
    else:
        setattr(owner, name, nn.Parameter(value, requires_grad=value.is_floating_point()))


def put_changed(path: str, change: Callable[[Tensor], Tensor], call: Call) -> None:
    """Changes a parameter of the called module."""
    put(call.module, path, change(call.module.get_parameter(path).detach()))


def input_changed(name: str, change: Callable[[Tensor], Tensor], call: Call) -> None:
    """Changes an input."""
    call.inputs[name] = change(call.inputs[name])


def gradient_changed(change: Callable[[Tensor], Tensor], call: Call) -> None:
    """Changes the gradient that backward begins with."""
    call.gradient = change(call.gradient)


def swapped_between(path: str, change: Callable[[Tensor], Tensor], call: Call) -> None:
    """Has a parameter's memory replaced between forward and backward, which autograd does not notice."""

    def swap(call: Call) -> None:
        parameter = call.module.get_parameter(path)
        parameter.data = change(parameter.data)

    call.between = swap


def input_swapped_between(change: Callable[[Tensor], Tensor], call: Call) -> None:
    """The same of the input."""

    def swap(call: Call) -> None:
        call.inputs["x"].data = change(call.inputs["x"].data)

    call.between = swap


def written_between(path: str, call: Call) -> None:
    """Has a parameter written to between forward and backward, which autograd notices."""

    def write(call: Call) -> None:
        with torch.no_grad():
            call.module.get_parameter(path).add_(1)

    call.between = write


def kept_otherwise(change: Callable[[Tensor], Tensor], call: Call) -> None:
    """Has what forward keeps come back otherwise."""
    call.around = lambda: saved_tensors_hooks(lambda x: x, change)


def only_large(change: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Changes tensors of four axes alone: the block's tokens."""
    return change(x) if x.dim() == 4 else x


def factors(first: Any, second: Any, call: Call) -> None:
    """Gives drop path's factors."""
    call.inputs["kept"] = first, second


def frozen(paths: Sequence[str], call: Call) -> None:
    """Has parameters want no gradient."""
    for path in paths:
        call.module.get_parameter(path).requires_grad_(False)


def computed(path: str, call: Call) -> None:
    """Has a parameter be computed from another: it is no leaf."""
    *owners, name = path.split(".")
    owner, leaf = call.module.get_submodule(".".join(owners)), call.module.get_parameter(path)
    delattr(owner, name)
    setattr(owner, name, leaf * 2)
    call.leaves.append(leaf)


def attribute(path: str, value: Any, call: Call) -> None:
    """Sets an attribute of a layer."""
    *owners, name = path.split(".")
    setattr(call.module.get_submodule(".".join(owners)), name, value)


def inputs(call: Call, **changes: Any) -> None:
    """Replaces inputs."""
    call.inputs.update(changes)


def named(function: Callable[..., Any]) -> str:
    """Returns a function's name in words."""
    return function.__name__.replace("_", " ")


MATRICES = ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight")
TABLE = "attn.relative_position_bias_table"
VECTORS = (
    "norm1.weight",
    "norm1.bias",
    "attn.qkv.bias",
    "attn.proj.bias",
    "norm2.weight",
    "norm2.bias",
    "mlp.fc1.bias",
    "mlp.fc2.bias",
)


V2_MATRICES = ("attn.qkv.weight", "attn.cpb_mlp.0.weight", "attn.cpb_mlp.2.weight")
V2_VECTORS = ("attn.q_bias", "attn.v_bias", "attn.cpb_mlp.0.bias", "norm1.weight")
LOGIT_SCALE = "attn.logit_scale"
"""The parameters that only V2 has, and those that it uses in another way than V1."""


def shape_cases(matrices: Sequence[str], vectors: Sequence[str]) -> Iterator[tuple[str, Change]]:
    """Yields every change of shape, type and place, of every parameter and of the input."""
    for paths, changes in ((matrices, OF_A_MATRIX), (vectors, OF_A_VECTOR)):
        for path in paths:
            for change in changes:
                yield f"{path}: {named(change)}", partial(put_changed, path, change)
            for layout in LAYOUTS:
                yield f"{path}: {named(layout)}", partial(put_changed, path, layout)
            yield f"{path}: missing", lambda call, path=path: put(call.module, path, None)
    for change in (*OF_AN_INPUT, *LAYOUTS):
        yield f"x: {named(change)}", partial(input_changed, "x", change)


def shared_cases(path: str, large: str) -> Iterator[tuple[str, Change]]:
    """Yields what goes wrong in backward: of the gradient, and between forward and backward."""
    for change in (*OF_AN_INPUT, *LAYOUTS):
        yield f"gradient: {named(change)}", partial(gradient_changed, change)
    for change in (a_row_less, a_column_less, half_of_the_columns, nothing, columns_first, negated):
        yield f"{path}: {named(change)}, between", partial(swapped_between, path, change)
        yield f"{large}: {named(change)}, between", partial(swapped_between, large, change)
    for change in (a_row_less, a_column_less, nothing, columns_first, negated):
        yield f"x: {named(change)}, between", partial(input_swapped_between, change)
    yield f"{path}: written to, between", partial(written_between, path)
    yield f"{large}: written to, between", partial(written_between, large)
    for change in (float64, bfloat16, a_row_less, columns_first, negated, elsewhere, nothing):
        yield f"kept: {named(change)}", partial(kept_otherwise, change)
        yield f"kept tokens: {named(change)}", partial(kept_otherwise, partial(only_large, change))
    yield f"{large}: frozen", partial(frozen, [large])
    yield f"{large}: no leaf", partial(computed, large)


def block_cases() -> Iterator[tuple[str, Change]]:
    """Yields the cases of a block."""
    yield "as it should be", lambda _: None
    yield from shape_cases((*MATRICES, TABLE), VECTORS)
    yield from shared_cases("norm1.weight", "mlp.fc2.weight")
    for path in (TABLE, "attn.qkv.weight", "attn.qkv.bias"):
        for change in (a_row_less, half_of_the_rows, nothing):
            yield f"{path}: {named(change)}, between", partial(swapped_between, path, change)
    yield from cases_of_any_block()
    yield "attention of other heads", lambda call: put(call.module, TABLE, drawn(35, 2))
    yield "attention of more heads than channels", lambda call: put(call.module, TABLE, drawn(35, 64))
    yield "attention of no heads", lambda call: put(call.module, TABLE, drawn(35, 0))


def v2_block_cases() -> Iterator[tuple[str, Change]]:
    """Yields the cases of a block of V2."""
    yield "as it should be", lambda _: None
    yield from shape_cases(V2_MATRICES, V2_VECTORS)
    for name, change in shared_cases("norm1.weight", "mlp.fc2.weight"):
        if name != "kept: columns first":  # PyTorch's own layers of the bias MLP then sum in another order
            yield name, change
    for change in (a_row_less, a_row_more, nothing, one_row, without_axes, an_axis_more, float64, elsewhere):
        yield f"{LOGIT_SCALE}: {named(change)}", partial(put_changed, LOGIT_SCALE, change)
    for path in (LOGIT_SCALE, "attn.q_bias", "attn.cpb_mlp.2.weight"):
        for change in (a_row_less, half_of_the_rows, nothing):
            yield f"{path}: {named(change)}, between", partial(swapped_between, path, change)
    yield from cases_of_any_block()
    yield "attention of more heads than channels", lambda call: put(call.module, LOGIT_SCALE, drawn(64, 1, 1))


def cases_of_any_block() -> Iterator[tuple[str, Change]]:
    """Yields grids, shifts, windows, factors of drop path, and layers that do not fit."""
    for height, width in ((0, 7), (5, 0), (0, 0), (1, 1), (4, 3)):
        x = drawn(2, height, width, CHANNELS)
        yield (
            f"a grid of {height}x{width}",
            lambda call, x=x: (inputs(call, x=x), give_gradient(call, drawn(*x.shape))),
        )
    empty = drawn(0, *GRID, CHANNELS)
    yield "no image", lambda call: (inputs(call, x=empty), give_gradient(call, empty.clone()))
    for shift in ((-1, 0), (4, 0), (0, 3), 3):
        yield f"shift {shift}", partial(inputs, shift_size=shift)
    for window in ((3, 4), (4, 4), (0, 3), (2, 3)):
        yield f"window {window}", partial(attribute, "attn.window_size", window)
    ones = torch.ones(2)
    for name, kept in {
        "as they should be": (2 * ones, 0.5 * ones),
        "one for all": (torch.ones(1), ones),
        "one too many": (ones, torch.ones(3)),
        "one for all at last": (ones, torch.ones(1)),
        "none": (torch.ones(0), ones),
        "of two axes": (ones[:, None], ones[None]),
        "of four axes": (torch.ones(2, 1, 1, 1), ones),
        "one a token": (torch.ones(2, 5, 7, 1), ones),
        "without an axis": (torch.tensor(1.0), ones),
        "float64": (ones.double(), 2 * ones),
        "integers": (ones.int(), 2 * ones),
        "elsewhere": (ones.to("meta"), ones),
        "one for all in memory": (torch.ones(1).expand(2), ones),
        "negated": (ones, negated(3 * ones)),
    }.items():
        yield f"factors: {name}", partial(factors, *kept)
    yield "factors: wanting gradients", wanting
    norms = {"larger": nn.LayerNorm(CHANNELS + 1), "of two axes": nn.LayerNorm((GRID[1], CHANNELS))}
    for name, norm in norms.items():
        yield f"norm1: {name}", partial(attribute, "norm1", norm)
    plain = nn.LayerNorm(CHANNELS, elementwise_affine=False)
    yield "norm2: without parameters", partial(attribute, "norm2", plain)
    yield "norm1: of another width by its attribute", partial(attribute, "norm1.normalized_shape", (16,))
    yield "mlp: of another width", lambda call: setattr(call.module, "mlp", SwinBlock(16, 1, 1, 8).mlp)
    yield "mlp: of no width", widthless
    yield "all in bfloat16 but x", lambda call: call.module.bfloat16()
    yield "all elsewhere but x", lambda call: call.module.to("meta")
    yield "all elsewhere", everything_elsewhere
    yield "all frozen", lambda call: call.module.requires_grad_(False)


def give_gradient(call: Call, gradient: Tensor) -> None:
    """Gives another gradient."""
    call.gradient = gradient


def wanting(call: Call) -> None:
    """Gives factors of which gradients are wanted."""
    kept = tuple(torch.full((2,), 1.5, requires_grad=True) for _ in range(2))
    call.inputs["kept"] = kept
    call.leaves.extend(kept)


def widthless(call: Call) -> None:
    """Gives the MLP a hidden layer of no channels."""
    put(call.module, "mlp.fc1.weight", torch.empty(0, CHANNELS))
    put(call.module, "mlp.fc1.bias", torch.empty(0))
    put(call.module, "mlp.fc2.weight", torch.empty(CHANNELS, 0))


def everything_elsewhere(call: Call) -> None:
    """Moves all to another device."""
    call.module.to("meta")
    call.inputs["x"] = call.inputs["x"].to("meta")
    call.gradient = call.gradient.to("meta")


def merge_cases(norm: int = 33) -> Iterator[tuple[str, Change]]:
    """Yields the cases of a merge, with the channels of a norm that does not fit."""
    yield "as it should be", lambda _: None
    yield from shape_cases(["reduction.weight"], ["norm.weight", "norm.bias"])
    yield from shared_cases("norm.weight", "reduction.weight")
    yield "reduction: with a bias", lambda call: put(call.module, "reduction.bias", drawn(16))
    yield "reduction: with a bias too short", lambda call: put(call.module, "reduction.bias", drawn(15))
    yield "reduction: with a bias for all", lambda call: put(call.module, "reduction.bias", drawn(1))
    yield "norm: larger", partial(attribute, "norm", nn.LayerNorm(norm))


# --- what is right, and what came


def outcome(call: Call, compute: Callable[[Any], Any]) -> Outcome:
    """Calls the module as ``compute`` makes it, and its backward in training: numbers, or an error."""
    try:
        module = compute(call.module)
        if not call.training:
            with torch.no_grad():
                return [module(**call.inputs)]
        x = call.inputs["x"]
        if x.is_floating_point():
            call.inputs["x"] = x = x.detach().requires_grad_()
        with call.around():
            out = module(**call.inputs)
        call.between(call)
        leaves = [x, *call.module.parameters(), *call.leaves]
        out.backward(call.gradient)
        return [out.detach(), *(leaf.grad for leaf in leaves)]
    except Exception as error:  # whatever comes is what is compared
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160] if str(error) else ''}"


def same(one: Outcome, other: Outcome) -> bool:
    """Compares two outcomes: types of errors, or numbers to the last bit.

    What PyTorch has not implemented is a RuntimeError too.
    """
    if isinstance(one, str) or isinstance(other, str):
        kinds = [
            str(x).partition(":")[0].replace("NotImplementedError", "RuntimeError") for x in (one, other)
        ]
        return isinstance(one, str) and isinstance(other, str) and kinds[0] == kinds[1]
    return len(one) == len(other) and all(map(equal, one, other))


def equal(one: Tensor | None, other: Tensor | None) -> bool:
    """Compares two tensors to the last bit; without numbers their shapes and types."""
    if one is None or other is None:
        return one is other
    kinds = [(x.shape, x.dtype, x.device) for x in (one, other)]
    if kinds[0] != kinds[1]:
        return False
    return one.is_meta or torch.equal(one.nan_to_num(), other.nan_to_num())


def tidied(call: Call, but: str = "nothing") -> Call:
    """Returns the same call on contiguous copies, but for parameters with a name that begins so."""

    def tidy(x: Any) -> Any:
        if isinstance(x, tuple):
            return tuple(map(tidy, x))
        plain = isinstance(x, Tensor) and x.layout == torch.strided and not x.requires_grad
        return x.detach().resolve_neg().clone(memory_format=torch.contiguous_format) if plain else x

    for name, parameter in call.module.named_parameters():
        if parameter.layout == torch.strided and not name.startswith(but):
            parameter.data = parameter.detach().resolve_neg().clone(memory_format=torch.contiguous_format)
    call.inputs = {name: tidy(value) for name, value in call.inputs.items()}
    call.gradient = tidy(call.gradient)
    call.around = nullcontext
    return call


def plainly(module: Any) -> Any:
    """Returns the module, computed in plain operations."""
    module.choose("plain")
    return module


def fast(module: Any, keeping: str | None = None) -> Any:
    """Returns the module, computed in the first way that takes it."""
    module.choose("fast", keeping)
    return module


def outcome_by(run: Callable[[Any], Tensor], call: Call) -> Outcome:
    """Calls a block that takes one way and no other, where its shapes fit."""
    only = Way("the only one", lambda call: call.obstacle, run)
    home: Any = ways_v2 if isinstance(call.module, SwinV2Block) else ways
    with patch.object(home, "WAYS", (only, home.WAYS[-1])):
        return outcome(call, fast)


def list_ways(module: Any, training: bool) -> list[Callable[[Any], Tensor]]:
    """Returns the ways of a block that compute its layers by themselves; a merge has none."""
    if isinstance(module, SwinV2Block):
        return [ways_v2.compute_by_layers]
    if isinstance(module, SwinBlock):
        return [compute_by_layers] if training else [compute_by_layers, compute_around_products]
    return []


def compute_table_by_modules(attn: CosineAttention) -> Tensor:
    """Returns V2's bias table by PyTorch's modules: products of strided weights round in their own way."""
    sizes = attn.window_size, attn.pretrained_window_size
    scale, rounds = attn.logit_scale, attn.convention.offsets
    offsets = functional_v2.find_offsets(*sizes, scale.dtype, scale.device, rounds)
    return 16 * attn.cpb_mlp(offsets).sigmoid()


def verdict(make: Callable[[bool], Call], change: Change, training: bool, keeping: str | None) -> str:
    """Says what became of a case: "same error", "right numbers", or what is wrong."""

    def changed() -> Call:
        call = make(training)
        change(call)
        return call

    other_ways = list_ways(make(training).module, training)
    expected = outcome(changed(), plainly)
    found = outcome(changed(), partial(fast, keeping=keeping))
    if isinstance(expected, str) or isinstance(found, str):
        if same(expected, found):
            return "same error"
        if isinstance(expected, str) and isinstance(found, str):
            return f"another error: {found} in place of {expected}"
        if refused_later(change, found):
            return "same error"
        if isinstance(found, str):
            return f"an error in place of numbers: {found}"
        return f"numbers in place of an error: {expected}"
    if any(one.is_meta for one in changed().module.parameters()) and not found[0].is_meta:
        # PyTorch itself multiplies by what has no numbers, and gives any.
        shapes = [[None if x is None else x.shape for x in numbers] for numbers in (expected, found)]
        return "right numbers" if shapes[0] == shapes[1] else "other numbers"

    def others() -> Iterator[Outcome]:  # each is computed only where the ones before it are not the same
        yield expected
        yield outcome(tidied(changed()), partial(fast, keeping=keeping))
        for run in other_ways:
            yield outcome_by(run, changed())
        with patch.object(CosineAttention, "compute_table", compute_table_by_modules):
            yield outcome(tidied(changed(), but="attn.cpb_mlp"), partial(fast, keeping=keeping))

    return "right numbers" if any(same(found, other) for other in others()) else "other numbers"


def refused_later(change: Change, found: Outcome) -> bool:
    """Returns whether backward refused what was changed after forward.

    The plain way may give numbers there, gradients of a parameter that forward did not see.
    """
    later = getattr(change, "func", None) in (swapped_between, input_swapped_between, kept_otherwise)
    return later and isinstance(found, str) and found.startswith(("RuntimeError", "ValueError"))


CASES: dict[str, tuple[Callable[[bool], Call], dict[str, Change]]] = {
    "block": (block_call, dict(block_cases())),
    "merge": (merge_call, dict(merge_cases())),
    "block of V2": (v2_block_call, dict(v2_block_cases())),
    "merge of V2": (v2_merge_call, dict(merge_cases(norm=17))),
}


# --- run apart, since a case may end its process

SECONDS = 60
"""After which a case is taken for one that hangs."""


def work(lines: Iterator[str]) -> None:
    """Judges cases, one a line, in a process that may end: another goes on after it."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for make, changes in CASES.values():  # what is compiled and imported at first, once for all processes
        for training in (False, True):
            for layout in ("as it should be", "x: spread out"):
                verdict(make, changes[layout], training, None)
    asked = [line.rstrip("\n") for line in lines]
    done = mmap.mmap(-1, 8)  # how many, seen by the process that goes on where another ended
    while (first := int.from_bytes(done[:8], "little")) < len(asked):
        child = os.fork()
        if not child:
            for number, line in enumerate(asked[first:], first):
                signal.alarm(SECONDS)
                kind, mode, keeping, name = line.split("\t")
                make, changes = CASES[kind]
                print(verdict(make, changes[name], mode == "training", keeping or None), flush=True)
                done[:8] = (number + 1).to_bytes(8, "little")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(f"ended the process, with {os.waitstatus_to_exitcode(status)}", flush=True)
            done[:8] = (int.from_bytes(done[:8], "little") + 1).to_bytes(8, "little")


def judged(asked: Sequence[str], environment: dict[str, str] | None = None) -> dict[str, str]:
    """Returns what became of each case."""
    run = subprocess.run(
        [sys.executable, __file__],
        input="\n".join(asked),
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    found = run.stdout.splitlines()
    if run.returncode or len(found) != len(asked):
        raise RuntimeError(f"each case has one verdict, got {len(found)} of {len(asked)}: {run.stderr}")
    return dict(zip(asked, found, strict=True))


def asked_for(kinds: Sequence[str], modes: Sequence[str], keeping: str = "") -> list[str]:
    """Returns the lines that ask for all cases of some kinds."""
    return [
        "\t".join((kind, mode, keeping, name)) for kind in kinds for mode in modes for name in CASES[kind][1]
    ]


if __name__ == "__main__":
    work(iter(sys.stdin))
