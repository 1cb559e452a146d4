"""Finds where in its network an implementation differs from the oracle: which block, and which part of it."""
