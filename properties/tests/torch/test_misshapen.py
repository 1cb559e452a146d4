"""Misshapen inputs and weights: the plain way's error or right numbers, and no process ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import swin_properties.laws  # noqa: F401 -- LAWS is filled
import torch
from conftest import heavy
from studies.misshapen import CASES, asked_for, judged
from swin_properties.cases.case import GridCase
from swin_properties.judging.compare import evaluate
from swin_properties.judging.implementation import load_implementation
from swin_properties.laws.law import LAWS
from torch import Tensor, nn

from swin_torch import shifted_window_attention_core
from swin_torch.backends import c as native
from swin_torch.backends import triton as kernels
from swin_torch.backends.c.threads import find_pointer
from swin_torch.blocks.norms import add_norm
from swin_torch.torch_adapter import Adapter

FINE = {"same error", "right numbers"}
OPERATOR = torch.ops.swin_torch.shifted_window_attention
BACKWARD = torch.ops.swin_torch.shifted_window_attention_backward
SIZES = 2, (4, 3), (2, 1), (8, 9), False, 0.5, -torch.inf


def wrong(found: dict[str, str]) -> dict[str, str]:
    """Returns what is neither the plain way's error nor right numbers."""
    return {name: verdict for name, verdict in found.items() if verdict not in FINE}


def test_there_are_at_least_93() -> None:
    assert sum(len(changes) for _, changes in CASES.values()) >= 93


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("kind", list(CASES))
def test_in_c_it_is_the_plain_way_s_error_or_right_numbers(kind: str, mode: str) -> None:
    assert not wrong(judged(asked_for([kind], [mode])))


def few(changes: set[str]) -> Iterator[str]:
    """Yields what the interpreter, which is slow, is asked for: some changes of parameters and inputs."""
    for line in asked_for(list(CASES), ["inference", "training"]):
        subject, _, change = line.rsplit("\t", 1)[1].rpartition(": ")
        if change in changes and not subject.startswith("kept"):
            yield line


@heavy
def test_under_triton_s_interpreter_too(deep: bool) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    more = {"nothing", "an axis more", "float64", "missing"} if deep else set()
    found = judged([*few({"a column less", "elsewhere"} | more)], {"TRITON_INTERPRET": "1"})
    assert not wrong(found)


class Strided(Adapter):
    """The adapter, its numbers lying otherwise in memory."""

    def _tensors(self, value: object, leaf: bool = True) -> object:
        def lay(one: object) -> object:
            if isinstance(one, dict):
                return {name: lay(child) for name, child in one.items()}
            if isinstance(one, (tuple, list)):
                return [*map(lay, one)]
            if isinstance(one, Tensor) and one.is_floating_point() and one.dim() > 1:
                return nn.Parameter(one.detach().mT.contiguous().mT)
            return one

        return lay(super()._tensors(value, leaf))


@pytest.mark.parametrize(
    "law", ["swin_block/oracle", "swin_block/gradient", "patch_merging/oracle", "patch_merging/gradient"]
)
def test_numbers_that_lie_otherwise_in_memory_are_the_oracles(law: str) -> None:
    case = GridCase.parse("window=3 grid=7x8 shift=1 heads=2 head_dim=5 batch=2")
    assert evaluate(LAWS[law], load_implementation(Strided("float32")), case).seen is None


@pytest.mark.parametrize(
    "change",
    [
        {0: torch.zeros(2, 5, 7, 17)},
        {0: torch.zeros(5, 7, 18)},
        {0: torch.zeros(2, 5, 7, 18, dtype=torch.int32)},
        {0: torch.zeros(2, 5, 7, 18).to_sparse()},
        {1: torch.zeros(34, 2)},
        {1: torch.zeros(35, 2).to_sparse()},
        {1: torch.zeros(35, 2, device="meta")},
        {2: torch.zeros(17)},
        {2: torch.zeros(18, dtype=torch.int32)},
        {3: 0},
        {4: (4, 4)},
        {4: (0, 3)},
        {5: (4, 1)},
        {5: (-1, 1)},
        {6: (8, 7)},
        {6: (4, 9)},
        {9: 0.0},
    ],
)
def test_the_operator_checks_what_it_is_given_without_its_function(change: dict[int, object]) -> None:
    good = [torch.zeros(2, 5, 7, 18), torch.zeros(35, 2), torch.zeros(18), *SIZES]
    assert OPERATOR(*good).shape == (2, 5, 7, 6)
    with pytest.raises(ValueError, match="got") as caught:
        OPERATOR(*(change.get(place, one) for place, one in enumerate(good)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "gradient",
    [
        torch.zeros(2, 5, 7, 5),
        torch.zeros(1, 5, 7, 6),
        torch.zeros(0),
        torch.zeros(2, 5, 7, 6).double(),
        torch.zeros(2, 5, 7, 6).to("meta"),
    ],
)
def test_the_operator_s_backward_checks_the_gradient(gradient: Tensor) -> None:
    given = torch.zeros(2, 5, 7, 18), torch.zeros(35, 2), torch.zeros(18), *SIZES
    with pytest.raises((RuntimeError, NotImplementedError)):
        BACKWARD(gradient, *given)


def test_the_operator_is_right_whatever_the_layout() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 5, 7, 6), (2, 5, 7, 18), (35, 2), (18,)
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    expected = OPERATOR(*tensors[1:], *SIZES), *BACKWARD(*tensors, *SIZES)
    for lay in (
        lambda x: torch._neg_view(-x),
        lambda x: torch.stack([x, x], -1)[..., 0],
        lambda x: torch.cat([x.new_ones(3), x.flatten()])[3:].view(x.shape),
    ):
        laid = [lay(x) for x in tensors]
        found = OPERATOR(*laid[1:], *SIZES), *BACKWARD(*laid, *SIZES)
        assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize(("height", "width"), [(0, 7), (5, 0), (0, 0)])
def test_a_grid_without_tokens_gives_one(height: int, width: int) -> None:
    qkv, table = torch.zeros(2, height, width, 18, requires_grad=True), torch.zeros(35, 2, requires_grad=True)
    out = shifted_window_attention_core(qkv, table, 2, (4, 3))
    assert out.shape == (2, height, width, 6)
    of_qkv, of_table = torch.autograd.grad(out.sum(), (qkv, table))
    assert of_qkv.shape == qkv.shape
    assert not of_table.any()


@pytest.mark.parametrize("interpreted", [False, True])
def test_no_kernel_takes_a_misshapen_sum_or_linear_layer(
    interpreted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if interpreted:  # what does not fit is not launched
        pytest.importorskip("triton", reason="triton is not installed")
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    x, gain, weight = torch.ones(3, 8), torch.ones(8), torch.ones(5, 8)
    for args in (
        (x, x[:, :7], gain, gain),
        (x, x, gain[:7], gain),
        (x, x, gain, gain[:1]),
        (x, x.double(), gain, gain),
        (x.int(), x.int(), gain, gain),
    ):
        with pytest.raises((RuntimeError, NotImplementedError)):
            add_norm(*(one.clone() for one in args), 1e-5)
    broadcast, _ = add_norm(x, x[:1].expand(3, 8), gain[:, None].T[0], gain, 1e-5)
    assert torch.equal(broadcast, x + 1)
    assert kernels.takes_linear(x, weight, None) == interpreted
    for misshapen in (
        (x, weight[:, :7], None),
        (x, weight, torch.ones(4)),
        (x, weight[0], None, None, torch.ones(2, 5)),
        (x, weight, None, (gain[:7], gain, 1e-5)),
        (x, weight, None, None, torch.ones(4, 5)),
        (x.double(), weight, None),
        (x, weight.int(), None),
    ):
        assert not kernels.takes_linear(*misshapen)  # type: ignore[arg-type]


def test_memory_that_is_gone_is_no_pointer() -> None:
    x = torch.zeros(3)
    x.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match=r"got one of shape \(3,\) whose memory is gone: gather"):
        find_pointer(x)
    assert find_pointer(torch.zeros(0)).value is None
    assert not native.takes(torch.zeros(0, 1, 1, 3), None)  # type: ignore[arg-type]
