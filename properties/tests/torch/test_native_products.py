"""Products in C: as near as their roundings allow at every size, and the same at any number of threads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from swin_torch.backends.c import pointwise, products
from swin_torch.backends.c.products import multiply

pytestmark = pytest.mark.usefixtures("compiler")

SIZES = [(1, 5, 3), (7, 33, 40), (25, 600, 33), (49, 1100, 8), (13, 1, 64), (12, 512, 32)]
"""Rows, depth and columns: tiles and vectors that are not whole, and depths laid out in several steps."""

U = torch.finfo().eps / 2

Given = dict[str, Tensor]


@pytest.fixture(params=["ours", "PyTorch's"])
def computed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    if request.param != "ours":
        monkeypatch.setattr(products, "_load_functions", lambda: None)
    return multiply


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def factors(
    rows: int, depth: int, columns: int, left_turned: bool = False, right_turned: bool = False
) -> tuple[Tensor, Tensor]:
    """Two matrices, each in memory as it is or turned."""
    generator = torch.Generator().manual_seed(rows + depth)
    left, right = (torch.randn(*sizes, generator=generator) for sizes in ((rows, depth), (depth, columns)))
    return left.T.contiguous().T if left_turned else left, right.T.contiguous().T if right_turned else right


def summands(rows: int, columns: int) -> Given:
    generator = torch.Generator().manual_seed(1)
    return {
        "given": torch.randn(rows, columns, generator=generator),
        "bias": torch.randn(columns, generator=generator),
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("turned", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("names", [(), ("given",), ("bias",), ("given", "bias")])
def test_it_is_as_near_as_its_roundings_allow(
    computed: Callable[..., Tensor],
    size: tuple[int, int, int],
    turned: tuple[bool, bool],
    names: tuple[str, ...],
) -> None:
    rows, depth, columns = size
    left, right = factors(*size, *turned)
    added = {name: one for name, one in summands(rows, columns).items() if name in names}
    found = computed(left, right, torch.full((rows, columns), math.nan), **added)
    roundings = depth + len(added)
    zero = torch.zeros(rows, columns, dtype=torch.float64)
    exact = left.double() @ right.double() + sum((one.double() for one in added.values()), zero)
    largest = left.double().abs() @ right.double().abs() + sum(
        (one.double().abs() for one in added.values()), zero
    )
    assert ((found - exact).abs() <= roundings * U / (1 - roundings * U) * largest).all()


@pytest.mark.parametrize("size", SIZES)
def test_what_is_added_to_may_be_where_the_sum_goes(
    computed: Callable[..., Tensor], size: tuple[int, int, int]
) -> None:
    left, right = factors(*size)
    added = summands(size[0], size[2])
    apart = computed(left, right, torch.empty(size[0], size[2]), **added)
    assert torch.equal(computed(left, right, added["given"], **added), apart)


@pytest.mark.parametrize("size", SIZES)
def test_gelu_of_a_product_is_that_of_what_it_gives(
    computed: Callable[..., Tensor], size: tuple[int, int, int]
) -> None:
    (left, right), added, out = factors(*size), summands(size[0], size[2]), torch.empty(size[0], size[2])
    plain = computed(left, right, out.clone(), **added)
    found = computed(left, right, out, **added, activated=True)
    assert torch.equal(found, pointwise.gelu(plain, plain))


@pytest.mark.parametrize("size", [*SIZES, (25, 600, 64)])
def test_the_same_past_the_cache(computed: Callable[..., Tensor], size: tuple[int, int, int]) -> None:
    (left, right), added = factors(*size), summands(size[0], size[2])
    expected = computed(left, right, torch.empty(size[0], size[2]), **added)
    found = computed(left, right, torch.full((size[0], size[2]), math.nan), **added, streamed=True)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("size", SIZES)
def test_the_same_at_any_number_of_threads(
    size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "FEW", 1)
    (left, right), added, out = factors(*size, right_turned=True), summands(size[0], size[2]), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        out.append(multiply(left, right, torch.empty(size[0], size[2]), **added))
    assert all(torch.equal(one, out[0]) for one in out)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("size", SIZES)
def test_what_is_no_number_stays_in_its_row_and_column(
    computed: Callable[..., Tensor], size: tuple[int, int, int], value: float
) -> None:
    left, right = factors(*size)
    row, column = size[0] // 2, size[2] // 2
    left[row, -1] = right[0, column] = value
    finite = computed(left, right, torch.empty(size[0], size[2])).isfinite()
    expected = torch.ones_like(finite)
    expected[row], expected[:, column] = False, False
    assert torch.equal(finite, expected)
