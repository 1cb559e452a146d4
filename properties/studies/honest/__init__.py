"""Honest implementations in every precision: the budget accuses nobody who rounds once an operation."""

from studies.honest.adapters import FORMULATIONS, Skipped, make_adapter

__all__ = ["FORMULATIONS", "Skipped", "make_adapter"]
