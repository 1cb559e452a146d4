"""The shifted window attention between its two linear layers: our operator beside the formulations of peers.

Our operator takes qkv in image order.  A peer shifts and partitions its tokens, takes qkv in window order,
which is made beforehand, and moves the result back.  Each is judged before it is timed.
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
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import linear, normalize, scaled_dot_product_attention

from benchmarks.cases.verdicts import compute_exact_and_budget
from swin_torch import shifted_window_attention_core
from swin_torch.attention import cosines
from swin_torch.geometry import functional, functional_v2
from swin_torch.geometry.conventions import CANONICAL
from swin_torch.geometry.plan import make_plan


class Sizes(NamedTuple):
    """Holds the sizes of a stage's attention; ``side`` is that of its grid."""

    side: int
    channels: int
    heads: int
    window: int
    shift: int


def make_stages(window: int = 7, shifted: bool = True) -> dict[str, Sizes]:
    """Returns the stages of Swin-T whose windows can be shifted: at 224 for window 7, at 384 for window 12.

    "reduced" is a size that Triton's interpreter runs in seconds.
    """
    side, shift = 8 * window, window // 2 if shifted else 0
    found = {f"stage {n + 1}": Sizes(side >> n, 96 << n, 3 << n, window, shift) for n in range(3)}
    return found | {"reduced": Sizes(2 * window, 16, 1, window, shift)}


BESIDE = UNSHIFTED, FLEX = "unshifted", "flex"
"""The runs that are timed only where a measurement names them."""

V2 = "V2 "
"""Begins the name of a stage of SwinV2-T at 256 pixels, whose windows are 8."""


def find_sizes(stage: str) -> Sizes:
    """Returns the sizes of a stage by its name: "stage 1" of Swin-T, or "V2 stage 1" of SwinV2-T."""
    stages = make_stages(window=8) if stage.startswith(V2) else make_stages()
    return stages[stage.removeprefix(V2)]


def make_case(stage: str, batch: int, dtype: torch.dtype, device: str = "cpu") -> Case:
    """Returns the case of a stage by its name, as in `find_sizes`."""
    return (CosineCase if stage.startswith(V2) else Case)(find_sizes(stage), batch, dtype, device)


class Case:
    """Holds the tensors of one size in one precision on one device, and the formulations by name."""

    component = "shifted_window_attention"
    keys_have_bias = True
    sdpa_scale: float | None = None
    """What PyTorch's SDPA is told to multiply q k^T by; None for its own head_dim^-1/2."""

    def __init__(self, sizes: Sizes, batch: int, dtype: torch.dtype, device: str = "cpu") -> None:
        """Draws all tensors in ``dtype``; the oracle is given the same numbers."""
        side, channels, self.heads, self.window, self.shift = self.sizes = sizes
        generator = torch.Generator().manual_seed(0)

        def make(*shape: int, scale: float = 1.0) -> Tensor:
            return (scale * torch.randn(*shape, generator=generator)).to(device, dtype)

        self.dtype, self.device = dtype, device
        self.weight, self.bias = make(3 * channels, channels, scale=channels**-0.5), make(3 * channels)
        if not self.keys_have_bias:
            self.bias[channels : 2 * channels] = 0.0
        self.table = make((2 * self.window - 1) ** 2, self.heads).requires_grad_()
        self.x = make(batch, side, side, channels)
        self.cotangent = make(batch, side, side, channels)
        self.qkv = linear(self.x, self.weight, self.bias).requires_grad_()
        moved = functional.window_partition(functional.cyclic_shift(self.qkv, self.shift), self.window)
        self.windows = moved.flatten(1, 2).contiguous().detach().requires_grad_()
        # Peers mask by adding -100; windows without a border get a mask of zeros.
        soft = functional.shifted_window_mask(side, side, self.window, self.shift, dtype, device)
        self.mask = soft.clamp(min=-100) if self.shift else None

    @cached_property
    def formulations(self) -> dict[str, Callable[[], Tensor]]:
        """Our operator, and the formulations of peers: attention written out, and with PyTorch's SDPA.

        The official code, torchvision and timm write attention out; timm can use SDPA.
        On a GPU also the written-out one compiled; on a CPU the whole network is compared compiled.
        """
        found = {
            "fused": self.run_fused,
            "manual": lambda: self.run_peer(False),
            "sdpa": lambda: self.run_peer(True),
        }
        if self.device == "cuda":
            compiled: Callable[..., Tensor] = torch.compile(self.run_peer)
            found["compiled"] = lambda: compiled(False)
        return found

    @property
    def beside(self) -> dict[str, Callable[[], Tensor]]:
        """What is timed only where a measurement names it: our operator unshifted, and a rival to compile."""
        return {UNSHIFTED: self.run_unshifted, FLEX: self.run_flex}

    @cached_property
    def flex(self) -> Callable[..., Tensor]:
        """FlexAttention, compiled at its first call; it has no backward pass on a CPU."""
        compiled: Callable[..., Tensor] = torch.compile(flex_attention, dynamic=False)
        return compiled

    def run_unshifted(self) -> Tensor:
        """Runs our operator without its shift: a bound on how fast the shifted one can be."""
        return shifted_window_attention_core(self.qkv, self.table, self.heads, self.window)

    def run_fused(self) -> Tensor:
        """Runs our operator."""
        return shifted_window_attention_core(self.qkv, self.table, self.heads, self.window, self.shift)

    def run_peer(self, sdpa: bool) -> Tensor:
        """Runs a peer's formulation, attention written out or PyTorch's SDPA."""
        bias = self.make_bias()
        if self.mask is not None and sdpa:
            batch = len(self.windows) // len(self.mask)
            bias = (bias + self.mask[:, None]).expand(batch, -1, -1, -1, -1).flatten(0, 1)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if sdpa:
                return scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.sdpa_scale)
            logits = q @ k.mT + bias
            if self.mask is not None:
                by_image = logits.view(-1, len(self.mask), *logits.shape[1:])
                logits = (by_image + self.mask[:, None]).flatten(0, 1)
            return logits.softmax(-1) @ v

        return self._attend_in_windows(attend, scales=sdpa)

    def run_flex(self) -> Tensor:
        """Runs a peer's formulation: FlexAttention adds bias and mask to each logit as it forms it."""
        bias, mask = self.make_bias()[0], self.mask

        def change(logit: Tensor, window: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            moved = logit + bias[head, query, key]
            return moved if mask is None else moved + mask[window % len(mask), query, key]

        def attend(*given: Tensor) -> Tensor:
            # On a CPU it refuses views of what needs a gradient, also where none is kept.
            q, k, v = given if torch.is_grad_enabled() else [one.detach() for one in given]
            return self.flex(q, k, v, score_mod=change, scale=self.sdpa_scale)

        return self._attend_in_windows(attend, scales=True)

    def make_bias(self) -> Tensor:
        """Returns the position bias of all heads, (1, heads, N, N)."""
        return functional.relative_position_bias(self.table, self.window)[None].to(self.dtype)

    def _attend_in_windows(self, attend: Callable[[Tensor, Tensor, Tensor], Tensor], scales: bool) -> Tensor:
        """Runs an attention in windows as a peer does: it moves its tokens ahead of qkv, and the result back.

        ``scales``: the attention scales its queries itself.
        """
        moved = functional.window_partition(functional.cyclic_shift(self.x, self.shift), self.window)
        q, k, v = self.windows.view(*self.windows.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = self.scale_queries(q, k, scales)
        out = attend(q, k, v).transpose(1, 2).reshape(moved.shape)
        grid = functional.window_reverse(out, self.window, *self.x.shape[1:3])
        return functional.reverse_cyclic_shift(grid, self.shift)

    def scale_queries(self, q: Tensor, k: Tensor, sdpa: bool) -> tuple[Tensor, Tensor]:
        """Returns the queries and keys whose products are the logits, as a peer makes them.

        PyTorch's SDPA scales them itself.
        """
        return (q if sdpa else q * q.shape[-1] ** -0.5), k

    def compare(self, name: str) -> Deviation:
        """Returns how far a formulation is from the oracle on the first image, in budgets."""
        with torch.no_grad():
            got = self.find(name)()[:1]
        return deviation(_to_array(got), *self._expected)

    def find(self, name: str) -> Callable[[], Tensor]:
        """Returns what a run calls, by its name."""
        return self.beside[name] if name in BESIDE else self.formulations[name]

    def check(self, name: str) -> Deviation:
        """Returns what `compare` returns.

        Errors: ``ValueError`` for a formulation that computes another function.
        """
        if not (apart := self.compare(name)).holds:
            raise ValueError(
                f"what is timed is Swin's attention, {name} is {apart.rho:.3g} budgets from it: correct it"
            )
        return apart

    @cached_property
    def _expected(self) -> tuple[Any, Any]:
        channels = self.sizes.channels
        params = {
            "qkv": {"weight": _to_array(self.weight), "bias": _to_array(self.bias)},
            "proj": {"weight": np.eye(channels), "bias": np.zeros(channels)},
            "relative_position_bias_table": _to_array(self.table),
        }
        asked = _to_array(self.x[:1]), self.adapt_parameters(params), self.heads, self.window, self.shift
        return compute_exact_and_budget(self.component, asked, str(self.dtype).removeprefix("torch."))

    def adapt_parameters(self, params: dict[str, Any]) -> dict[str, Any]:
        """Returns the parameters as the oracle's callable takes them."""
        return params

    def make_run(self, name: str, step: str = "forward") -> Callable[[], None]:
        """Returns a run of a formulation: "forward" without gradients, "both", or "backward" alone."""
        formulation, ours = self.find(name), name in ("fused", UNSHIFTED)
        arguments = self.table, self.qkv if ours else self.windows

        def forward() -> None:
            with torch.no_grad():
                formulation()

        def both() -> None:
            torch.autograd.grad(formulation(), arguments, self.cotangent)

        if step != "backward":
            return {"forward": forward, "both": both}[step]
        # By default a compiled backward overwrites what its forward kept, so that it could run only once.
        torch._functorch.config.donated_buffer = False
        kept = formulation()

        def backward() -> None:
            torch.autograd.grad(kept, arguments, self.cotangent, retain_graph=True)

        return backward


class CosineCase(Case):
    """The same of Swin V2: cosines, a factor for each head, and biases that an MLP computed beforehand."""

    component = "shifted_cosine_window_attention"
    keys_have_bias = False
    sdpa_scale = 1.0

    def __init__(self, sizes: Sizes, batch: int, dtype: torch.dtype, device: str = "cpu") -> None:
        """The table is what the MLP gives for the offsets of the window."""
        super().__init__(sizes, batch, dtype, device)
        generator = torch.Generator().manual_seed(1)

        def make(*shape: int, scale: float = 1.0) -> Tensor:
            return (scale * torch.randn(*shape, generator=generator)).to(device, dtype)

        self.mlp = make(64, 2), make(64), make(self.heads, 64, scale=1 / 8)
        self.logit_scale = make(self.heads, 1, 1)
        first, first_bias, last = self.mlp
        table = functional_v2.continuous_position_bias_table(first, first_bias, last, self.window)
        self.table = table.detach().requires_grad_()

    def run_unshifted(self) -> Tensor:
        """Runs our operator without its shift."""
        return self._run(0)

    def run_fused(self) -> Tensor:
        """Runs our operator."""
        return self._run(self.shift)

    def _run(self, shift: int) -> Tensor:
        plan = make_plan((self.sizes.side,) * 2, self.window, shift, self.heads, CANONICAL)
        factors = functional_v2.find_factors(self.logit_scale)
        return cosines.attend(self.qkv, self.table, None, factors, plan, -float("inf"))

    def scale_queries(self, q: Tensor, k: Tensor, sdpa: bool) -> tuple[Tensor, Tensor]:
        """Returns queries and keys of length 1, the queries times the factor of their head."""
        factors = functional_v2.find_factors(self.logit_scale).view(-1, 1, 1)
        return normalize(q, dim=-1) * factors.to(q.dtype), normalize(k, dim=-1)

    def adapt_parameters(self, params: dict[str, Any]) -> dict[str, Any]:
        """Returns V2's parameters: two biases, the logit scale, and the MLP of the bias."""
        q_bias, _, v_bias = np.split(params["qkv"]["bias"], 3)
        first, first_bias, last = (_to_array(one) for one in self.mlp)
        return {
            "qkv": {"weight": params["qkv"]["weight"]},
            "q_bias": q_bias,
            "v_bias": v_bias,
            "proj": params["proj"],
            "logit_scale": _to_array(self.logit_scale),
            "cpb_mlp": {"0": {"weight": first, "bias": first_bias}, "2": {"weight": last}},
        }


def _to_array(x: Tensor) -> Any:
    return x.detach().double().cpu().numpy()
