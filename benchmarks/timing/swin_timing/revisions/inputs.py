"""The cases of ``swin-oracle compare``: Swin-T's components at its own sizes, described as data.

Another process makes the arrays from the description (`swin_timing.revisions.worker`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from swin_reference import parameters
from swin_reference.config import SwinConfig

STAGES = {"stage1": (56, 96, 3), "stage2": (28, 192, 6), "stage3": (14, 384, 12), "stage4": (7, 768, 24)}
"""Each stage of Swin-T at 224 pixels: side of the grid, channels, heads."""

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
"""The stages at which each component is timed: few enough that all run in minutes."""

WINDOW = 7

SMALL = SwinConfig(image_size=112, embed_dim=48, depths=(2, 2, 2, 2))
"""A network small enough to run in tens of milliseconds."""

IMPLEMENTATIONS = ("swin_torch", "swin_torch:plain", "swin_reference")
"""What is compared where no implementation is named: this project's own, where both revisions have them."""


@dataclass(frozen=True)
class Question:
    """Holds a callable of the adapter, the name of its sizes, and the description of its arguments."""

    call: str
    sizes: str
    arguments: tuple[Any, ...]

    def for_implementation(self, implementation: str) -> Case:
        """Returns this question as a case of an implementation."""
        return Case(implementation, self)


@dataclass(frozen=True)
class Case:
    """Holds a question and the implementation that it is put to.

    >>> QUESTIONS[0].for_implementation("mine:adapter").name
    'inference[shifted_window_attention-stage1-mine:adapter]'
    """

    implementation: str
    question: Question

    @property
    def name(self) -> str:
        """The name that ``-k`` matches, built as pytest builds the name of a benchmark."""
        step, call = "inference", self.question.call
        if call == "vjp":
            step, call = "training", self.question.arguments[0]
        return f"{step}[{call}-{self.question.sizes}-{self.implementation}]"

    @property
    def needs(self) -> set[str]:
        """The callables that the adapter must offer."""
        first = self.question.arguments[0]
        return {self.question.call, first} if self.question.call == "vjp" else {self.question.call}


def describe_array(*shape: int) -> dict[str, list[int]]:
    """Returns the description of an array."""
    return {"shape": list(shape)}


def describe_parameters(shapes: Any) -> Any:
    """Returns the description of parameters of these shapes.

    >>> describe_parameters({"blocks": [{"bias": (3,)}]})
    {'blocks': [{'bias': {'shape': [3]}}]}
    """
    if isinstance(shapes, Mapping):
        return {name: describe_parameters(part) for name, part in shapes.items()}
    return (
        [describe_parameters(part) for part in shapes]
        if isinstance(shapes, list)
        else describe_array(*shapes)
    )


def _make_stage_questions(sizes: str) -> list[Question]:
    side, channels, heads = STAGES[sizes]
    x, hidden = describe_array(1, side, side, channels), 4 * channels
    shift = WINDOW // 2 if side > WINDOW else 0
    attention = describe_parameters(parameters.window_attention_shapes(channels, heads, WINDOW))
    block = describe_parameters(parameters.block_shapes(channels, heads, WINDOW, hidden))
    stage = describe_parameters(parameters.stage_shapes(channels, 2, heads, WINDOW, hidden, merge=True))
    given = {
        "shifted_window_attention": (x, attention, heads, WINDOW, shift),
        "swin_block": (x, block, heads, WINDOW, shift),
        "mlp": (x, describe_parameters(parameters.mlp_shapes(channels, hidden))),
        "layer_norm": (x, describe_parameters(parameters.norm_shapes(channels))),
        "patch_merging": (x, describe_parameters(parameters.merging_shapes(channels))),
        "swin_stage": (x, stage, 2, heads, WINDOW),
    }
    given |= {f"vjp {call}": (call, x, *given[call]) for call in ("shifted_window_attention", "swin_block")}
    return [
        Question(call.split()[0], sizes, given[call]) for call, stages in SIZES.items() if sizes in stages
    ]


def _make_network_questions() -> list[Question]:
    embed = describe_parameters(parameters.patch_embed_shapes(96, 4))
    network = describe_parameters(parameters.parameter_shapes(SMALL))
    return [
        Question("patch_embed", "swin_t", (describe_array(1, 3, 224, 224), embed, 4)),
        Question(
            "swin_transformer", "small", (describe_array(1, 3, 112, 112), network, {"config": asdict(SMALL)})
        ),
    ]


QUESTIONS = tuple(question for sizes in STAGES for question in _make_stage_questions(sizes)) + tuple(
    _make_network_questions()
)
"""Every question; an implementation gets those whose callables it offers."""
