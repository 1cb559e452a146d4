"""The fused attention beside its peers' formulations: all between the two linear layers, judged, then timed.

The fused operator takes qkv in image order; a peer shifts and partitions its tokens, takes qkv in window
order, made beforehand, and goes back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
import torch._functorch.config
from swin_properties.budget.budget import Deviation, deviation
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from benchmarks.cases.verdicts import exact_and_budget
from swin_torch import shifted_window_attention_core
from swin_torch.geometry import functional


class Sizes(NamedTuple):
    """One stage's attention: the side of its grid, channels, heads, window and shift."""

    side: int
    channels: int
    heads: int
    window: int
    shift: int


def stages(window: int = 7, shifted: bool = True) -> dict[str, Sizes]:
    """The stages of Swin-T whose windows can be shifted, at 224 for window 7 and 384 for window 12.

    "reduced" is a size that Triton's interpreter goes through in seconds.
    """
    side, shift = 8 * window, window // 2 if shifted else 0
    found = {f"stage {n + 1}": Sizes(side >> n, 96 << n, 3 << n, window, shift) for n in range(3)}
    return found | {"reduced": Sizes(2 * window, 16, 1, window, shift)}


class Case:
    """One size in one precision on one device: the tensors, and the formulations by name."""

    def __init__(self, sizes: Sizes, batch: int, dtype: torch.dtype, device: str = "cpu") -> None:
        """All tensors are random, exact in ``dtype``, which the oracle is given as well."""
        side, channels, self.heads, self.window, self.shift = self.sizes = sizes
        generator = torch.Generator().manual_seed(0)

        def make(*shape: int, scale: float = 1.0) -> Tensor:
            return (scale * torch.randn(*shape, generator=generator)).to(device, dtype)

        self.dtype, self.device = dtype, device
        self.weight, self.bias = make(3 * channels, channels, scale=channels**-0.5), make(3 * channels)
        self.table = make((2 * self.window - 1) ** 2, self.heads).requires_grad_()
        self.x = make(batch, side, side, channels)
        self.cotangent = make(batch, side, side, channels)
        self.qkv = linear(self.x, self.weight, self.bias).requires_grad_()
        moved = functional.window_partition(functional.cyclic_shift(self.qkv, self.shift), self.window)
        self.windows = moved.flatten(1, 2).contiguous().detach().requires_grad_()
        # Peers mask by adding -100, whole windows of zeros too.
        soft = functional.shifted_window_mask(side, side, self.window, self.shift, dtype, device)
        self.mask = soft.clamp(min=-100) if self.shift else None

    @cached_property
    def formulations(self) -> dict[str, Callable[[], Tensor]]:
        """The operator; as official, torchvision and timm write it out; as timm does with PyTorch's SDPA.

        On a GPU also what is written out, compiled: on a CPU the whole network is compared so.
        """
        found = {"fused": self.fused, "manual": lambda: self.peer(False), "sdpa": lambda: self.peer(True)}
        if self.device == "cuda":
            compiled: Callable[..., Tensor] = torch.compile(self.peer)
            found["compiled"] = lambda: compiled(False)
        return found

    def unshifted(self) -> Tensor:
        """Returns the operator without its shift: another function, as fast as the shifted one may be."""
        return shifted_window_attention_core(self.qkv, self.table, self.heads, self.window)

    def fused(self) -> Tensor:
        """The operator."""
        return shifted_window_attention_core(self.qkv, self.table, self.heads, self.window, self.shift)

    def peer(self, sdpa: bool) -> Tensor:
        """The tokens are moved as well: a peer shifts and partitions them ahead of its qkv."""
        moved = functional.window_partition(functional.cyclic_shift(self.x, self.shift), self.window)
        q, k, v = self.windows.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = functional.relative_position_bias(self.table, self.window)[None]
        if self.mask is not None:
            batch = len(q) // len(self.mask)
            bias = (bias + self.mask[:, None]).expand(batch, -1, -1, -1, -1).flatten(0, 1) if sdpa else bias
        if sdpa:
            out = scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            logits = (q * q.shape[-1] ** -0.5) @ k.mT + bias
            if self.mask is not None:
                logits = (logits.unflatten(0, (-1, len(self.mask))) + self.mask[:, None]).flatten(0, 1)
            out = logits.softmax(-1) @ v
        out = out.transpose(1, 2).reshape(moved.shape)
        grid = functional.window_reverse(out, self.window, *self.x.shape[1:3])
        return functional.reverse_cyclic_shift(grid, self.shift)

    def judged(self, name: str) -> Deviation:
        """How far a formulation is from the oracle on the first image, in budgets of this precision."""
        with torch.no_grad():
            got = self.formulations[name]()[:1]
        return deviation(_array(got), *self._expected)

    def check(self, name: str) -> Deviation:
        """What `judged` says.  Errors: ``ValueError`` for another function, which is not to be timed."""
        if not (apart := self.judged(name)).holds:
            raise ValueError(
                f"what is timed is Swin's attention, {name} is {apart.rho:.3g} budgets from it: mend it"
            )
        return apart

    @cached_property
    def _expected(self) -> tuple[Any, Any]:
        channels = self.sizes.channels
        params = {
            "qkv": {"weight": _array(self.weight), "bias": _array(self.bias)},
            "proj": {"weight": np.eye(channels), "bias": np.zeros(channels)},
            "relative_position_bias_table": _array(self.table),
        }
        asked = _array(self.x[:1]), params, self.heads, self.window, self.shift
        return exact_and_budget("shifted_window_attention", asked, str(self.dtype).removeprefix("torch."))

    def run(self, name: str, step: str = "forward") -> Callable[[], None]:
        """Returns a formulation's run: "forward" without gradients, "both", or the "backward" alone."""
        formulation = self.unshifted if name == "unshifted" else self.formulations[name]
        ours = name in ("fused", "unshifted")
        leaves = self.table, self.qkv if ours else self.windows

        def forward() -> None:
            with torch.no_grad():
                formulation()

        def both() -> None:
            torch.autograd.grad(formulation(), leaves, self.cotangent)

        if step != "backward":
            return {"forward": forward, "both": both}[step]
        # A compiled backward would write over what its forward kept, and could run once.
        torch._functorch.config.donated_buffer = False
        kept = formulation()

        def backward() -> None:
            torch.autograd.grad(kept, leaves, self.cotangent, retain_graph=True)

        return backward


def _array(x: Tensor) -> Any:
    return x.detach().double().cpu().numpy()
