"""The names that each public implementation gives to the same weights, as data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import count

LAYOUTS = ("official", "detection", "timm", "torchvision", "transformers")
"""The layouts that checkpoints come in; "official" and "detection" are microsoft's."""

Names = Mapping[str, tuple[str, ...]]
"""From each official name to the layout's: three names where query, key and value are kept apart.

Names are without ``.weight`` and ``.bias``; ``{i}`` stands for the stage, ``{j}`` for the block."""

STAGE = {"i": (1, 0), "i+1": (1, 1), "2i+1": (2, 1), "2i+2": (2, 2)}
"""How a layout numbers what belongs to stage i: the factor and the summand."""

BLOCK = "layers.{i}.blocks.{j}"
INDEX = f"{BLOCK}.attn.relative_position_index"
QKV = f"{BLOCK}.attn.qkv"

_OFFICIAL = {
    name: (name,)
    for name in (
        "patch_embed.proj",
        "patch_embed.norm",
        "absolute_pos_embed",
        f"{BLOCK}.norm1",
        f"{BLOCK}.attn_mask",
        f"{BLOCK}.attn.relative_position_bias_table",
        INDEX,
        QKV,
        f"{BLOCK}.attn.proj",
        f"{BLOCK}.norm2",
        f"{BLOCK}.mlp.fc1",
        f"{BLOCK}.mlp.fc2",
        "layers.{i}.downsample.reduction",
        "layers.{i}.downsample.norm",
        "norm",
        "head",
    )
}

_TIMM = _OFFICIAL | {
    "layers.{i}.downsample.reduction": ("layers.{i+1}.downsample.reduction",),
    "layers.{i}.downsample.norm": ("layers.{i+1}.downsample.norm",),
    "head": ("head.fc",),
}

_TORCHVISION = {
    "patch_embed.proj": ("features.0.0",),
    "patch_embed.norm": ("features.0.2",),
    **{
        f"{BLOCK}.{inner}": (f"features.{{2i+1}}.{{j}}.{theirs}",)
        for inner, theirs in {
            "norm1": "norm1",
            "attn.relative_position_bias_table": "attn.relative_position_bias_table",
            "attn.relative_position_index": "attn.relative_position_index",
            "attn.qkv": "attn.qkv",
            "attn.proj": "attn.proj",
            "norm2": "norm2",
            "mlp.fc1": "mlp.0",
            "mlp.fc2": "mlp.3",
        }.items()
    },
    "layers.{i}.downsample.reduction": ("features.{2i+2}.reduction",),
    "layers.{i}.downsample.norm": ("features.{2i+2}.norm",),
    "norm": ("norm",),
    "head": ("head",),
}

_ATTENTION_5 = {
    "attn.relative_position_bias_table": ("attention.relative_position_bias.relative_position_bias_table",),
    "attn.relative_position_index": ("attention.relative_position_bias.relative_position_index",),
    "attn.qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    "attn.proj": ("attention.o_proj",),
    "mlp.fc1": ("mlp.fc1",),
    "mlp.fc2": ("mlp.fc2",),
}
_ATTENTION_4 = {
    "attn.relative_position_bias_table": ("attention.self.relative_position_bias_table",),
    "attn.relative_position_index": ("attention.self.relative_position_index",),
    "attn.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attn.proj": ("attention.output.dense",),
    "mlp.fc1": ("intermediate.dense",),
    "mlp.fc2": ("output.dense",),
}


def _transformers(prefix: str, inside: Names) -> Names:
    """Transformers' names, with ``prefix`` before all but the classifier."""
    inside = {"norm1": ("layernorm_before",), "norm2": ("layernorm_after",), **inside}
    return {
        "patch_embed.proj": (f"{prefix}embeddings.patch_embeddings.projection",),
        "patch_embed.norm": (f"{prefix}embeddings.norm",),
        "absolute_pos_embed": (f"{prefix}embeddings.position_embeddings",),
        **{
            f"{BLOCK}.{inner}": tuple(f"{prefix}encoder.{BLOCK}.{name}" for name in theirs)
            for inner, theirs in inside.items()
        },
        "layers.{i}.downsample.reduction": (f"{prefix}encoder.layers.{{i}}.downsample.reduction",),
        "layers.{i}.downsample.norm": (f"{prefix}encoder.layers.{{i}}.downsample.norm",),
        "norm": (f"{prefix}layernorm",),
        "head": ("classifier",),
    }


def _detection(last: int) -> Names:
    """Detection's names: a norm for each stage that is an output, the classifier's for the last; no head."""
    names = {ours: theirs for ours, theirs in _OFFICIAL.items() if ours != "head"}
    return names | {f"norm{stage}": (f"norm{stage}",) for stage in range(last)} | {"norm": (f"norm{last}",)}


def names_in(layout: str, names: Iterable[str] = ()) -> Names:
    """The names of a layout, in the variant that a checkpoint's ``names`` (official or its own) show.

    Transformers 4.x names its attention otherwise, and a model without a classifier has no ``swin.``;
    detection numbers its last norm by the stages there are.

    Errors: ``ValueError`` for a layout that is none.

    >>> names_in("transformers", ["encoder.layers.0.blocks.0.attention.self.query.weight"])["norm"]
    ('layernorm',)
    """
    if layout not in LAYOUTS:
        raise ValueError(f"a layout is one of {', '.join(LAYOUTS)}, got {layout!r}: use a listed name")
    names = tuple(names)
    if layout == "detection":
        stages = {int(found[1]) for name in names if (found := re.match(r"layers\.(\d+)\.", name))}
        return _detection(max(0, next(stage for stage in count() if stage not in stages) - 1))
    if layout == "transformers":
        bare = any(name.startswith(("embeddings.", "encoder.", "layernorm.")) for name in names)
        older = any(re.search(r"\.(attention\.self|intermediate\.dense)\.", name) for name in names)
        return _transformers("" if bare else "swin.", _ATTENTION_4 if older else _ATTENTION_5)
    return {"official": _OFFICIAL, "timm": _TIMM, "torchvision": _TORCHVISION}[layout]
