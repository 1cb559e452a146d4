"""The ``config.json`` of transformers' directories: from its values to a configuration's, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swin_reference.config import SwinConfig, fields_from
from swin_reference.config_v2 import SwinV2Config

FIELDS = {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "num_channels": "in_channels",
    "embed_dim": "embed_dim",
    "depths": "depths",
    "num_heads": "num_heads",
    "window_size": "window_size",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "use_absolute_embeddings": "absolute_position_embedding",
}
"""For each key of transformers, the field of SwinConfig."""

FIXED = {"model_type": "swin", "hidden_act": "gelu", "layer_norm_eps": 1e-5}
"""The values that every Swin has, V2 another model_type: a file with other values is of another network."""

V2 = "swinv2"
TRAINED = "pretrained_window_sizes"


def config_from_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of SwinConfig that a ``config.json`` holds.

    Of V2 it has ``pretrained_window_sizes``, empty where all are 0.  That of a directory which timm wrote
    holds the image size alone.

    Errors: ``ValueError`` for a model other than Swin, and for a value of another type.

    >>> config_from_json({"model_type": "swin", "num_channels": 1})
    {'in_channels': 1}
    """
    if "pretrained_cfg" in values:
        return fields_from(_read_timm(values), "config.json")
    second = values.get("model_type") == V2
    fixed = FIXED | ({"model_type": V2} if second else {})
    wrong = [
        f"{key} {values[key]!r}, not {right!r}"
        for key, right in fixed.items()
        if values.get(key, right) != right
    ]
    if wrong:
        raise ValueError(
            f"config.json is of a Swin with the exact GELU, it says {', '.join(wrong)}: use another "
            "checkpoint"
        )
    known = {ours: values[theirs] for theirs, ours in FIELDS.items() if theirs in values}
    if not second:
        return fields_from(known, "config.json")
    given = fields_from(known | {TRAINED: values.get(TRAINED) or []}, "config.json", SwinV2Config)
    return given | {TRAINED: given[TRAINED] if any(given[TRAINED]) else ()}


def _read_timm(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the image size in timm's ``config.json``: that of the network, else that of its training."""
    made, trained = (values.get(key) or {} for key in ("model_args", "pretrained_cfg"))
    if isinstance(made, Mapping) and "img_size" in made:
        return {"image_size": made["img_size"]}
    sides = trained.get("input_size") if isinstance(trained, Mapping) else None
    return {"image_size": sides[1:]} if isinstance(sides, list) and len(sides) == 3 else {}


def config_to_json(config: SwinConfig) -> dict[str, Any]:
    """Returns the values from which transformers builds the network.

    Errors: ``ValueError`` for a configuration that transformers' Swin cannot have.

    >>> config_to_json(SwinConfig(num_classes=3))["num_labels"]
    3
    """
    window, second = config.windows[0], isinstance(config, SwinV2Config)
    lacking = {
        "window of its own for each stage": len(set(config.windows)) > 1,
        "rectangular window": window[0] != window[1],
        "qk_scale": config.qk_scale is not None,
        "patch_norm=False": not config.patch_norm,
        "position embedding in V2": second and config.absolute_position_embedding,
    }
    found = [what for what, there in lacking.items() if there]
    if found:
        raise ValueError(
            f"transformers' Swin has no {', no '.join(found)}: use another layout, or a plain file"
        )
    values = {theirs: getattr(config, ours) for theirs, ours in FIELDS.items()}
    values |= {"window_size": window[0], "num_labels": config.num_classes}
    if isinstance(config, SwinV2Config):
        values |= {"model_type": V2, TRAINED: config.pretrained_window_sizes or (0,) * len(config.depths)}
    name = "Swinv2ForImageClassification" if second else "SwinForImageClassification"
    return {"architectures": [name], **FIXED, **values}
