"""Inputs of the laws as data: sizes, a recipe and a seed."""
