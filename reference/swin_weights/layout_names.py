"""The names that each public implementation gives to the weights, as data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import count

LAYOUTS = ("official", "detection", "timm", "torchvision", "transformers", "mmpretrain")
"""The layouts of checkpoints; "official" and "detection" are Microsoft's classifiers and detectors.

"mmpretrain" is that of mmdetection and mmsegmentation as well.
"""

Names = Mapping[str, tuple[str, ...]]
"""For each official name, the layout's name; three names if the layout keeps query, key and value apart.

Names are without ``.weight`` and ``.bias``; ``{i}`` stands for the stage, ``{j}`` for the block.
"""

ONLY_IN_V2 = (
    "logit_scale",
    "cpb_mlp",
    "continuous_position_bias_mlp",
    "relative_coords_table",
    "q_bias",
    "v_bias",
    "swinv2",
)
"""Parts of names that only Swin V2's weights have, in any layout."""

STAGE = {"i": (1, 0), "i+1": (1, 1), "2i+1": (2, 1), "2i+2": (2, 2)}
"""For each placeholder of a stage, its number as a factor of i and a summand: {2i+1} is 2 i + 1."""

BLOCK = "layers.{i}.blocks.{j}"
INDEX = f"{BLOCK}.attn.relative_position_index"
QKV = f"{BLOCK}.attn.qkv"
REDUCTION = "layers.{i}.downsample.reduction"
MERGE_NORM = "layers.{i}.downsample.norm"

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
        REDUCTION,
        MERGE_NORM,
        "norm",
        "head",
    )
}

_TIMM = _OFFICIAL | {
    REDUCTION: ("layers.{i+1}.downsample.reduction",),
    MERGE_NORM: ("layers.{i+1}.downsample.norm",),
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
    REDUCTION: ("features.{2i+2}.reduction",),
    MERGE_NORM: ("features.{2i+2}.norm",),
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


_COMPUTED_BIAS = ("logit_scale", "cpb_mlp.0", "cpb_mlp.2", "relative_coords_table")
"""What the attention of V2 has for a bias table, under the names of all layouts but transformers'."""

_ATTENTION_V2 = {
    "attn.logit_scale": ("attention.self.logit_scale",),
    "attn.cpb_mlp.0": ("attention.self.continuous_position_bias_mlp.0",),
    "attn.cpb_mlp.2": ("attention.self.continuous_position_bias_mlp.2",),
    "attn.relative_coords_table": ("attention.self.relative_coords_table",),
    "attn.q_bias": ("attention.self.query.bias",),
    "attn.v_bias": ("attention.self.value.bias",),
    **{ours: theirs for ours, theirs in _ATTENTION_4.items() if not ours.endswith("table")},
}


def _turn_into_v2(names: Names, attention: str) -> Names:
    """Returns the names of V2 from those of V1, with the attention's under the template ``attention``."""
    parts = (*_COMPUTED_BIAS, "q_bias", "v_bias")
    v1 = {ours: theirs for ours, theirs in names.items() if not ours.endswith("bias_table")}
    return {f"{BLOCK}.attn.{part}": (f"{attention}.{part}",) for part in parts} | v1


def _transformers(prefix: str, inside: Names, stages: int = 0, last: str = "") -> Names:
    """Returns transformers' names, with ``prefix`` before all but the classifier's.

    A backbone of ``stages`` stages has a norm behind each; ``last`` is the name of the last norm.
    """
    inside = {"norm1": ("layernorm_before",), "norm2": ("layernorm_after",), **inside}
    return {
        "patch_embed.proj": (f"{prefix}embeddings.patch_embeddings.projection",),
        "patch_embed.norm": (f"{prefix}embeddings.norm",),
        "absolute_pos_embed": (f"{prefix}embeddings.position_embeddings",),
        **{
            f"{BLOCK}.{inner}": tuple(f"{prefix}encoder.{BLOCK}.{name}" for name in theirs)
            for inner, theirs in inside.items()
        },
        REDUCTION: (f"{prefix}encoder.layers.{{i}}.downsample.reduction",),
        MERGE_NORM: (f"{prefix}encoder.layers.{{i}}.downsample.norm",),
        **{f"norm{stage}": (f"{STAGE_NORM}{stage + 1}",) for stage in range(stages)},
        "norm": (last or f"{prefix}layernorm",),
        "head": ("classifier",),
    }


STAGE_NORM = "hidden_states_norms.stage"
"""What transformers' backbones call the norm behind a stage, before its number from 1."""


def _mmpretrain(prefix: str, last: int, merge: str, last_norm: str = "") -> Names:
    """Returns mmpretrain's names, with ``prefix`` before all but the classifier's.

    ``merge`` is the stage of a merge, as a placeholder.  Each stage may have a norm, as in `_detection`.
    """
    inside = {
        "norm1": "norm1",
        "attn.relative_position_bias_table": "attn.w_msa.relative_position_bias_table",
        "attn.relative_position_index": "attn.w_msa.relative_position_index",
        "attn_mask": "attn_mask",
        "attn.qkv": "attn.w_msa.qkv",
        "attn.proj": "attn.w_msa.proj",
        "norm2": "norm2",
        "mlp.fc1": "ffn.layers.0.0",
        "mlp.fc2": "ffn.layers.1",
    }
    return {
        "patch_embed.proj": (f"{prefix}patch_embed.projection",),
        "patch_embed.norm": (f"{prefix}patch_embed.norm",),
        "absolute_pos_embed": (f"{prefix}absolute_pos_embed",),
        **{
            f"{BLOCK}.{ours}": (f"{prefix}stages.{{i}}.blocks.{{j}}.{theirs}",)
            for ours, theirs in inside.items()
        },
        REDUCTION: (f"{prefix}stages.{merge}.downsample.reduction",),
        MERGE_NORM: (f"{prefix}stages.{merge}.downsample.norm",),
        **{f"norm{stage}": (f"{prefix}norm{stage}",) for stage in range(last)},
        "norm": (last_norm or f"{prefix}norm{last}",),
        "head": ("head.fc",),
    }


def _detection(last: int) -> Names:
    """Returns detection's names: no head, and a norm for each stage; the last is the classifier's norm."""
    names = {ours: theirs for ours, theirs in _OFFICIAL.items() if ours != "head"}
    return names | {f"norm{stage}": (f"norm{stage}",) for stage in range(last)} | {"norm": (f"norm{last}",)}


_BY_LAYOUT = {"official": _OFFICIAL, "timm": _TIMM, "torchvision": _TORCHVISION}


def names_in(layout: str, names: Iterable[str] = ()) -> Names:
    """Returns the names of a layout, in the variant that a checkpoint has.

    ``names``, official or the checkpoint's own, show the variant: Swin or Swin V2; transformers 4.x has other
    names for attention than 5.x, and no prefix ``swin.`` without a classifier; detection numbers its last
    norm by the last stage.

    Errors: ``ValueError`` for an unknown layout, and for V2 in that of detection.

    >>> names_in("transformers", ["encoder.layers.0.blocks.0.attention.self.query.weight"])["norm"]
    ('layernorm',)
    """
    if layout not in LAYOUTS:
        raise ValueError(f"a layout is one of {', '.join(LAYOUTS)}, got {layout!r}: use a listed name")
    names = tuple(names)
    second = is_v2(names)
    if layout == "detection":
        if second:
            raise ValueError("detection has no Swin V2, got names of V2's weights: use another layout")
        return _detection(_last_stage(names))
    if layout == "transformers":
        return _transformers_variant(names, second)
    if layout == "mmpretrain":
        return _mmpretrain_variant(names, second)
    if second:
        inside = "features.{2i+1}.{j}.attn" if layout == "torchvision" else f"{BLOCK}.attn"
        return _turn_into_v2(_BY_LAYOUT[layout], inside)
    return _BY_LAYOUT[layout]


def _transformers_variant(names: tuple[str, ...], second: bool) -> Names:
    """Returns transformers' names in the variant that ``names`` show."""
    bare = any(name.startswith(("embeddings.", "encoder.", "layernorm.")) for name in names)
    older = any(re.search(r"\.(attention\.self|intermediate\.dense)\.", name) for name in names)
    prefix = "" if bare else "swinv2." if second else "swin."
    inside = _ATTENTION_V2 if second else _ATTENTION_4 if older else _ATTENTION_5
    if not any(name.startswith((STAGE_NORM, "norm0.", "norm1.")) for name in names):
        return _transformers(prefix, inside)
    stages = _last_stage(names) + 1
    own = any(name.startswith((f"{prefix}layernorm.", "norm.")) for name in names)
    if own:
        return _transformers(prefix, inside, stages)
    return _transformers(prefix, inside, stages - 1, f"{STAGE_NORM}{stages}")


def _mmpretrain_variant(names: tuple[str, ...], second: bool) -> Names:
    """Returns mmpretrain's names in the variant that ``names`` show."""
    prefix = (
        "" if any(name.startswith(("stages.", "patch_embed.projection.")) for name in names) else "backbone."
    )
    last = _last_stage(names)
    unnumbered = f"{prefix}norm"  # as its first versions called the last norm
    older = any(name.startswith(f"{unnumbered}.") for name in names) and any(
        ".w_msa." in name for name in names
    )
    found = _mmpretrain(prefix, last, "{i+1}" if second else "{i}", unnumbered if older else "")
    return _turn_into_v2(found, f"{prefix}stages.{{i}}.blocks.{{j}}.attn.w_msa") if second else found


def _last_stage(names: Iterable[str]) -> int:
    """Returns the number of the last stage that names, official or mmpretrain's, show without a gap."""
    stages = {
        int(found[1]) for name in names if (found := re.search(r"(?:^|\.)(?:layers|stages)\.(\d+)\.", name))
    }
    return max(0, next(stage for stage in count() if stage not in stages) - 1)


def is_v2(names: Iterable[str]) -> bool:
    """Tells whether names, of any layout, are of Swin V2.

    >>> is_v2(["layers.0.blocks.0.attn.logit_scale"]), is_v2(["layers.0.blocks.0.attn.qkv.weight"])
    (True, False)
    """
    return any(part in ONLY_IN_V2 for name in names for part in name.split("."))
