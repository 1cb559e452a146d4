"""The old path of `TorchAdapter`, which adapters of users import."""

from swin_properties.adapters.torch import TorchAdapter

__all__ = ["TorchAdapter"]
