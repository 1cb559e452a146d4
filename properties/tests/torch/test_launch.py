"""How a kernel is launched, with one that only notes its calls: what a GPU would do is tested on GPUs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from swin_torch.backends.triton import launch


class Kernel:
    """Notes what it is launched with; ``compiles`` counts how often it had to look at its arguments."""

    arg_names = ("x", "count", "scale", "FIRST", "SECOND")

    def __init__(self) -> None:
        self.fn = object()
        self.compiles = 0
        self.launched: list[Any] = []

    def __getitem__(self, programs: tuple[int, ...]) -> Any:
        def compile_and_launch(*_: Any, **__: Any) -> Compiled:
            self.compiles += 1
            return Compiled(self)

        return compile_and_launch


class Compiled:
    """A kernel after its compilation."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def __getitem__(self, programs: tuple[int, ...]) -> Any:
        return lambda *args: self.kernel.launched.append((programs, args))


def launch_with(kernel: Kernel, x: torch.Tensor, count: int, first: str = "a") -> None:
    launch.run(kernel, (5, 6), x, count, 0.5, SECOND="b", FIRST=first, num_warps=4)


def test_a_compiled_kernel_gets_its_constants_in_the_order_of_its_arguments() -> None:
    kernel, x = Kernel(), torch.zeros(8)
    launch_with(kernel, x, 3)
    launch_with(kernel, x, 5)
    assert kernel.compiles == 1
    assert kernel.launched == [((5, 6, 1), (x, 5, 0.5, "a", "b"))]


@pytest.mark.parametrize(
    "other",
    [
        lambda kernel, x: launch_with(kernel, x.double(), 3),
        lambda kernel, x: launch_with(kernel, x[1:], 3),  # no multiple of 16 bytes
        lambda kernel, x: launch_with(kernel, x, 1),
        lambda kernel, x: launch_with(kernel, x, 16),
        lambda kernel, x: launch_with(kernel, x, 2**31 + 3),
        lambda kernel, x: launch_with(kernel, x, 3, first="c"),
    ],
    ids=["type", "alignment", "one", "sixteen", "64 bits", "constant"],
)
def test_what_triton_compiles_for_is_compiled_again(other: Any) -> None:
    kernel, x = Kernel(), torch.zeros(8)
    launch_with(kernel, x, 3)
    other(kernel, x)
    assert kernel.compiles == 2
    assert not kernel.launched
