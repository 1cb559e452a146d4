"""Sizes, windows, shifts, masks and conventions, as plain numbers and as functions on tensors."""
