"""Planted bugs of the backward pass."""
