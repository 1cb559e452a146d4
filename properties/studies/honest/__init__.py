"""Honest implementations in every precision: the budget accuses nobody who rounds once an operation."""

from studies.honest.adapters import FORMULATIONS, Skipped, adapter

__all__ = ["FORMULATIONS", "Skipped", "adapter"]
