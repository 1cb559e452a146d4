"""Adapters: the contract between the suite and an implementation, and how one is loaded and asked."""

from swin_properties.adapters.given_pairs import pairs

__all__ = ["pairs"]
