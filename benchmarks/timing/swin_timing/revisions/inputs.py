"""The cases that are timed: Swin-T's components at its own sizes, described for another process to make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from swin_reference import parameters
from swin_reference.config import SwinConfig

STAGES = {"stage1": (56, 96, 3), "stage2": (28, 192, 6), "stage3": (14, 384, 12), "stage4": (7, 768, 24)}
"""Swin-T at 224: the side of a stage's grid, its channels and heads."""

SIZES = {
    "shifted_window_attention": tuple(STAGES),
    "swin_block": tuple(STAGES),
    "mlp": ("stage1", "stage3"),
    "layer_norm": ("stage1", "stage3"),
    "patch_merging": ("stage1", "stage2", "stage3"),
    "swin_stage": ("stage2",),
    "vjp shifted_window_attention": ("stage1", "stage2", "stage3"),
    "vjp swin_block": ("stage2",),
}
"""Few enough stages of each component that all run in minutes."""

WINDOW = 7

SMALL = SwinConfig(image_size=112, embed_dim=48, depths=(2, 2, 2, 2))
"""A network of which a run takes tens of milliseconds."""

IMPLEMENTATIONS = ("swin_torch", "swin_torch:plain", "swin_reference")
"""What is compared of this project itself, where the revisions have it."""


@dataclass(frozen=True)
class Question:
    """A callable of the adapter, at sizes that have a name, and the description of its arguments."""

    call: str
    sizes: str
    arguments: tuple[Any, ...]

    def asked_of(self, implementation: str) -> Case:
        """The question as a case of an implementation."""
        return Case(implementation, self)


@dataclass(frozen=True)
class Case:
    """A question to an implementation.

    >>> QUESTIONS[0].asked_of("mine:adapter").name
    'inference[shifted_window_attention-stage1-mine:adapter]'
    """

    implementation: str
    question: Question

    @property
    def name(self) -> str:
        """As pytest names a benchmark: what ``-k`` looks into."""
        step, call = "inference", self.question.call
        if call == "vjp":
            step, call = "training", self.question.arguments[0]
        return f"{step}[{call}-{self.question.sizes}-{self.implementation}]"

    @property
    def needs(self) -> set[str]:
        """The callables that it takes of the adapter."""
        first = self.question.arguments[0]
        return {self.question.call, first} if self.question.call == "vjp" else {self.question.call}


def array(*shape: int) -> dict[str, list[int]]:
    """The description of an array."""
    return {"shape": list(shape)}


def described(shapes: Any) -> Any:
    """The description of parameters of these shapes.

    >>> described({"blocks": [{"bias": (3,)}]})
    {'blocks': [{'bias': {'shape': [3]}}]}
    """
    if isinstance(shapes, Mapping):
        return {name: described(part) for name, part in shapes.items()}
    return [described(part) for part in shapes] if isinstance(shapes, list) else array(*shapes)


def _of_a_stage(sizes: str) -> list[Question]:
    side, channels, heads = STAGES[sizes]
    x, hidden = array(1, side, side, channels), 4 * channels
    shift = WINDOW // 2 if side > WINDOW else 0
    attention = described(parameters.window_attention_shapes(channels, heads, WINDOW))
    block = described(parameters.block_shapes(channels, heads, WINDOW, hidden))
    stage = described(parameters.stage_shapes(channels, 2, heads, WINDOW, hidden, merge=True))
    given = {
        "shifted_window_attention": (x, attention, heads, WINDOW, shift),
        "swin_block": (x, block, heads, WINDOW, shift),
        "mlp": (x, described(parameters.mlp_shapes(channels, hidden))),
        "layer_norm": (x, described(parameters.norm_shapes(channels))),
        "patch_merging": (x, described(parameters.merging_shapes(channels))),
        "swin_stage": (x, stage, 2, heads, WINDOW),
    }
    given |= {f"vjp {call}": (call, x, *given[call]) for call in ("shifted_window_attention", "swin_block")}
    return [
        Question(call.split()[0], sizes, given[call]) for call, stages in SIZES.items() if sizes in stages
    ]


def _of_a_network() -> list[Question]:
    embed = described(parameters.patch_embed_shapes(96, 4))
    network = described(parameters.parameter_shapes(SMALL))
    return [
        Question("patch_embed", "swin_t", (array(1, 3, 224, 224), embed, 4)),
        Question("swin_transformer", "small", (array(1, 3, 112, 112), network, {"config": asdict(SMALL)})),
    ]


QUESTIONS = tuple(question for sizes in STAGES for question in _of_a_stage(sizes)) + tuple(_of_a_network())
"""What is asked of every implementation that offers it."""
