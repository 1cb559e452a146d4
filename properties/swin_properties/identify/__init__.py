"""Finds which convention an implementation follows."""
