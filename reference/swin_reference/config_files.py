"""Configurations by name and from files, of Swin and Swin V2."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from swin_reference.config import NAMED, SwinConfig, config_from, config_values, fields_from
from swin_reference.config_v2 import NAMED_V2, SwinV2Config
from swin_reference.outside import read_json, refusal

ALL_NAMED: dict[str, SwinConfig] = {**NAMED, **NAMED_V2}
"""The configurations of both papers, by name."""


def load_config(name_or_path: str) -> SwinConfig:
    """Returns a named configuration, or reads one from a JSON file.

    The file's keys are fields of SwinConfig; with ``pretrained_window_sizes``, of SwinV2Config.

    Errors: ``ValueError`` for neither a name nor a file, or a file whose keys or values do not fit.

    >>> load_config("swin_t").depths, load_config("swin_v2_t").window_size
    ((2, 2, 6, 2), 8)
    """
    if name_or_path in ALL_NAMED:
        return ALL_NAMED[name_or_path]
    values, kind = _read(name_or_path)
    return config_from(values, name_or_path, kind)


def load_fields(name_or_path: str) -> dict[str, Any]:
    """Returns the fields that a named configuration or a JSON file says; a file may say a few only.

    Errors: ``ValueError`` as for `load_config`.

    >>> load_fields("swin_t")["depths"]
    (2, 2, 6, 2)
    """
    if name_or_path in ALL_NAMED:
        return config_values(ALL_NAMED[name_or_path])
    values, kind = _read(name_or_path)
    return fields_from(values, name_or_path, kind)


def _read(name_or_path: str) -> tuple[Any, type[SwinConfig]]:
    """Returns what a JSON file holds, and the kind of configuration that has such fields."""
    if not isinstance(name_or_path, str) or not os.path.exists(name_or_path):
        raise refusal(
            f"a configuration is one of {', '.join(ALL_NAMED)} or a JSON file, got {name_or_path!r}: "
            "use a listed name or an existing file"
        )
    values = read_json(name_or_path, "a configuration file")
    is_v2 = isinstance(values, Mapping) and "pretrained_window_sizes" in values
    return values, SwinV2Config if is_v2 else SwinConfig
