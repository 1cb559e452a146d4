"""The ``config.json`` of transformers' directories: from its values to a configuration's, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swin_reference.config import SwinConfig, fields_from
from swin_reference.sizes import pair

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
"""The values that every Swin V1 has: a file with other values is of another network."""


def config_from_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of SwinConfig that a ``config.json`` holds.

    Errors: ``ValueError`` for a model other than Swin V1, and for a value of another type.

    >>> config_from_json({"model_type": "swin", "num_channels": 1})
    {'in_channels': 1}
    """
    if values.get("model_type") == "swinv2":
        raise ValueError(
            "checkpoints of Swin V1 are read, config.json says swinv2, Swin V2: V2 is not supported yet"
        )
    wrong = [
        f"{key} {values[key]!r}, not {right!r}"
        for key, right in FIXED.items()
        if values.get(key, right) != right
    ]
    if wrong:
        raise ValueError(
            f"config.json is of a Swin V1 with the exact GELU, it says {', '.join(wrong)}: use another "
            "checkpoint"
        )
    return fields_from(
        {ours: values[theirs] for theirs, ours in FIELDS.items() if theirs in values}, "config.json"
    )


def config_to_json(config: SwinConfig) -> dict[str, Any]:
    """Returns the values from which transformers builds the network.

    Errors: ``ValueError`` for a configuration that transformers' Swin cannot have.

    >>> config_to_json(SwinConfig(num_classes=3))["num_labels"]
    3
    """
    window = pair(config.window_size)
    lacking = {
        "rectangular window": window[0] != window[1],
        "qk_scale": config.qk_scale is not None,
        "patch_norm=False": not config.patch_norm,
    }
    found = [what for what, there in lacking.items() if there]
    if found:
        raise ValueError(
            f"transformers' Swin has no {', no '.join(found)}: use another layout, or a plain file"
        )
    values = {theirs: getattr(config, ours) for theirs, ours in FIELDS.items()}
    values |= {"window_size": window[0], "num_labels": config.num_classes}
    return {"architectures": ["SwinForImageClassification"], **FIXED, **values}
