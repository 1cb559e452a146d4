"""Honest implementations in every precision: the budget accuses nobody who rounds once an operation."""

from swin_properties.honest.adapters import FORMULATIONS, Skipped, adapter

__all__ = ["FORMULATIONS", "Skipped", "adapter"]
